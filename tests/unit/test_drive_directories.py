"""The suite of directories, over each kind that the grid keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import DirectoryNode, FileNode, NewChild, UnknownNode
from holdfast.testing.directory_suite import Place, ReadOnlyDirectorySuite, WritableDirectorySuite
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles, MemoryMutableStore


class GridPlace:
    """Directories of one kind in a grid in memory."""

    def __init__(
        self, grid: MemoryGrid, kind: DirectoryKind, *, read_only: bool = False, quick: bool = True
    ) -> None:
        """``quick``: mutable files are kept in memory as they are, without keys or shares."""
        self._grid = grid
        self._store = MemoryMutableStore()
        self._quick = quick
        self._kind = kind
        self._read_only = read_only
        self.drive = self._drive()

    def _drive(self) -> Drive:
        grid = self._grid.grid
        return Drive(grid, MemoryMutableFiles(self._store) if self._quick else grid.mutable)

    async def new(self, children: Mapping[str, NewChild] | None = None) -> GridDirectoryNode:
        node = await self.drive.create_directory(self._kind, children)
        if self._read_only:
            reading = self.drive.node(node.get_immutable_uri())
            assert isinstance(reading, GridDirectoryNode)
            return reading
        return node

    async def file(self, text: str) -> FileNode:
        return await self.drive.upload(DataSource(text.encode()))

    def unknown(self, uri: str) -> UnknownNode:
        node = self.drive.node(uri)
        assert isinstance(node, OpaqueNode)
        return node

    def calls(self) -> int:
        return len(self._grid.calls()) + len(self._store.calls)

    def again(self, node: DirectoryNode) -> DirectoryNode:
        again = self._drive().node(node.get_uri())
        assert isinstance(again, GridDirectoryNode)
        assert again is not node
        return again


@pytest.fixture
async def grid() -> AsyncIterator[MemoryGrid]:
    async with memory_grid() as grid:
        yield grid


class TestSdmfDirectory(WritableDirectorySuite):
    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "sdmf")


class TestMdmfDirectory(WritableDirectorySuite):
    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "mdmf")


class TestDirectoryHeldReadOnly(ReadOnlyDirectorySuite):
    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "sdmf", read_only=True)


class TestImmutableDirectory(ReadOnlyDirectorySuite):
    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "immutable")


class TestSdmfDirectoryInShares(WritableDirectorySuite):
    """Everything as it is, but for the network."""

    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "sdmf", quick=False)


class TestMdmfDirectoryInSharesHeldReadOnly(ReadOnlyDirectorySuite):
    @pytest.fixture
    def place(self, grid: MemoryGrid) -> Place:
        return GridPlace(grid, "mdmf", read_only=True, quick=False)
