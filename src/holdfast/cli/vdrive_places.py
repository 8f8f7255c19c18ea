"""From arguments to directories at virtual drive servers."""

from __future__ import annotations

from holdfast.cli.drive_places import OpenDrive
from holdfast.cli.options import given_capability
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import WrongCapabilityTypeError


def given_place(argument: str) -> GridPath:
    """Return what an argument names; "-": a capability in a line of standard input."""
    return parse_grid_path(given_capability(argument))


async def vdrive_directory(opened: OpenDrive, place: GridPath) -> VdriveDirectoryNode:
    """Return the directory at ``place``.

    Raises: as ``DrivePlaces.node``, and
        WrongCapabilityTypeError: it is none, or one of the grid.
    """
    node = await opened.places.node(place)
    if not isinstance(node, VdriveDirectoryNode):
        raise WrongCapabilityTypeError(f"{place} is not a directory at a virtual drive server")
    return node
