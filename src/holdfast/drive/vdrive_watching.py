"""Watches a directory at a virtual drive server: waits for the next version, then asks what has changed.

The server knows no names, so those of deleted entries are known from before. A watcher that was
cut off for long lists the directory anew and compares.

Source: docs/spec/vdrive.md, section 8.7.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from typing import NamedTuple

from holdfast.drive.vdrive_backing import VdriveDirectory
from holdfast.errors import UnavailableError
from holdfast.formats.vdrive.open_entry import OpenEntry
from holdfast.interfaces.vdrive import WAIT_MAX_S
from holdfast.interfaces.vdrive_errors import SnapshotExpiredError

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0


class NamesChanged(NamedTuple):
    """What became of a directory.

    Attributes:
        version: of the directory, in which it is so.
        put: names that lead to something else, or to something at all, in their order.
        deleted: names that lead to nothing any more.
    """

    version: int
    put: tuple[str, ...]
    deleted: tuple[str, ...]


async def watch(directory: VdriveDirectory) -> AsyncGenerator[NamesChanged, None]:
    """Yield what changes from now on. While the server cannot be reached this waits, and misses nothing."""
    watcher = _Watcher(directory)
    await watcher.begin()
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            changed = await watcher.next_change()
        except UnavailableError:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
            continue
        pause_s = PAUSE_FIRST_S
        if changed.put or changed.deleted:
            yield changed


class _Watcher:
    def __init__(self, directory: VdriveDirectory) -> None:
        self._directory = directory
        self._version = 0
        self._names: dict[bytes, tuple[str, int]] = {}  # and the version of the entry, by slot

    async def begin(self) -> None:
        self._version = (await self._directory.head()).version
        # What is written meanwhile is in the listing, and is told of all the same.
        self._names = await self._listed()

    async def next_change(self) -> NamesChanged:
        while True:
            begun = time.monotonic()
            newer = await self._directory.wait(self._version, WAIT_MAX_S)
            if newer is not None:
                break
            # A server that does not wait shall not be asked all the time.
            await asyncio.sleep(max(0.0, PAUSE_FIRST_S - (time.monotonic() - begun)))
        try:
            return await self._changes()
        except SnapshotExpiredError:
            return await self._differences(newer)

    async def _changes(self) -> NamesChanged:
        """Ask what has changed, and note it when all of it is known."""
        version, entries, deleted = self._version, list[OpenEntry](), list[bytes]()
        async for page in self._directory.changes(self._version):
            version = page.head.version
            entries += page.entries
            deleted += page.deleted
        gone = [self._names.pop(slot, None) for slot in deleted]
        self._names.update(_by_slot(entries))
        self._version = version
        return _changed(version, [entry.name for entry in entries], [name[0] for name in gone if name])

    async def _differences(self, version: int) -> NamesChanged:
        """List everything, and compare with what was there."""
        before, self._names = self._names, await self._listed()
        self._version = version
        return _changed(
            version,
            [name for slot, (name, written) in self._names.items() if before.get(slot) != (name, written)],
            [name for slot, (name, _) in before.items() if slot not in self._names],
        )

    async def _listed(self) -> dict[bytes, tuple[str, int]]:
        return _by_slot(await self._directory.all_entries(names_only=True))


def _by_slot(entries: Iterable[OpenEntry]) -> dict[bytes, tuple[str, int]]:
    return {entry.slot: (entry.name, entry.version) for entry in entries}


def _changed(version: int, put: Iterable[str], deleted: Iterable[str]) -> NamesChanged:
    return NamesChanged(version, tuple(sorted(put)), tuple(sorted(deleted)))
