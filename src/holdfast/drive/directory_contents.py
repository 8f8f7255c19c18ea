"""Where the entries of a directory are; in the grid, in a mutable file, or in one that never changes.

Those of a virtual drive server are in ``vdrive_contents``.

Source: docs/spec/directories.md, sections 1, 3, 7 and 8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from holdfast.caps import ImmutableReadCap, LiteralCap, MutableReadCap, MutableWriteCap
from holdfast.drive.backing import ImmutableFiles, MutableFile
from holdfast.errors import InputError
from holdfast.formats.directory_table import DirectoryTable, unpack_directory
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.drive import NotMutableError, NotWriteableError

DIRECTORY_SIZE_MAX = 256 << 20  # bytes; about a million entries
UNPACK_HERE_MAX = 1 << 16  # bytes; more are unpacked in a thread, to hold nobody up
LOOK_HERE_MAX = 200  # entries; the same

Plan = Callable[[DirectoryTable, bool], DirectoryTable]
"""From the entries found, and whether this is the first attempt, to those that shall be."""


class DirectoryContents(Protocol):
    """The entries of one directory."""

    async def read(self) -> DirectoryTable:
        """Return the entries of the newest version."""
        ...

    async def read_entry(self, name: str) -> DirectoryTable:
        """Return the entry of this name in the newest version, if there is one; perhaps others with it."""
        ...

    def check_writable(self) -> None:
        """Raise NotMutableError if they cannot be changed through this; ask nobody."""
        ...

    async def change(self, names: Sequence[str], plan: Plan) -> None:
        """Change them as a whole, or not at all if ``plan`` raises.

        ``plan`` is called again whenever someone else wrote first.

        Args:
            names: of all entries that ``plan`` looks at, makes or removes; it may be given these alone.
        """
        ...


class MutableContents:
    """Entries in a mutable file of either format."""

    def __init__(self, cap: MutableWriteCap | MutableReadCap, file: MutableFile) -> None:
        self._write_key = cap.write_key if isinstance(cap, MutableWriteCap) else None
        self._file = file

    async def read(self) -> DirectoryTable:
        data = await self._file.read(0, DIRECTORY_SIZE_MAX + 1)
        return await _unpacked(data, self._write_key, immutable=False)

    async def read_entry(self, name: str) -> DirectoryTable:
        return await self.read()

    def check_writable(self) -> None:
        if self._write_key is None:
            raise NotWriteableError(
                "this directory is held read-only; changing it takes its write capability"
            )

    async def change(self, names: Sequence[str], plan: Plan) -> None:
        self.check_writable()

        def changed(data: bytes, first_attempt: bool) -> bytes:
            planned = plan(unpack_directory(data, self._write_key, immutable=False), first_attempt)
            contents = planned.to_bytes()
            check_size(len(contents))
            return contents

        await self._file.modify(changed)


class ImmutableContents:
    """Entries in an immutable file, or in a capability."""

    def __init__(self, cap: ImmutableReadCap | LiteralCap, files: ImmutableFiles) -> None:
        self._cap = cap
        self._files = files

    async def read(self) -> DirectoryTable:
        if isinstance(self._cap, LiteralCap):
            return await _unpacked(self._cap.data, None, immutable=True)
        check_size(self._cap.size)
        result = await self._files.download(self._cap.to_text(), DataTarget())
        return await _unpacked(result.value, None, immutable=True)

    async def read_entry(self, name: str) -> DirectoryTable:
        return await self.read()

    def check_writable(self) -> None:
        raise NotMutableError("this directory is immutable")

    async def change(self, names: Sequence[str], plan: Plan) -> None:
        raise NotMutableError("this directory is immutable")


async def listing(contents: DirectoryContents) -> DirectoryTable:
    """Return the entries of a directory, with all that is to be known of their children worked out."""
    table = await contents.read()
    if len(table) > LOOK_HERE_MAX:
        await asyncio.to_thread(look_at, table)
    return table


def look_at(table: DirectoryTable) -> None:
    """Work out all that is to be known of the children."""
    for entry in table:
        _ = entry.child


async def _unpacked(data: bytes, write_key: bytes | None, *, immutable: bool) -> DirectoryTable:
    check_size(len(data))
    if len(data) <= UNPACK_HERE_MAX:
        return unpack_directory(data, write_key, immutable)
    return await asyncio.to_thread(unpack_directory, data, write_key, immutable)


def check_size(size: int) -> None:
    """Raise InputError if a directory of this many bytes is too large to be opened."""
    if size > DIRECTORY_SIZE_MAX:
        raise InputError(f"a directory of more than {DIRECTORY_SIZE_MAX >> 20} MiB is not opened")
