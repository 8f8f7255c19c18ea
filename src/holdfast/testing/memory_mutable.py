"""Mutable files in memory that can be written by several clients at once: a write counts only
if nobody else wrote since its client read.

Source: docs/spec/mutable.md, sections 12 and 13.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.drive.backing import Change, Contents, MutableFormat
from holdfast.errors import ConflictError, InputError, NoSharesError, NotCapableError
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.results import DownloadResult
from holdfast.grid.sources import open_source
from holdfast.grid.targets import TargetCaller
from holdfast.interfaces.transfer import DownloadTarget
from holdfast.interfaces.types import Buffer

T = TypeVar("T")

AnyCap = MutableWriteCap | MutableReadCap | MutableVerifyCap
ATTEMPTS_MAX = 50


@dataclass(frozen=True, slots=True)
class _Version:
    sequence: int
    contents: bytes


class MemoryMutableStore:
    """What the servers of such a grid hold.

    Attributes:
        calls: "read" and "write", in the order they were made, failed ones included.
        before: called with "read" or "write" before each; it may wait, to let others come first, or raise.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.before: Callable[[str], Awaitable[None]] = _take_turns
        self.versions: dict[bytes, _Version] = {}
        self._made = 0

    def new_key(self) -> bytes:
        """Return a write key nobody has. The same order of calls gives the same keys."""
        self._made += 1
        return hashlib.sha256(b"write key %d" % self._made).digest()[:16]

    def contents(self, cap: AnyCap) -> bytes:
        """Return what a file holds at this moment."""
        return self.versions[cap.storage_index].contents

    def lose(self, cap: AnyCap) -> None:
        """Make a file unreadable: its servers are gone."""
        del self.versions[cap.storage_index]

    async def read(self, storage_index: bytes) -> _Version:
        self.calls.append("read")
        await self.before("read")
        version = self.versions.get(storage_index)
        if version is None:
            raise NoSharesError("no share of this file was found", found=0, needed=3)
        return version

    async def write(self, storage_index: bytes, seen: _Version | None, contents: bytes) -> bool:
        """Store ``contents`` if the version is still the one ``seen``; tell whether that was so."""
        self.calls.append("write")
        await self.before("write")
        if self.versions.get(storage_index) != seen:
            return False
        self.versions[storage_index] = _Version(1 if seen is None else seen.sequence + 1, contents)
        return True


class MemoryMutableFiles:
    """One client of such a grid."""

    def __init__(self, store: MemoryMutableStore | None = None) -> None:
        self.store = store or MemoryMutableStore()
        self._files: WeakValueDictionary[AnyCap, MemoryMutableFile] = WeakValueDictionary()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self,
        data: Contents = b"",
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (the word of the specification)
        progress: ProgressCallback | None = None,
    ) -> MemoryMutableFile:
        contents = await _bytes_of(data)
        return await self.create_with(lambda key: contents, format=format)

    async def create_with(
        self,
        make: Callable[[bytes], bytes],
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (the word of the specification)
    ) -> MemoryMutableFile:
        key = self.store.new_key()
        cap = MutableWriteCap("MDMF" if format == "MDMF" else "SSK", key, hashlib.sha256(key).digest())
        await self.store.write(cap.storage_index, None, make(key))
        return self.open(cap)

    def open(self, cap: AnyCap) -> MemoryMutableFile:
        file = self._files.get(cap)
        if file is None:
            turns = self._turns.setdefault(cap.storage_index, asyncio.Lock())
            file = self._files[cap] = MemoryMutableFile(cap, self.store, turns)
        return file


class MemoryMutableFile:
    """One file through one capability."""

    def __init__(self, cap: AnyCap, store: MemoryMutableStore, turns: asyncio.Lock) -> None:
        self._cap = cap
        self._store = store
        self._turns = turns

    @property
    def cap(self) -> AnyCap:
        return self._cap

    async def size(self) -> int:
        return len(await self.read())

    async def read(self, offset: int = 0, size: int | None = None) -> bytes:
        if isinstance(self._cap, MutableVerifyCap):
            raise NotCapableError("a verify capability cannot read the file")
        async with self._turns:
            contents = (await self._store.read(self._cap.storage_index)).contents
        return contents[offset : None if size is None else offset + size]

    async def read_into(
        self,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]:
        target.register_canceller(lambda: None)
        caller = TargetCaller(target)
        try:
            data = await self.read(offset, size)
            await caller.open(len(data))
            await caller.write(data)
            value = await caller.finish()
        except BaseException as error:
            await caller.fail(error)
            raise
        (progress or ignore_progress)(Progress("downloading", len(data), len(data)))
        return DownloadResult(value, len(data))

    async def overwrite(self, data: Contents, *, progress: ProgressCallback | None = None) -> None:
        contents = await _bytes_of(data)
        await self.modify(lambda old, first: contents)

    async def update(self, offset: int, data: Buffer) -> None:
        def change(old: bytes, first: bool) -> bytes:
            if not 0 <= offset <= len(old):
                raise InputError("the offset lies behind the end of the file")
            return old[:offset] + bytes(data) + old[offset + len(data) :]

        await self.modify(change)

    async def modify(self, change: Change) -> bytes:
        if not isinstance(self._cap, MutableWriteCap):
            raise NotCapableError("this capability does not allow writing")
        index = self._cap.storage_index
        async with self._turns:
            for attempt in range(ATTEMPTS_MAX):
                seen = await self._store.read(index)
                contents = change(seen.contents, attempt == 0)
                if contents is None or contents == seen.contents:
                    return seen.contents
                if await self._store.write(index, seen, contents):
                    return contents
        raise ConflictError("others wrote first, again and again")


async def _take_turns(_: str) -> None:
    await asyncio.sleep(0)


async def _bytes_of(data: Contents) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    source = await open_source(data)
    try:
        contents = bytearray(source.size)
        source.read_into(0, memoryview(contents))
        return bytes(contents)
    finally:
        await source.close()
