"""Bundles of a whole tree in the grid, and a catalogue that leads to them: what it takes to have the tree
again at any service, to read and to write.

The catalogue is an immutable directory: a file for each directory of the tree, under its index. So its one
capability reads, checks, repairs and renews all of them. It tells nothing but what a server knows anyway.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.caps.slots import ListableCap
from holdfast.caps.vdrive import VdriveReadCap, VdriveVerifyCap, VdriveWriteCap
from holdfast.crypto import base32
from holdfast.drive.file_nodes import ImmutableFileNode
from holdfast.drive.freezing import LeftOut, Names, mark_of
from holdfast.drive.nodes import Drive
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_changes import bound_of
from holdfast.drive.vdrive_contents import VdriveContents
from holdfast.errors import BadFileError, HoldfastError
from holdfast.grid.sources import StreamSource
from holdfast.grid.vdrive.bundle_files import Export
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.drive import ListedChild, NewChild

KIND = "holdfast"  # metadata: what is said of a bundle
AT_ONCE_MAX = 3  # bundles on their way; servers allow four long answers to an address, and one is a listing
INDEX_SIZE = 32  # bytes


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A bundle in the grid.

    Attributes:
        version: of the directory.
        head_hash: of the head of that version, 32 bytes.
        is_root: the tree begins with it.
    """

    file: ImmutableFileNode
    version: int
    head_hash: bytes
    is_root: bool = False


Catalogue = Mapping[bytes, StoredBundle]
"""Bundles by the index of their directory."""


@dataclass(frozen=True, slots=True)
class BundledTree:
    """A tree of which there are bundles.

    Attributes:
        directory: the catalogue.
        head_hash: of the version of the root that is kept.
        bundles: how many there are.
        new: how many of them were stored now.
        left_out: what there is none of.
    """

    directory: StoredDirectoryNode
    version: int
    head_hash: bytes
    bundles: int
    new: int
    left_out: tuple[LeftOut, ...]


async def bundle_tree(
    drive: Drive,
    servers: ServerSource,
    root: VdriveWriteCap | VdriveReadCap | VdriveVerifyCap,
    *,
    deep: bool = True,
    before: Catalogue | None = None,
    skip: Collection[StoredDirectoryNode] = (),
    progress: Callable[[int], object] = lambda stored: None,
) -> BundledTree:
    """Store bundles of a directory at a virtual drive server, and of those below.

    Args:
        root: one that only verifies leads to nothing below.
        before: an earlier catalogue; what has not changed since is not stored again.
        skip: directories that are left out without a word.
        progress: told how many directories are done.

    Raises:
        HoldfastError: there is no bundle of the root, or nothing can be stored.
    """
    bundling = _Bundling(drive, servers, before or {}, {mark_of(one.cap) for one in skip}, progress)
    return await bundling.run(root, deep=deep)


async def read_catalogue(directory: StoredDirectoryNode) -> dict[bytes, StoredBundle]:
    """Return what is in a catalogue.

    Raises:
        BadFileError: the directory is none.
        UnavailableError: it cannot be read.
    """
    found = {}
    async for child in directory.iter_children():
        bundle = _bundle_of(child)
        if bundle is None:
            raise BadFileError("this directory is no catalogue of bundles")
        found[bundle[0]] = bundle[1]
    return found


@dataclass(frozen=True, slots=True)
class _Waiting:
    path: Names
    cap: ListableCap
    bound: VersionBound | None


@dataclass(slots=True)
class _Bundling:
    """One run. Directories are listed one after the other; bundles are stored meanwhile."""

    drive: Drive
    servers: ServerSource
    before: Catalogue
    seen: set[bytes]
    progress: Callable[[int], object]
    left_out: list[LeftOut] = field(default_factory=list)
    stored: dict[bytes, StoredBundle] = field(default_factory=dict)
    new: int = 0

    async def run(self, root: VdriveWriteCap | VdriveReadCap | VdriveVerifyCap, *, deep: bool) -> BundledTree:
        waiting: deque[_Waiting] = deque()
        if isinstance(root, VdriveVerifyCap):
            await self._store(root, None)
        else:
            head = await self._list(_Waiting((), root, None), waiting)
            assert head is not None
            await self._store(root, head)
        if deep:
            await self._follow(waiting)
        return await self._catalogue(root.index)

    async def _follow(self, waiting: deque[_Waiting]) -> None:
        room = asyncio.Semaphore(AT_ONCE_MAX)

        async def store(place: _Waiting, cap: VdriveWriteCap | VdriveReadCap, head: VerifiedHead) -> None:
            try:
                await self._store(cap, head)
            except HoldfastError as error:
                self.left_out.append(LeftOut(place.path, str(error)))
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            while waiting:
                place = waiting.popleft()
                try:
                    head = await self._list(place, waiting)
                except HoldfastError as error:
                    self.left_out.append(LeftOut(place.path, str(error)))
                    continue
                if head is not None and isinstance(place.cap, VdriveWriteCap | VdriveReadCap):
                    await room.acquire()
                    group.create_task(store(place, place.cap, head))

    async def _list(self, place: _Waiting, waiting: deque[_Waiting]) -> VerifiedHead | None:
        """Note what is below a directory; return its head if it is at a virtual drive server."""
        self.seen.add(mark_of(place.cap))
        contents = self.drive.contents(place.cap, place.bound)
        head = None
        if isinstance(contents, VdriveContents):
            head, table = await contents.read_version()
        else:
            table = await contents.read()
        for entry in table:
            cap = entry.child.cap
            if entry.reason is not None or cap is None:  # there may be a directory behind it
                reason = entry.reason or "it is of a kind that is not known here"
                self.left_out.append(LeftOut((*place.path, entry.name), reason))
            elif isinstance(cap, ListableCap) and cap.mutable and mark_of(cap) not in self.seen:
                self.seen.add(mark_of(cap))
                waiting.append(_Waiting((*place.path, entry.name), cap, bound_of(entry)))
        return head

    async def _store(
        self, cap: VdriveWriteCap | VdriveReadCap | VdriveVerifyCap, head: VerifiedHead | None
    ) -> None:
        old = self.before.get(cap.index)
        if old is not None and head is not None and old.head_hash == head.head_hash:
            self.stored[cap.index] = old
        else:
            export = Export(self.servers, cap, head)
            file = await self.drive.upload(StreamSource(export.pieces()))
            self.stored[cap.index] = StoredBundle(file, export.head.version, export.head_hash)
            self.new += 1
        self.progress(len(self.stored))

    async def _catalogue(self, root: bytes) -> BundledTree:
        children = {}
        for index, bundle in self.stored.items():
            said: dict[str, object] = {
                "bundle": 1,
                "version": bundle.version,
                "head": base32.encode(bundle.head_hash),
            }
            if index == root:
                said["root"] = True
            children[base32.encode(index)] = NewChild(bundle.file, {KIND: said})
        directory = await self.drive.create_directory("immutable", children)
        made = self.stored[root]
        return BundledTree(
            directory, made.version, made.head_hash, len(self.stored), self.new, tuple(self.left_out)
        )


def _bundle_of(child: ListedChild) -> tuple[bytes, StoredBundle] | None:
    """Return the bundle that an entry of a catalogue describes, and the index; None if it describes none."""
    if not isinstance(child.node, ImmutableFileNode):
        return None
    match child.metadata.get(KIND):
        case {"bundle": 1, "version": int(version), "head": str(head), **rest}:
            with suppress(ValueError):
                index, head_hash = base32.decode(child.name), base32.decode(head)
                if len(index) == len(head_hash) == INDEX_SIZE:
                    bundle = StoredBundle(child.node, version, head_hash, rest.get("root") is True)
                    return index, bundle
    return None
