"""Taking in small shares whole, of one file or of many: no allocation before, no writes after.

The same rules as for an allocation followed by writes hold; there just is nothing in between. Shares of an
index that is new here go into a log, all that come at once with one synchronisation. Where there is something
of the index already, or somebody else is at work on it, each index gets a transaction of its own.

Source: docs/spec/storage-protocol.md, sections 8.1, 8.2 and 18; docs/spec/storage-disk.md, section 8.1.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from holdfast.formats.containers import new_immutable_header
from holdfast.interfaces.storage import Allocation, StoreRequest
from holdfast.interfaces.storage_errors import BadRequestError, ShareConflictError, StorageRefusalError
from holdfast.interfaces.types import MAX_BUCKETS
from holdfast.servers.storage.allocation import Accepted, Allocations
from holdfast.servers.storage.catalog import Changes, Kind, LeaseRow
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.disk import NO_ROOM, refusal_of
from holdfast.servers.storage.immutable import ImmutableWrites, NonsenseError
from holdfast.servers.storage.lease_terms import BY_ALLOCATION, granted_lease
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.share_log import LoggedShare
from holdfast.servers.storage.upload_ends import UploadEnds
from holdfast.servers.storage.uploads import Upload

NOT_ACCEPTED = Allocation(frozenset(), frozenset())

Outcome = Allocation | StorageRefusalError
"""What becomes of one request: the shares that were there, and those stored now; or why none were."""


class SmallShares:
    """Stores shares that come whole."""

    def __init__(
        self, parts: StorageParts, allocations: Allocations, writes: ImmutableWrites, ends: UploadEnds
    ) -> None:
        self._parts = parts
        self._allocations = allocations
        self._writes = writes
        self._ends = ends

    async def store(self, requests: Sequence[StoreRequest]) -> list[Outcome]:
        """Store what is missing of each request, and renew or add the lease on everything there is.

        Returns:
            The outcome of each request. Shares that were there are named whether they were asked for or not;
            those stored are durable and visible. ShareConflictError: the index holds mutable shares, or a
            share is nonsense; nothing is stored of that request.
        """
        parts = self._parts
        now = parts.clock()
        takings = [_Taking(request, granted_lease(request.lease, BY_ALLOCATION, now)) for request in requests]
        for request in requests:
            check_shares(request)
        await parts.waiting.make_room()
        fresh = [taking for taking in takings if self._may_be_fresh(taking)]
        if fresh:
            intake = _FreshShares(parts, self._writes, fresh)
            parts.waiting.submit(intake)
            if not intake.finished.done():
                await asyncio.wait([intake.finished])
            intake.finished.result()
        others = [taking for taking in takings if taking.outcome is None]
        if others:
            await asyncio.gather(*(self._store_beside_others(taking) for taking in others))
        return [taking.result() for taking in takings]

    def _may_be_fresh(self, taking: _Taking) -> bool:
        """Take the lock of an index that nobody is at work on, and of which nothing waits."""
        parts, index = self._parts, taking.request.index
        busy = parts.uploads.of(index) or parts.waiting.of(index) or parts.redo.owes(index)
        return not busy and parts.locks.take(index)

    async def _store_beside_others(self, taking: _Taking) -> None:
        parts = self._parts
        try:
            await parts.redo.make_room()
            taking.outcome = await parts.steadfast.run(self._store(taking))
        except StorageRefusalError as refusal:
            taking.outcome = refusal

    async def _store(self, taking: _Taking) -> Allocation:
        parts, index = self._parts, taking.request.index
        found = Accepted()

        def make_changes() -> Changes:
            nonlocal found
            found = self._take_in(batch, wanted)
            return self._changes(batch, found)

        async with parts.locks.hold(index):
            batch = _Batch(parts, taking.request, taking.lease)
            wanted = sorted(taking.request.shares.keys() - parts.uploads.of(index).keys())
            try:
                # Files are made by the thread that commits: changing threads would cost more than they do.
                await parts.writer.submit(make_changes)
            except UnfinishedMoveError:
                self._keep(found)
                raise
            except BaseException:
                for upload in found.made:
                    await self._ends.give_up(upload)
                raise
            self._keep(found)
        return Allocation(frozenset(found.complete), frozenset(upload.number for upload in found.made))

    def _changes(self, batch: _Batch, found: Accepted) -> Changes:
        changes, index = found.adopted, batch.request.index
        if found.complete:
            changes.renew_all(index, batch.lease)
        for upload in found.made:
            changes.put_share(index, upload.number, Kind.IMMUTABLE, upload.size, replaces=upload.replaces)
            changes.put_lease(index, upload.number, batch.lease)
        if found.made:
            moves = [(index, u.number, u.name, batch.contents[u.number]) for u in found.made]
            self._parts.redo.promise(changes, Kind.IMMUTABLE, moves)
        return changes

    def _take_in(self, batch: _Batch, wanted: list[int]) -> Accepted:
        """Find what is there, and write the files of what is not. Blocks."""
        request = batch.request
        verify_shares(self._writes, request, wanted)
        try:
            return self._allocations.find_and_make(
                request.index, wanted, batch.make, only_if_none=request.only_if_none
            )
        except OSError as error:
            raise refusal_of(error) from error

    def _keep(self, found: Accepted) -> None:
        for upload in found.made:
            upload.gone = True
            more = upload.size - (upload.replaces or 0)
            self._parts.admission.keep(upload.size, backed=True, stored=more)


def check_shares(request: StoreRequest) -> None:
    """Raise BadRequestError unless there are shares, of one length, with numbers that shares can have."""
    if not all(0 <= number < MAX_BUCKETS for number in request.shares):
        raise BadRequestError("share numbers go from 0 to 255")
    sizes = set(map(len, request.shares.values()))
    if len(sizes) != 1 or sizes == {0}:
        raise BadRequestError("shares of one index have one length, at least one byte")


def verify_shares(writes: ImmutableWrites, request: StoreRequest, numbers: Sequence[int]) -> None:
    """Raise ShareConflictError for a share that contradicts itself."""
    for number in numbers:
        share = request.shares[number]
        try:
            writes.verify(partial(_cut, share), len(share))
        except NonsenseError as error:
            raise ShareConflictError(f"share {number} is nonsense: {error}") from None


def _cut(share: bytes, offset: int, length: int) -> bytes:
    return share[offset : offset + length]


@dataclass(slots=True)
class _Taking:
    """One request, and what becomes of it."""

    request: StoreRequest
    lease: LeaseRow
    outcome: Outcome | None = None
    logged: list[LoggedShare] = field(default_factory=list)

    def result(self) -> Outcome:
        assert self.outcome is not None
        return self.outcome


class _FreshShares:
    """Implements ``waiting_shares.Intake`` for requests whose index may be new here.

    It holds the locks of them all. Those it leaves without an outcome are to be stored in the other way.
    """

    def __init__(self, parts: StorageParts, writes: ImmutableWrites, takings: Sequence[_Taking]) -> None:
        self._parts = parts
        self._writes = writes
        self._takings = takings
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def prepare(self) -> Sequence[LoggedShare]:
        """Reserve room for what is really new. Blocks for a look-up or two."""
        for taking in self._takings:
            try:
                if self._is_new(taking.request):
                    self._reserve(taking)
            except StorageRefusalError as refusal:
                taking.outcome = refusal
        return [share for taking in self._takings for share in taking.logged]

    def done(self, error: Exception | None) -> None:
        """Note the outcomes, and let go of the indexes."""
        parts = self._parts
        for taking in self._takings:
            parts.locks.release(taking.request.index)
            for share in taking.logged:
                size = len(share.data)
                if error is None:
                    parts.admission.keep(size, backed=True, stored=size)  # until it is placed, without blocks
                else:
                    parts.admission.release(size, backed=False)
            if error is not None and taking.logged:
                taking.outcome = NOT_ACCEPTED
        no_room = isinstance(error, OSError) and error.errno in NO_ROOM
        if error is None or no_room:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)

    def _is_new(self, request: StoreRequest) -> bool:
        parts, index = self._parts, request.index
        if not os.path.lexists(parts.directory.index_directory(index)):
            return True
        if parts.catalog.shares_of(index):
            return False
        return not any(os.path.lexists(parts.directory.share(index, number)) for number in request.shares)

    def _reserve(self, taking: _Taking) -> None:
        request = taking.request
        numbers = sorted(request.shares)
        verify_shares(self._writes, request, numbers)
        for number in numbers:
            share = request.shares[number]
            if not self._parts.admission.reserve(len(share)):
                break  # they all have one size
            taking.logged.append(LoggedShare(request.index, number, taking.lease, share, unbacked=len(share)))
        taking.outcome = Allocation(frozenset(), frozenset(share.number for share in taking.logged))


class _Batch:
    """The shares of one request, and the files made of them."""

    def __init__(self, parts: StorageParts, request: StoreRequest, lease: LeaseRow) -> None:
        self._parts = parts
        self.request = request
        self.lease = lease
        self.contents: dict[int, bytes | None] = {}  # of the files, where they go into redo records

    def make(self, number: int, replaces: int | None) -> Upload | None:
        """Reserve room and write the file; None if there is no room. Blocks."""
        parts, share = self._parts, self.request.shares[number]
        size = len(share)
        if not parts.admission.reserve(size):
            return None
        name = parts.new_name()
        content = new_immutable_header(size) + share
        try:
            parts.disk.create_with(parts.directory.waiting(name), content)
        except BaseException as error:
            parts.admission.release(size, backed=False)
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                return None
            raise
        parts.admission.backed(size)
        self.contents[number] = content if parts.disk.synchronise else None
        return Upload(self.request.index, number, size, b"", self.lease, name, True, replaces, parts.clock())
