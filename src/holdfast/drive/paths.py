"""From a path to a node, one directory after another.

Source: docs/spec/seed-map.md, S-103 to S-105; docs/spec/directories.md, section 7.7.
"""

from __future__ import annotations

from holdfast.interfaces.drive import (
    DirectoryNode,
    Node,
    NoSuchChildError,
    NotADirectoryNodeError,
    Path,
)


def names_of(path: Path) -> list[str]:
    """Return the names in ``path``: of a string without the empty ones, of a list as they are."""
    return [name for name in path.split("/") if name] if isinstance(path, str) else list(path)


async def child_at_path(root: DirectoryNode, path: Path) -> Node:
    """Return what is at ``path`` below ``root``, and ``root`` for an empty path.

    Raises:
        NoSuchChildError: with the name that is missing, and how deep it was looked for.
        NotADirectoryNodeError: the path goes on behind something that is not a directory.
        UnreadableChildError: an entry on the way cannot be read.
    """
    node: Node = root
    previous = ""
    for depth, name in enumerate(names_of(path)):
        if node.kind != "directory":
            raise NotADirectoryNodeError(previous, depth - 1)
        try:
            node = await node.get(name)
        except NoSuchChildError:
            raise NoSuchChildError(name, depth) from None
        previous = name
    return node
