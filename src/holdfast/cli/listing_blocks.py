"""The children of a directory, however many there are: all in order if they are few, else some thousands at
a time as they come.

Source: docs/spec/cli.md, section 4.2; docs/spec/vdrive.md, section 8.6.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from textwrap import indent

from holdfast.cli.node_json import child_as_json, node_as_json
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.interfaces.drive import DirectoryNode, ListedChild

SORTED_MAX = 5000  # children that are waited for, to be shown in order


async def blocks_of(directory: DirectoryNode) -> AsyncIterator[list[ListedChild]]:
    """Yield all children, each block in the order of the names."""
    if not isinstance(directory, VdriveDirectoryNode):  # which is in memory as a whole anyway
        yield [child async for child in directory.iter_children()]
        return
    block: list[ListedChild] = []
    async for child in directory.iter_unordered():
        if len(block) == SORTED_MAX:
            yield _sorted(block)
            block = []
        block.append(child)
    yield _sorted(block)


async def json_of(directory: DirectoryNode) -> AsyncIterator[str]:
    """Yield the pieces of the text that describes a directory with its children, in JSON."""
    kind, described = node_as_json(directory)
    assert isinstance(described, dict)
    yield json.dumps([kind, {**described, "children": {}}], indent=1).removesuffix("{}\n }\n]") + "{"
    between = "\n"
    async for block in blocks_of(directory):
        for child in block:
            entry = f"{json.dumps(child.name)}: {json.dumps(child_as_json(child), indent=1)}"
            yield between + indent(entry, "   ")
            between = ",\n"
    yield ("" if between == "\n" else "\n  ") + "}\n }\n]\n"


def _sorted(block: list[ListedChild]) -> list[ListedChild]:
    return sorted(block, key=lambda child: child.name)
