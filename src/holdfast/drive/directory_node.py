"""Directories in files of the grid.

Source: docs/spec/seed-map.md, section I; docs/spec/directories.md, section 7.
"""

from __future__ import annotations

from holdfast.caps import DirectoryCap
from holdfast.drive.directory_contents import DirectoryContents
from holdfast.drive.node_making import NodeMaker
from holdfast.drive.stored_directory import StoredDirectoryNode


class GridDirectoryNode(StoredDirectoryNode):
    """A directory in a file of the grid: mutable of either format, read-only, or immutable."""

    def __init__(self, cap: DirectoryCap, contents: DirectoryContents, maker: NodeMaker) -> None:
        super().__init__(cap, contents, maker, "mdmf" if cap.kind.startswith("DIR2-MDMF") else "sdmf")
