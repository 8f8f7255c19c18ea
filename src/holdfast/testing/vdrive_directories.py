"""Directories at a virtual drive server as a place for the suite of directories.

Source: holdfast.testing.directory_suite.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.drive.nodes import Drive
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import DirectoryNode, FileNode, NewChild, UnknownNode
from holdfast.testing.vdrive_rig import VdriveRig


class VdriveDirectories:
    """Directories at one server."""

    def __init__(self, rig: VdriveRig, *, read_only: bool = False) -> None:
        self._rig = rig
        self._read_only = read_only
        self.drive = rig.drive()

    async def new(self, children: Mapping[str, NewChild] | None = None) -> DirectoryNode:
        node = await self.drive.create_directory("vdrive", children)
        return vdrive_node(self.drive, node.get_immutable_uri() if self._read_only else node.get_uri())

    async def file(self, text: str) -> FileNode:
        return await self.drive.upload(DataSource(text.encode()))

    def unknown(self, uri: str) -> UnknownNode:
        node = self.drive.node(uri)
        assert isinstance(node, OpaqueNode)
        return node

    def calls(self) -> int:
        return len(self._rig.calls) + len(self._rig.grid.calls())

    def again(self, node: DirectoryNode) -> DirectoryNode:
        again = vdrive_node(self._rig.drive(), node.get_uri())
        assert again is not node
        return again


def vdrive_node(drive: Drive, uri: str) -> VdriveDirectoryNode:
    node = drive.node(uri)
    assert isinstance(node, VdriveDirectoryNode)
    return node
