"""What a copy is made of: the sources as they are found, and everything below those that are directories.

Local links are followed only within the directory that is copied: what is elsewhere was not asked for.

Source: docs/spec/cli.md, sections 5.1 and 5.3.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.caps import ImmutableReadCap, LiteralCap
from holdfast.cli.drive_places import DrivePlaces
from holdfast.cli.path_arguments import GridPath, LocalPath
from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.drive.known_node import KnownNode
from holdfast.errors import InputError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.interfaces.drive import DirectoryNode, ListedChild, Node, UnreadableEntry
from holdfast.planning.copy_plan import CopyRefusedError, CopySource, CopyTree, TreePath

LISTINGS_MAX = 8  # directories of the grid that are listed at once

_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class LeftOut:
    """What is not copied.

    Attributes:
        sentences: one for each.
        lost: how many of them the copy lacks; the others hold nothing, or nothing that is not copied.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.lost = 0

    def missing(self, shown: str, why: str) -> None:
        """Note something that the copy lacks."""
        self.lost += 1
        self.needless(shown, why)

    def needless(self, shown: str, why: str) -> None:
        """Note something else."""
        self.sentences.append(f"{shown} is not copied: {why}")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: str  # absolute
    size: int


@dataclass(frozen=True, slots=True)
class GridFile:
    """A file on the grid."""

    node: ImmutableFileNode | MutableFileNode

    @property
    def size(self) -> int:
        """Return the bytes of an immutable file; 0 for others, whose size nobody knows without asking."""
        cap = self.node.cap
        return cap.size if isinstance(cap, ImmutableReadCap | LiteralCap) else 0


SourceFile = LocalFile | GridFile


@dataclass(frozen=True, slots=True)
class FoundSource:
    """A source: a file, or a directory, by its absolute path or its node."""

    plan: CopySource
    place: SourceFile | str | DirectoryNode


async def find_source(argument: GridPath | LocalPath, places: DrivePlaces | None) -> FoundSource:
    """Look at a source.

    Raises:
        InputError: there is nothing, or nothing that can be copied.
    """
    if isinstance(argument, LocalPath):
        return await asyncio.to_thread(_find_local, argument)
    assert places is not None
    node = await places.node(argument)
    name = argument.names[-1] if argument.names else None
    plan = CopySource(str(argument), name, node.kind == "directory", argument.trailing_slash)
    if node.kind == "directory":
        return FoundSource(plan, node)
    if not isinstance(node, ImmutableFileNode | MutableFileNode):
        raise CopyRefusedError(f"{argument} is of a kind that is not known here, and cannot be copied")
    return FoundSource(plan, GridFile(node))


def _find_local(argument: LocalPath) -> FoundSource:
    path = os.path.abspath(argument.path)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{argument}: {_why(error)}") from None
    name = os.path.basename(path) or None
    directory = stat.S_ISDIR(status.st_mode)
    plan = CopySource(str(argument), name, directory, argument.trailing_slash)
    if directory:
        return FoundSource(plan, path)
    if not stat.S_ISREG(status.st_mode):
        raise CopyRefusedError(f"{argument} is neither a file nor a directory")
    return FoundSource(plan, LocalFile(path, status.st_size))


async def add_source(
    source: FoundSource, name: str | None, tree: CopyTree[SourceFile], left_out: LeftOut
) -> None:
    """Add a source to ``tree`` under ``name``, or its entries directly if that is None.

    Raises:
        CopyRefusedError: something goes to the same place as something else.
        InputError: a directory on this machine cannot be read.
    """
    top: TreePath = () if name is None else (name,)
    place = source.place
    if isinstance(place, LocalFile | GridFile):
        tree.add_file(top, place, source.plan.shown)
        return
    if top:
        tree.add_directory(top, source.plan.shown)
    if isinstance(place, str):
        await asyncio.to_thread(_add_local_tree, place, top, tree, left_out)
    else:
        await _GridTree(source.plan.shown, tree, left_out).add(place, top)


# -- directories on this machine


def _add_local_tree(root: str, top: TreePath, tree: CopyTree[SourceFile], left_out: LeftOut) -> None:
    real_root = Path(os.path.realpath(root))
    waiting = [(root, top, frozenset({_identity(root)}))]
    while waiting:
        directory, place, above = waiting.pop()
        for entry in _entries(directory):
            below = (*place, entry.name)
            if entry.is_symlink() and not _leads_inside(entry, real_root, left_out):
                continue
            try:
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    tree.add_file(below, LocalFile(entry.path, status.st_size), entry.path)
                elif not stat.S_ISDIR(status.st_mode):
                    left_out.needless(entry.path, "it is neither a file nor a directory")
                elif (status.st_dev, status.st_ino) in above:
                    left_out.needless(entry.path, "it leads to a directory that it is in")
                else:
                    tree.add_directory(below, entry.path)
                    waiting.append((entry.path, below, above | {(status.st_dev, status.st_ino)}))
            except OSError as error:
                left_out.missing(entry.path, _why(error))
            except BadChildNameError as error:
                left_out.missing(entry.path, str(error))


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot read {directory}: {error.strerror}") from None
    return iter(found)


def _leads_inside(link: os.DirEntry[str], root: Path, left_out: LeftOut) -> bool:
    """Tell whether a link leads to something inside ``root``; if not, say so."""
    try:
        os.stat(link.path)
    except OSError as error:
        if error.errno in _NOWHERE:
            left_out.needless(link.path, "the link leads nowhere")
        else:
            left_out.missing(link.path, _why(error))
        return False
    if not Path(os.path.realpath(link.path)).is_relative_to(root):
        left_out.missing(link.path, "the link leads out of the directory that is copied")
        return False
    return True


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


# -- directories on the grid


class _GridTree:
    """Adds everything below a directory; a few directories are listed at once."""

    def __init__(self, shown: str, tree: CopyTree[SourceFile], left_out: LeftOut) -> None:
        self._shown = shown.rstrip("/")
        self._tree = tree
        self._left_out = left_out

    async def add(self, root: DirectoryNode, top: TreePath) -> None:
        level = [(root, top, frozenset({root.get_immutable_uri()}))]
        while level:
            following: list[tuple[DirectoryNode, TreePath, frozenset[str]]] = []
            for start in range(0, len(level), LISTINGS_MAX):
                batch = level[start : start + LISTINGS_MAX]
                listings = await _listings([directory for directory, _, _ in batch])
                for (_, place, above), children in zip(batch, listings, strict=True):
                    for child in children:
                        self._add_child(child, place, above, following, len(top))
            level = following

    def _add_child(
        self,
        child: ListedChild,
        place: TreePath,
        above: frozenset[str],
        following: list[tuple[DirectoryNode, TreePath, frozenset[str]]],
        depth: int,
    ) -> None:
        below = (*place, child.name)
        shown = "/".join((self._shown, *below[depth:]))
        node = child.node
        if isinstance(node, ImmutableFileNode | MutableFileNode):
            self._tree.add_file(below, GridFile(node), shown)
        elif node.kind != "directory":
            self._left_out.missing(shown, _why_not(node))
        elif node.get_immutable_uri() in above:
            self._left_out.needless(shown, "it leads to a directory that it is in")
        else:
            self._tree.add_directory(below, shown)
            following.append((node, below, above | {node.get_immutable_uri()}))


async def _listings(directories: Sequence[DirectoryNode]) -> list[list[ListedChild]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_listing(directory)) for directory in directories]
    return [task.result() for task in tasks]


async def _listing(directory: DirectoryNode) -> list[ListedChild]:
    return [child async for child in directory.iter_children()]


def _why_not(node: Node | UnreadableEntry) -> str:
    if isinstance(node, UnreadableEntry):
        return node.reason
    return "nobody here knows its kind" if not isinstance(node, KnownNode) else "it is no file"


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
