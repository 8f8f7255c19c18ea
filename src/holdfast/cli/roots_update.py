"""Keeps the roots directory of a node up to date when its aliases change.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli import event_loop
from holdfast.cli.messages import note
from holdfast.cli.options import needed_node
from holdfast.errors import HoldfastError
from holdfast.node.places import client_directory

if TYPE_CHECKING:
    from holdfast.cli.drive_places import OpenDrive
    from holdfast.node.roots_directory import RootsDirectory

ROOTS_FILE = "roots.uri"  # as ``node.roots_directory`` names it


def update_roots(node: Path | None, gone: Mapping[str, str] | None = None) -> None:
    """Tell the roots directory of what has changed, if there is one. What goes wrong is said, and harms
    nothing: it is told of the next time."""
    if not (client_directory(needed_node(node)) / "private" / ROOTS_FILE).exists():
        return
    try:
        event_loop.run(_update(node, gone))
    except HoldfastError as error:
        note(f"the roots directory does not know of this yet ({error}); holdfast roots tells it")


def roots_of(opened: OpenDrive, node: Path | None) -> RootsDirectory:
    """Return the roots directory of a node."""
    from holdfast.node.client_node import load_client_settings
    from holdfast.node.config import load_config
    from holdfast.node.roots_directory import RootsDirectory

    directory = needed_node(node)
    client = client_directory(directory)
    encoding = load_client_settings(directory).encoding
    return RootsDirectory(client / "private", load_config(client), opened.client, encoding)


async def _update(node: Path | None, gone: Mapping[str, str] | None) -> None:
    from holdfast.cli.drive_places import open_drive

    async with open_drive(node) as opened:
        await roots_of(opened, node).update(gone)
