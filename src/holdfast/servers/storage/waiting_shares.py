"""Small shares that are durable, and visible, but not in files of their own yet.

They lie in a log, and in memory; of a mutable share the last version, whatever its file says. Soon
afterwards many are put into their places at once: files that need no synchronising of their own, since the
log has their contents, and one transaction of the catalog. A log is emptied once the file system has brought
those files to stable storage; meanwhile another one is written to.

Source: docs/spec/storage-disk.md, section 8.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.admission import Admission
from holdfast.servers.storage.catalog import Catalog, Kind
from holdfast.servers.storage.catalog_writer import CatalogWriter
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk, refusal_of
from holdfast.servers.storage.disk_pace import DiskPace
from holdfast.servers.storage.logged_files import Place, entries, put_into_place
from holdfast.servers.storage.redo import synchronise_places
from holdfast.servers.storage.share_log import LoggedShare, ShareLog, log_paths
from holdfast.servers.storage.workers import Workers

log = logging.getLogger(__name__)

PLACE_AFTER_S = 0.25  # without another share
PLACE_AT_LATEST_S = 10.0
WAITING_MAX = 8 << 20  # bytes; so many are put into their places at once
LOG_SIZE = 12 << 20  # bytes; a log of this length is emptied
LOG_SIZE_MAX = 32 << 20  # bytes; whoever would make it longer waits
AT_ONCE_S = 0.005  # a disk that takes no longer is not worth a thread


class Intake(Protocol):
    """Shares that want to be taken in."""

    def prepare(self) -> Sequence[LoggedShare]:
        """Return what is to be taken in, right before it is. In a thread, or as quick as one look-up."""
        ...

    def done(self, error: Exception | None) -> None:
        """Called on the event loop once that is durable and visible, or failed."""
        ...


_Outcome = tuple[Intake, Sequence[LoggedShare], Exception | None]
"""What came of an intake."""


class WaitingShares:
    """What waits in the logs of one storage directory. Used on the event loop."""

    def __init__(
        self,
        directory: StorageDirectory,
        disk: Disk,
        catalog: Catalog,
        writer: CatalogWriter,
        workers: Workers,
        admission: Admission,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._catalog = catalog
        self._writer = writer
        self._workers = workers
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._log, self._spare = (ShareLog(path, disk) for path in log_paths(directory))
        self._unsettled: dict[ShareLog, set[Place]] = {self._log: set(), self._spare: set()}
        self._held: Counter[StorageIndex] = Counter()  # how many places of each are unsettled
        self._by_index: dict[StorageIndex, dict[int, LoggedShare]] = {}
        self._count = self._bytes = 0  # of what waits
        self._newest_at = self._oldest_at = 0.0  # when the newest and the oldest of it came
        self._queue: list[Intake] = []
        self._committing: asyncio.Future[None] | None = None
        self._submitted_at = -1.0
        self._pace = DiskPace(workers, AT_ONCE_S)
        self._placing: asyncio.Task[None] | None = None
        self._settling = asyncio.Lock()
        self._settler: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def new_shares(self) -> int:
        """How many shares wait that the catalog does not count."""
        return sum(share.is_new for shares in self._by_index.values() for share in shares.values())

    def of(self, index: StorageIndex, kind: Kind | None = None) -> dict[int, LoggedShare]:
        """Return the shares of ``index`` that wait, by number, as they are now; those of a kind, if given."""
        shares = self._by_index.get(index, {})
        return {number: share for number, share in shares.items() if kind in (None, share.kind)}

    def submit(self, intake: Intake) -> None:
        """Have shares taken in, together with whatever else is submitted meanwhile.

        Where the disk is fast and nobody else came just now, that is done on return.
        """
        self._queue.append(intake)
        if self._committing is not None:
            return
        self._committing = self._loop.create_future()
        now = self._loop.time()
        if now > self._submitted_at:
            self._commit_queue()
        else:
            self._loop.call_soon(self._commit_queue)  # several come in one turn of the loop
        self._submitted_at = now

    async def make_room(self) -> None:
        """Wait while the log is too long.

        Raises:
            NoSpaceError, OSError: what is in it finds no place.
        """
        if self._log.size >= LOG_SIZE_MAX:
            await self.settle()

    async def placed(self, index: StorageIndex) -> None:
        """Return once no share of ``index`` waits. Whoever looks at files or catalog comes here before.

        Raises:
            NoSpaceError, OSError: they could not be put into their places; they go on waiting.
        """
        while index in self._by_index:
            await asyncio.shield(self._start_placing())

    async def released(self, index: StorageIndex) -> None:
        """Return once no log holds a share of ``index``, so that it may be changed in another way.

        The caller keeps others from it.

        Raises:
            NoSpaceError, OSError: as ``settle``.
        """
        while self._held[index]:
            await self.settle()
        del self._held[index]

    async def settle(self) -> None:
        """Have what waits now in its place, on stable storage, and out of the log.

        Raises:
            NoSpaceError, OSError: that failed; nothing is lost.
        """
        async with self._settling:
            while self._committing is not None:
                await asyncio.wait([self._committing])
            if self._spare.empty:
                self._log, self._spare = self._spare, self._log
                self._log.after = self._spare.generation
            if self._spare.empty:
                return
            await self._place_all()
            places = self._unsettled[self._spare]
            if self._disk.synchronise:
                await self._workers.run(synchronise_places, self._disk, self._directory, list(places))
            await self._workers.run(self._spare.empty_out)
            self._held.subtract(index for index, _ in places)
            self._held += Counter()  # only those above zero
            places.clear()

    async def close(self) -> None:
        """Settle, and leave no log behind. Nothing may be submitted any more."""
        try:
            for _ in range(2):
                await self.settle()
        finally:
            self._closed = True
            if self._alarm is not None:
                self._alarm.cancel()
            for each in (self._log, self._spare):
                if each.empty:
                    await self._workers.run(each.remove)
                each.close()

    # -- taking in

    def _commit_queue(self) -> None:
        queue, self._queue = self._queue, []
        if self._pace.quick:
            self._finish_commit(self._pace.timed(self._commit, queue))
        else:
            task = self._loop.create_task(self._workers.run(self._pace.timed, self._commit, queue))
            task.add_done_callback(lambda task: self._finish_commit(task.result()))

    def _commit(self, queue: Sequence[Intake]) -> list[_Outcome]:
        """Append what is to be taken in to the log. Blocks."""
        outcomes: list[_Outcome] = []
        for intake in queue:
            try:
                outcomes.append((intake, intake.prepare(), None))
            except Exception as error:
                outcomes.append((intake, (), error))
        shares = [share for _, taken, _ in outcomes for share in taken]
        if shares:
            try:
                self._log.append(shares)
            except OSError as failure:
                outcomes = [(intake, (), error or failure) for intake, _, error in outcomes]
        return outcomes

    def _finish_commit(self, outcomes: Sequence[_Outcome]) -> None:
        for intake, shares, error in outcomes:
            for share in shares:
                self._take(share)
            intake.done(error)
        assert self._committing is not None
        if self._queue:
            self._loop.call_soon(self._commit_queue)
        else:
            self._committing.set_result(None)
            self._committing = None
        if self._log.size >= LOG_SIZE and (self._settler is None or self._settler.done()):
            self._settler = self._loop.create_task(self.settle())
            self._settler.add_done_callback(_report)
        if self._count:
            self._newest_at = self._loop.time()
            if self._alarm is None:
                self._oldest_at = self._newest_at
                self._alarm = self._loop.call_later(PLACE_AFTER_S, self._place_if_due)
            elif self._bytes >= WAITING_MAX:
                self._start_placing()

    def _take(self, share: LoggedShare) -> None:
        """Let a share wait, instead of the version that waited."""
        place = (share.index, share.number)
        if place not in self._unsettled[self._log]:
            self._unsettled[self._log].add(place)
            self._held[share.index] += 1
        waiting = self._by_index.setdefault(share.index, {})
        before = waiting.get(share.number)
        waiting[share.number] = share
        self._bytes += len(share.data)
        if before is None:
            self._count += 1
            return
        self._bytes -= len(before.data)
        share.unbacked += before.unbacked
        share.is_new = before.is_new
        share.earlier = tuple(
            lease for lease in (*before.earlier, before.lease) if lease.renew_hash != share.lease.renew_hash
        )

    # -- putting into place

    def _place_if_due(self) -> None:
        now = self._loop.time()
        due = min(self._newest_at + PLACE_AFTER_S, self._oldest_at + PLACE_AT_LATEST_S)
        if now < due:
            self._alarm = self._loop.call_later(due - now, self._place_if_due)
            return
        self._alarm = None
        if self._count:
            self._start_placing()

    def _start_placing(self) -> asyncio.Task[None]:
        if self._placing is None or self._placing.done():
            self._placing = self._loop.create_task(self._place())
            self._placing.add_done_callback(self._placed_some)
        return self._placing

    def _placed_some(self, task: asyncio.Task[None]) -> None:
        """See to what came meanwhile, or found no place."""
        _report(task)
        if self._count and self._alarm is None and not self._closed:
            self._oldest_at = self._newest_at = self._loop.time()
            self._alarm = self._loop.call_later(PLACE_AFTER_S, self._place_if_due)

    async def _place_all(self) -> None:
        """Put into place whatever waits now."""
        if self._placing is not None and not self._placing.done():
            await asyncio.wait([self._placing])
        if self._count:
            await asyncio.shield(self._start_placing())

    async def _place(self) -> None:
        batch = [share for shares in self._by_index.values() for share in shares.values()]
        placed, failure = await self._workers.run(put_into_place, self._disk, self._directory, batch)
        if placed:
            await self._writer.commit(await self._workers.run(entries, self._catalog, placed))
        for share in placed:
            self._forget(share)
        if failure is not None:
            raise refusal_of(failure) from failure

    def _forget(self, share: LoggedShare) -> None:
        """Note that a share is in its place, and in the catalog."""
        shares = self._by_index[share.index]
        current = shares[share.number]
        if current is not share:  # a later version came meanwhile
            current.is_new = False
            return
        del shares[share.number]
        if not shares:
            del self._by_index[share.index]
        self._count -= 1
        self._bytes -= len(share.data)
        self._admission.backed(share.unbacked)


def _report(task: asyncio.Task[None]) -> None:
    error = task.exception()
    if error is not None:
        log.error("stored shares could not be put into their places; it will be tried again: %s", error)
