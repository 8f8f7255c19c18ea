"""The copying of files into a directory on the grid. Nothing leads to what is not complete: first the files
are stored, then the directories, each in one step with all that is new in it, from the innermost out.

Source: docs/spec/cli.md, sections 5.2 and 5.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.cli.copy_sources import LocalFile, SourceFile
from holdfast.cli.copy_work import CopyProgress, in_parallel
from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.drive.nodes import Drive
from holdfast.drive.relaying import relayed
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.formats.directory_metadata import updated_metadata
from holdfast.formats.directory_names import normalised
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.sources import FileNameSource
from holdfast.interfaces.drive import DirectoryNode, NewChild, Node, UnreadableEntry
from holdfast.planning.copy_plan import CopyRefusedError, CopyTree, TreePath

if TYPE_CHECKING:
    from holdfast.cli.progress_bars import Draw

Children = Mapping[str, Node | UnreadableEntry]
ROOT: TreePath = ()


class GridTree:
    """A directory on the grid, there or yet to be made, and what is to be copied into it."""

    def __init__(
        self,
        drive: Drive,
        shown: str,
        root: DirectoryNode | None,
        tree: CopyTree[SourceFile],
        *,
        above: DirectoryNode | None = None,
    ) -> None:
        """
        Args:
            shown: what the directory is called in messages.
            above: where it is going to be linked if it is yet to be made; it becomes one of the same kind.
        """
        self._drive = drive
        self._above = above
        self._shown_root = shown.rstrip("/")
        self._directories = [tuple(map(normalised, path)) for path in tree.directories]
        self._files = {tuple(map(normalised, path)): file for path, file in tree.files}
        self._existing: dict[TreePath, DirectoryNode] = {} if root is None else {ROOT: root}
        self._overwritten: dict[TreePath, MutableFileNode] = {}
        self._replaced: dict[TreePath, ImmutableFileNode] = {}
        self._new_children: defaultdict[TreePath, dict[str, NewChild]] = defaultdict(dict)

    async def check(self) -> None:
        """Compare with what is there.

        Raises:
            CopyRefusedError: a file would take the place of a directory, or the other way round; or
                something has to be changed that is held read-only.
        """
        listings: dict[TreePath, Children] = {}
        if ROOT in self._existing:
            listings[ROOT] = await self._existing[ROOT].list()
        for level in _levels(self._directories):
            for path in level:
                child = listings.get(path[:-1], {}).get(path[-1])
                if child is None:
                    continue
                if child.kind != "directory":
                    raise CopyRefusedError(f"{self._shown(path)} is no directory; one is to be copied there")
                self._existing[path] = child
            found = [path for path in level if path in self._existing]

            async def look(path: TreePath) -> None:
                listings[path] = await self._existing[path].list()

            await in_parallel(found, look)
        for path in self._files:
            self._check_file(path, listings.get(path[:-1], {}).get(path[-1]))
        self._check_changeable()

    @property
    def keys_wanted(self) -> int:
        """How many key pairs the directories need that are yet to be made."""
        if isinstance(self._existing.get(ROOT, self._above), VdriveDirectoryNode):
            return 0
        return len({ROOT, *self._directories} - self._existing.keys())

    async def copy(self, draw: Draw) -> DirectoryNode:
        """Store the files, then the directories; return the outermost one, which leads to all of it."""
        progress = CopyProgress(draw, sum(file.size for file in self._files.values()))
        await in_parallel(self._files.items(), lambda item: self._store(*item, progress))
        for level in reversed(_levels(self._directories)):
            await in_parallel(level, self._finish_directory)
        return await self._finish_directory(ROOT)

    # -- what is there

    def _check_file(self, path: TreePath, child: Node | UnreadableEntry | None) -> None:
        if child is None:
            return
        if isinstance(child, ImmutableFileNode):
            self._replaced[path] = child
            return
        if not isinstance(child, MutableFileNode):
            what = "a directory" if child.kind == "directory" else "of a kind that is not known here"
            raise CopyRefusedError(f"{self._shown(path)} is {what}; a file is to be copied there")
        if child.is_readonly():
            raise CopyRefusedError(f"{self._shown(path)} is held read-only; changing it takes more")
        self._overwritten[path] = child

    def _check_changeable(self) -> None:
        """Refuse to link anything new in a directory that is held read-only."""
        changed = [path[:-1] for path in self._files if path not in self._overwritten]
        changed += [path[:-1] for path in self._directories if path not in self._existing]
        for path in changed:
            if path in self._existing and not self._existing[path].is_mutable():
                raise CopyRefusedError(f"{self._shown(path)} is held read-only; changing it takes more")

    # -- storing

    async def _store(self, path: TreePath, file: SourceFile, progress: CopyProgress) -> None:
        target = self._overwritten.get(path)

        async def work(update: ProgressCallback) -> None:
            if target is not None:
                await overwrite_copy(target, file, update)
                return
            node = await stored_copy(self._drive, file, update)
            if node != self._replaced.get(path):  # else it is linked already
                self._new_children[path[:-1]][path[-1]] = NewChild(node)

        await progress.of_file(file.size, work)

    async def _finish_directory(self, path: TreePath) -> DirectoryNode:
        children = self._new_children.pop(path, {})
        directory = self._existing.get(path)
        if directory is not None:
            if children:
                await directory.set_children(children, replace="only-files")
            return directory
        directory = await new_directory(self._drive, children, self._existing.get(ROOT, self._above))
        if path:
            self._new_children[path[:-1]][path[-1]] = NewChild(directory)
        return directory

    def _shown(self, path: TreePath) -> str:
        separator = "" if self._shown_root.endswith(":") else "/"
        return self._shown_root + (separator + "/".join(path) if path else "")


async def new_directory(
    drive: Drive, children: Mapping[str, NewChild], root: DirectoryNode | None = None
) -> DirectoryNode:
    """Make a directory, linked nowhere, whose links bear the time of now.

    Args:
        root: what it is going to be below; if that is at a virtual drive server, it is made there, too.
    """
    metadata = updated_metadata(None, None, drive.now())
    dated = {name: child._replace(metadata=metadata) for name, child in children.items()}
    if isinstance(root, VdriveDirectoryNode):
        return await root.create_unlinked(dated)
    return await drive.create_directory("sdmf", dated)


async def stored_copy(drive: Drive, file: SourceFile, update: ProgressCallback) -> ImmutableFileNode:
    """Return an immutable file with these contents. One that is on the grid already is not copied."""
    if isinstance(file, LocalFile):
        return await drive.upload(FileNameSource(file.path), progress=update)
    if isinstance(file.node, ImmutableFileNode):
        return file.node
    return await relayed(file.node, lambda source: drive.upload(source, progress=update))


async def overwrite_copy(target: MutableFileNode, file: SourceFile, update: ProgressCallback) -> None:
    """Give a mutable file these contents."""
    if isinstance(file, LocalFile):
        await target.overwrite(FileNameSource(file.path), progress=update)
    else:
        await relayed(file.node, lambda source: target.overwrite(source, progress=update))


def _levels(paths: list[TreePath]) -> list[list[TreePath]]:
    """Return the paths by their number of names, from one on."""
    levels: list[list[TreePath]] = [[] for _ in range(max(map(len, paths), default=0))]
    for path in paths:
        levels[len(path) - 1].append(path)
    return levels
