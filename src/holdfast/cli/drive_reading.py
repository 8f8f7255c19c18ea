"""get through a drive: of what is named by a path, and of files that can change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.caps import MutableReadCap, MutableWriteCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.files import target_for
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.progress_bars import progress_bars
from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.errors import WrongCapabilityTypeError
from holdfast.grid.results import DownloadResult
from holdfast.interfaces.drive import Node


def read_at(
    node: Path, place: GridPath, file: str, offset: int, size: int | None, quiet: bool
) -> DownloadResult[Any]:
    """Read the bytes ``[offset, offset + size)`` of the file at ``place`` into ``file``."""
    return event_loop.run(_read_at(node, place, file, offset, size, quiet))


async def _read_at(
    node: Path, place: GridPath, file: str, offset: int, size: int | None, quiet: bool
) -> DownloadResult[Any]:
    async with open_drive(node) as opened:
        found = readable_file(await opened.places.node(place), place)
        with target_for(file) as target, progress_bars(show=not quiet) as progress:
            if isinstance(found.cap, MutableReadCap | MutableWriteCap):
                mutable = opened.grid.mutable.open(found.cap)
                return await mutable.read_into(target, offset=offset, size=size, progress=progress)
            uri = found.get_uri()
            return await opened.grid.download(uri, target, offset=offset, size=size, progress=progress)


def readable_file(node: Node, place: GridPath) -> ImmutableFileNode | MutableFileNode:
    """Return ``node``, which was found at ``place``, if it is a file that can be read.

    Raises:
        WrongCapabilityTypeError: it is a directory, or nobody knows what.
    """
    if isinstance(node, ImmutableFileNode | MutableFileNode):
        return node
    if node.kind == "directory":
        raise WrongCapabilityTypeError(f"{place} is a directory; copy it with: holdfast cp -r")
    raise WrongCapabilityTypeError(f"{place} is of a kind that cannot be read here")
