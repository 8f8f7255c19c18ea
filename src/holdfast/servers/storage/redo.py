"""From a committed promise to a file in its place.

The commit of a transaction is the one moment at which a share comes to be, changes or
goes. Before it, the new file lies in ``incoming``. Afterwards the file is moved, and a redo
record says so until the move itself is on stable storage; a restart repeats what the
records say. Small files are in the record with their contents, so they need no
synchronising of their own before the answer; larger ones are synchronised in
``incoming`` first.

Source: docs/spec/storage-disk.md, section 8.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from sqlalchemy import delete

from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Catalog, Changes, Kind, RedoRow, redo_table
from holdfast.servers.storage.catalog_writer import CatalogWriter
from holdfast.servers.storage.directory import StorageDirectory, parents_to_sync
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.workers import Workers

log = logging.getLogger(__name__)

CONTENT_MAX = 64 * 1024  # bytes of a file that goes into its record
SETTLE_AT = 256  # records that make settling worth while
MANY = 8  # places that are synchronised faster all at once, with the rest of the file system
PENDING_MAX = 4096  # records; beyond that, whoever adds one settles first

_Place = tuple[StorageIndex, int]


@dataclass(frozen=True, slots=True)
class _Move:
    """A promise to be kept: the record without the contents. ``kept``: the record has them."""

    serial: int
    index: StorageIndex
    number: int
    name: str  # empty: the share is deleted
    kind: Kind
    kept: bool


class Redo:
    """Keeps the promises of the catalog. ``settle`` is called now and then, and once at the end."""

    def __init__(
        self,
        catalog: Catalog,
        writer: CatalogWriter,
        disk: Disk,
        directory: StorageDirectory,
        workers: Workers,
    ) -> None:
        self._catalog = catalog
        self._writer = writer
        self._disk = disk
        self._directory = directory
        self._workers = workers
        self._lock = threading.Lock()
        self._done: dict[_Place, list[int]] = {}  # serials of moves that are not on stable storage yet
        self._pending: Counter[StorageIndex] = (
            Counter()
        )  # places of each, those that are being settled included
        self._stuck: dict[StorageIndex, list[_Move]] = {}
        self._settling = asyncio.Lock()

    @property
    def pending(self) -> int:
        """Places whose last move is not known to be on stable storage."""
        return len(self._done)

    def promise(
        self, changes: Changes, kind: Kind, moves: Sequence[tuple[StorageIndex, int, str, bytes | None]]
    ) -> None:
        """Make ``changes`` put files into place.

        Args:
            moves: storage index, share number, name of the new file in ``incoming`` (empty: the share is
                deleted), and its contents, or None if the file has been synchronised.
        """
        promised = []
        for index, number, name, content in moves:
            serial = next(self._catalog.serials)
            changes.put_redo(RedoRow(serial, index, number, name, content))
            promised.append(_Move(serial, index, number, name, kind, content is not None))
        changes.afterwards = lambda: self._apply_all(promised)

    def owes(self, index: StorageIndex) -> bool:
        """Tell whether a file of ``index`` is still to be put into its place because that failed."""
        return index in self._stuck

    async def settled(self, index: StorageIndex) -> None:
        """Return once no record of ``index`` is left. The caller keeps others from it.

        Raises:
            OSError: a move fails, or cannot be brought to stable storage.
        """
        while self._pending[index]:
            await self.settle()
        del self._pending[index]

    async def make_room(self) -> None:
        """Wait while too many promises are pending."""
        if len(self._done) >= PENDING_MAX:
            await self.settle()

    def retry(self, index: StorageIndex) -> None:
        """Carry out what was promised for ``index`` and failed. Blocks.

        Raises:
            OSError: it failed again; the index must not be touched.
        """
        if index not in self._stuck:
            return
        with self._lock:
            moves = self._stuck.pop(index, [])
        for position, move in enumerate(moves):
            try:
                self._apply(move)
            except OSError:
                with self._lock:
                    self._stuck[index] = moves[position:]
                raise

    async def settle(self) -> None:
        """Bring all moves made so far to stable storage, and forget their records."""
        async with self._settling:
            with self._lock:
                done, self._done = self._done, {}
            if not done:
                return
            try:
                await self._workers.run(self._synchronise, list(done))
                changes = Changes()
                for serials in done.values():
                    for serial in serials:
                        changes.clear_redo(serial)
                await self._writer.commit(changes)
            except BaseException:
                with self._lock:
                    self._pending.subtract(index for index, _ in done.keys() & self._done.keys())
                    for place, serials in done.items():
                        self._done[place] = serials + self._done.get(place, [])
                raise
            with self._lock:
                self._pending.subtract(index for index, _ in done)
                self._pending += Counter()  # only those above zero

    def _apply_all(self, moves: Sequence[_Move]) -> None:
        for position, move in enumerate(moves):
            try:
                self._apply(move)
            except OSError:
                log.exception("a stored share could not be put into its place; it will be tried again")
                with self._lock:
                    self._stuck.setdefault(move.index, []).extend(moves[position:])
                raise

    def _apply(self, move: _Move) -> None:
        place = self._directory.share(move.index, move.number)
        if not move.name:
            self._disk.remove(place)
            self._disk.remove_directory(self._directory.index_directory(move.index))
        else:
            self._with_directory(move.index, lambda: self._put(move, place))
        with self._lock:
            if (move.index, move.number) not in self._done:
                self._pending[move.index] += 1
            self._done.setdefault((move.index, move.number), []).append(move.serial)

    def _put(self, move: _Move, place: str) -> None:
        waiting = self._directory.waiting(move.name)
        if move.kind is Kind.IMMUTABLE:
            self._disk.publish(waiting, place)
        elif move.kept:
            self._disk.replace_unsynchronised(waiting, place)
        else:
            self._disk.replace(waiting, place)

    def _with_directory(self, index: StorageIndex, move: Callable[[], None]) -> None:
        try:
            move()
        except FileNotFoundError:
            self._disk.make_directory(self._directory.index_directory(index))
            move()

    def _synchronise(self, places: Sequence[_Place]) -> None:
        if not self._disk.synchronise:
            return
        synchronise_places(self._disk, self._directory, places)


def synchronise_places(disk: Disk, directory: StorageDirectory, places: Sequence[_Place]) -> None:
    """Bring the files at ``places``, and the names that lead to them, to stable storage."""
    if len(places) >= MANY and disk.sync_everything(directory.root):
        return
    parents: dict[str, None] = {}
    for index, number in places:
        with suppress(FileNotFoundError):  # deleted
            descriptor = os.open(directory.share(index, number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                disk.sync_file(descriptor)
            finally:
                os.close(descriptor)
        for parent in parents_to_sync(directory, directory.index_directory(index)):
            parents[parent] = None
    for parent in sorted(parents, key=len, reverse=True):
        with suppress(FileNotFoundError):  # deleted with its last share
            disk.sync_directory(parent)


def recover(catalog: Catalog, disk: Disk, directory: StorageDirectory) -> int:
    """Repeat the promised moves that a crash may have undone, then empty ``incoming``. Blocks.

    Returns:
        The number of moves looked at. Repeating ``recover`` after a crash inside it does no harm.
    """
    rows = catalog.redo_rows()
    last = {(row.index, row.number): row for row in rows}
    for row in last.values():
        _repeat(row, disk, directory)
    synchronise_places(disk, directory, list(last))
    if rows:
        with catalog.engine.begin() as connection:
            connection.execute(delete(redo_table))
    for entry in os.scandir(directory.incoming):
        if entry.is_dir(follow_symlinks=False):
            rmtree(entry.path)
        else:
            disk.remove(entry.path)
    return len(last)


def _repeat(row: RedoRow, disk: Disk, directory: StorageDirectory) -> None:
    place = directory.share(row.index, row.number)
    waiting = directory.waiting(row.name)
    if not row.name:
        disk.remove(place)
        disk.remove_directory(directory.index_directory(row.index))
        return
    if row.content is not None:
        if _holds(place, row.content):
            return
        disk.remove(waiting)
        descriptor, _ = disk.create(waiting, len(row.content))
        try:
            disk.write(descriptor, row.content, 0)
            disk.sync_file(descriptor)
        finally:
            os.close(descriptor)
    elif not Path(waiting).exists():
        return  # moved before
    disk.make_directory(directory.index_directory(row.index))
    disk.replace(waiting, place)


def _holds(path: str, content: bytes) -> bool:
    try:
        return Path(path).read_bytes() == content
    except FileNotFoundError:
        return False
