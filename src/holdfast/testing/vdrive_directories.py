"""Directories at a virtual drive server: as a place for the suite of directories, and made by hand.

Source: holdfast.testing.directory_suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.caps import VdriveWriteCap
from holdfast.drive.nodes import Drive
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.formats.directory_metadata import Metadata
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import DirectoryNode, FileNode, NewChild, UnknownNode
from holdfast.testing.vdrive_rig import VdriveRig

LITERAL = "URI:LIT:ba"


class VdriveDirectories:
    """Directories at one server."""

    def __init__(self, rig: VdriveRig, *, read_only: bool = False) -> None:
        self._rig = rig
        self._read_only = read_only
        self.drive = rig.drive()

    async def new(self, children: Mapping[str, NewChild] | None = None) -> DirectoryNode:
        node = await self.drive.create_directory("vdrive", children)
        return vdrive_node(self.drive.node(node.get_immutable_uri() if self._read_only else node.get_uri()))

    async def file(self, text: str) -> FileNode:
        return await self.drive.upload(DataSource(text.encode()))

    def unknown(self, uri: str) -> UnknownNode:
        node = self.drive.node(uri)
        assert isinstance(node, OpaqueNode)
        return node

    def calls(self) -> int:
        return len(self._rig.calls) + len(self._rig.grid.calls())

    def again(self, node: DirectoryNode) -> DirectoryNode:
        again = vdrive_node(self._rig.drive().node(node.get_uri()))
        assert again is not node
        return again


def vdrive_node(node: object) -> VdriveDirectoryNode:
    """Return ``node`` if it is one at a virtual drive server."""
    assert isinstance(node, VdriveDirectoryNode)
    return node


async def new_directory(drive: Drive, children: Mapping[str, NewChild] | None = None) -> VdriveDirectoryNode:
    """Make a directory that is linked nowhere."""
    return vdrive_node(await drive.create_directory("vdrive", children))


def write_cap(node: VdriveDirectoryNode) -> VdriveWriteCap:
    """Return the capability of a directory that is held with the right to write."""
    assert isinstance(node.cap, VdriveWriteCap)
    return node.cap


def link(drive: Drive, metadata: Metadata | None = None) -> NewChild:
    """Return a link to a small file."""
    return NewChild(drive.node(LITERAL), metadata)


async def crowd_writes(rig: VdriveRig, clients: int) -> None:
    """Let clients set, delete and move children of two directories, each its own; check that all was done."""
    drive = rig.drive()
    first, second = await new_directory(drive), await new_directory(drive)

    async def write(drive: Drive, own: str) -> None:
        here, there = (vdrive_node(drive.node(node.get_uri())) for node in (first, second))
        for number in range(4):
            await here.set_uri(f"{own}{number}", LITERAL)
        await here.move_child_to(f"{own}0", there)
        await here.delete(f"{own}1")
        await here.create_empty_directory(f"{own}d")
        await here.move_child_to(f"{own}2", here, f"{own}9")

    owners = [f"{client}{task}" for client in range(clients) for task in "ab"]
    async with asyncio.TaskGroup() as group:
        for client in range(clients):
            each = rig.drive()
            for task in "ab":
                group.create_task(write(each, f"{client}{task}"))
    assert list(await first.list()) == sorted(own + what for own in owners for what in "39d")
    assert list(await second.list()) == [own + "0" for own in owners]
