"""Freezing: a tree of directories as it is now, in immutable directories that any client of the grid can
read, whatever becomes of the servers that kept the tree.

Each directory is taken at one proven version. What cannot change is linked as it is; mutable files are
copied as they are found; what is unknown, cannot be read, or leads back up is left out, and told. The same
tree gives the same capability again.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from holdfast.caps.slots import ChildSlots, ListableCap, NodeCap
from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.crypto import base32
from holdfast.drive.directory_contents import LOOK_HERE_MAX, look_at
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import MutableFileNode
from holdfast.drive.nodes import Drive, DriveNode
from holdfast.drive.relaying import relayed
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_changes import bound_of
from holdfast.drive.vdrive_contents import VdriveContents
from holdfast.errors import HoldfastError, InputError
from holdfast.formats.directory_entry import DirectoryEntry
from holdfast.formats.directory_metadata import BadMetadataError, Metadata, metadata_to_bytes
from holdfast.formats.directory_table import DirectoryTable
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.drive import NewChild

ORIGIN = "holdfast"  # metadata: version and hash of the head that a frozen directory was made from
STORING_MAX = 8  # directories and files that are stored at once

Names = tuple[str, ...]
_Coming = asyncio.Task[DriveNode | str] | DriveNode
"""A child, or what will give it, or the reason why it cannot be had."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that the frozen tree lacks.

    Attributes:
        path: names from the root down.
        reason: why, as a sentence for people.
    """

    path: Names
    reason: str


@dataclass(frozen=True, slots=True)
class FrozenTree:
    """A tree that was frozen.

    Attributes:
        directory: its root.
        head: of the version that the root was made from; None if that was a directory of the grid.
        directories: how many were looked at.
        files: how many links lead to files.
        left_out: what is not in it.
    """

    directory: StoredDirectoryNode
    head: VerifiedHead | None
    directories: int
    files: int
    left_out: tuple[LeftOut, ...]


Progress = Callable[[int, int], object]
"""Told how many directories were looked at so far, and how many are stored."""


async def freeze(
    drive: Drive,
    root: StoredDirectoryNode,
    *,
    deep: bool = True,
    skip: Collection[StoredDirectoryNode] = (),
    progress: Progress = lambda listed, stored: None,
) -> FrozenTree:
    """Freeze a directory.

    Args:
        deep: with all that is below it; else directories in it that can change are left out.
        skip: directories that are left out without a word.

    Raises:
        HoldfastError: the root cannot be read, or nothing can be stored.
    """
    freezing = _Freezing(drive, deep, frozenset(mark_of(one.cap) for one in skip), progress)
    try:
        return await freezing.run(root)
    except* HoldfastError as group:
        problem: BaseException = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
    raise problem


@dataclass(slots=True)
class _Open:
    """A directory that is being looked at.

    Attributes:
        link: metadata of the link that led to it.
        head: of the version that is looked at.
        waiting: entries that lead to directories, not decided on yet.
        done: what is to be in it.
    """

    path: Names
    mark: bytes
    link: Metadata
    head: VerifiedHead | None
    waiting: deque[DirectoryEntry] = field(default_factory=deque)
    done: dict[str, tuple[_Coming, Metadata]] = field(default_factory=dict)

    @property
    def origin(self) -> Metadata:
        """Metadata that each link to it gets."""
        if self.head is None:
            return {}
        return {ORIGIN: {"version": self.head.version, "head": base32.encode(self.head.head_hash)}}


class _Freezing:
    """One run. Directories are looked at one after the other, depth first, so that what is found to lead back
    up is the same each time; they are stored meanwhile, each once all in it is."""

    def __init__(self, drive: Drive, deep: bool, skip: frozenset[bytes], progress: Progress) -> None:
        self._drive = drive
        self._deep = deep
        self._skip = skip
        self._progress = progress
        self._left_out: list[LeftOut] = []
        self._made: dict[bytes, tuple[asyncio.Task[DriveNode | str], Metadata]] = {}
        self._storing = asyncio.Semaphore(STORING_MAX)
        self._listed = self._stored = self._files = 0

    async def run(self, root: StoredDirectoryNode) -> FrozenTree:
        async with asyncio.TaskGroup() as group:
            beginning = await self._look((), root.cap, {}, None, group)
            way = [beginning]
            while True:
                at = way[-1]
                if at.waiting:
                    below = await self._next(at, at.waiting.popleft(), way, group)
                    if below is not None:
                        way.append(below)
                    continue
                way.pop()
                made = group.create_task(self._store_directory(at))
                self._made[at.mark] = made, at.origin
                if not way:
                    break
                way[-1].done[at.path[-1]] = made, {**at.link, **at.origin}
        directory = made.result()
        assert isinstance(directory, StoredDirectoryNode)
        return FrozenTree(directory, beginning.head, self._listed, self._files, self._told())

    async def _next(
        self, at: _Open, entry: DirectoryEntry, way: list[_Open], group: asyncio.TaskGroup
    ) -> _Open | None:
        """Decide on a link to a directory; return it if it has to be looked at first."""
        path, cap = (*at.path, entry.name), entry.child.cap
        assert isinstance(cap, ListableCap)
        mark, metadata = mark_of(cap), _metadata(entry)
        if mark in self._skip:
            return None
        if any(mark == above.mark for above in way):
            self._leave_out(path, "it leads to a directory that it is in")
            return None
        if mark in self._made:
            task, origin = self._made[mark]
            at.done[entry.name] = task, {**metadata, **origin}
            return None
        if not self._deep:
            self._leave_out(path, "it is a directory that can change; --deep freezes those, too")
            return None
        try:
            return await self._look(path, cap, metadata, bound_of(entry), group)
        except HoldfastError as error:
            self._leave_out(path, str(error))
            return None

    async def _look(
        self, path: Names, cap: NodeCap, link: Metadata, bound: VersionBound | None, group: asyncio.TaskGroup
    ) -> _Open:
        """Read a directory, and deal with everything in it but directories that can change."""
        assert isinstance(cap, ListableCap)
        head, table = await self._read(cap, bound)
        if len(table) > LOOK_HERE_MAX:
            await asyncio.to_thread(look_at, table)
        found = _Open(path, mark_of(cap), link, head)
        for entry in table:
            self._sort(found, entry, group)
        self._listed += 1
        self._progress(self._listed, self._stored)
        return found

    async def _read(
        self, cap: ListableCap, bound: VersionBound | None
    ) -> tuple[VerifiedHead | None, DirectoryTable]:
        contents = self._drive.contents(cap, bound)
        if isinstance(contents, VdriveContents):
            return await contents.read_version()
        return None, await contents.read()

    def _sort(self, found: _Open, entry: DirectoryEntry, group: asyncio.TaskGroup) -> None:
        path, child = (*found.path, entry.name), entry.child
        if entry.reason is not None:
            self._leave_out(path, entry.reason)
        elif child.cap is None:
            self._leave_out(path, "it is of a kind that is not known here")
        elif child.kind == "directory" and child.cap.mutable:
            found.waiting.append(entry)
        else:
            self._files += child.kind == "file"
            node = self._copied(child, group) if child.cap.mutable else self._node(child)
            found.done[entry.name] = node, _metadata(entry)

    def _copied(self, child: ChildSlots, group: asyncio.TaskGroup) -> asyncio.Task[DriveNode | str]:
        """Return what copies a mutable file, once, whatever leads to it."""
        assert child.cap is not None
        mark = mark_of(child.cap)
        if mark not in self._made:
            self._made[mark] = group.create_task(self._copy(child)), {}
        return self._made[mark][0]

    async def _copy(self, child: ChildSlots) -> DriveNode | str:
        file = self._node(child)
        assert isinstance(file, MutableFileNode)
        try:
            async with self._storing:
                return await relayed(file, self._drive.upload)
        except HoldfastError as error:
            return str(error)

    def _node(self, child: ChildSlots) -> DriveNode:
        assert child.cap is not None
        node = self._drive.node(child.cap)
        assert isinstance(node, DriveNode)
        return node

    async def _store_directory(self, directory: _Open) -> DriveNode | str:
        children: dict[str, NewChild] = {}
        for name, (coming, metadata) in directory.done.items():
            node = await coming if isinstance(coming, asyncio.Task) else coming
            if isinstance(node, str):
                self._leave_out((*directory.path, name), node)
            else:
                children[name] = NewChild(node, metadata)
        try:
            async with self._storing:
                stored = await self._drive.create_directory("immutable", children)
        except InputError as error:  # too large to be a file
            if not directory.path:
                raise
            return str(error)
        self._stored += 1
        self._progress(self._listed, self._stored)
        assert isinstance(stored, GridDirectoryNode)
        return stored

    def _told(self) -> tuple[LeftOut, ...]:
        return tuple(sorted(self._left_out, key=lambda one: one.path))

    def _leave_out(self, path: Names, reason: str) -> None:
        self._left_out.append(LeftOut(path, reason))


def mark_of(cap: NodeCap) -> bytes:
    """Return what an object is known by, whatever it is held by."""
    if isinstance(cap, VdriveWriteCap | VdriveReadCap):
        return cap.index
    return hashlib.sha256(cap.read_only.to_text().encode("ascii")).digest()


def _metadata(entry: DirectoryEntry) -> Metadata:
    """Return what the link says, as far as a directory of the grid can hold it."""
    try:
        metadata_to_bytes(entry.metadata)
    except BadMetadataError:
        return {}
    return entry.metadata
