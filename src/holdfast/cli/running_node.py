"""The node that runs in a directory, for commands that let it do the work.

Loads little, since some of these commands are over in a moment.

Source: docs/spec/control-and-introducer.md, section 2.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.cli.options import needed_node
from holdfast.wire.local_client import LocalClient, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As in ``node.places``, which would load the settings of nodes, too.
GRID_FILE = "grid.json"
GRID_CLIENT = "client"


def node_directory(directory: Path) -> str:
    """Return the node that ``directory`` means: itself, or the client inside a local grid."""
    if os.path.isfile(os.path.join(directory, GRID_FILE)):
        return os.path.join(directory, GRID_CLIENT)
    return os.fspath(directory)


def client_of(directory: Path) -> LocalClient:
    """Return what speaks to the node that ``directory`` means, whether it runs or not."""
    return LocalClient(os.path.join(node_directory(directory), "private"))


@contextmanager
def the_running_node(directory: Path | None) -> Iterator[LocalClient]:
    """Give what speaks to the node that must run in ``directory``.

    Raises:
        ConfigError: no directory was named, or it is none of a node.
        NotRunningError: the node does not run.
    """
    named = needed_node(directory)
    client = client_of(named)
    try:
        yield client
    except NotRunningError:
        from holdfast.node.places import client_directory

        client_directory(named)
        raise
    finally:
        client.close()
