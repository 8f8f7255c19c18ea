"""Mutable slots: read, test and write all shares of an index as one step.

New versions of the shares are written beside the old ones and put into place by the redo
records of one transaction: whatever happens, all shares of the slot are old, or all are new.

Source: docs/spec/storage-protocol.md, section 9; docs/spec/storage-disk.md, section 8.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from holdfast.formats.containers import WRITE_ENABLER_SIZE
from holdfast.interfaces.storage import LeaseSecrets, ReadTestWriteResult, ShareVectors
from holdfast.interfaces.storage_errors import (
    BadRequestError,
    NoSpaceError,
    ShareConflictError,
)
from holdfast.interfaces.types import MAX_BUCKETS, StorageIndex
from holdfast.servers.storage.catalog import Changes, Kind, LeaseRow, ShareRow
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.disk import refusal_of
from holdfast.servers.storage.lease_terms import BY_OTHERS, granted_lease
from holdfast.servers.storage.logged_slots import (
    LoggedSlots,
    NotLoggedError,
    SlotChange,
    can_be_logged,
)
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.redo import CONTENT_MAX
from holdfast.servers.storage.share_files import ShareImage, SlotShare
from holdfast.servers.storage.slot_edit import SlotEdit, end_of_writes, holds, plan_edit, write_container
from holdfast.servers.storage.slot_images import images_of
from holdfast.servers.storage.slot_reading import check_enabler, check_kind, opened_slot, read_all

AROUND_DATA = 1 << 20  # bytes of a large request that may be something else than contents of shares
SMALL_MAX = CONTENT_MAX // 2  # bytes of a share before and of what is written to it


class _NotSmallError(Exception):
    """Writing takes longer than the thread that commits has time for."""


@dataclass(slots=True)
class _Outcome:
    """What the blocking part of a read-test-write found and prepared."""

    result: ReadTestWriteResult
    changes: Changes | None = None  # None: nothing is to be written
    reserved: int = 0  # bytes of growth
    stored: int = 0  # bytes more, or fewer, once committed
    names: list[str] = field(default_factory=list)  # of new files in incoming/


class MutableSlots:
    """The read-test-write operation."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts
        self._logged = LoggedSlots(parts)

    async def read_test_write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        """See ``StorageService``. All or nothing, also when the machine stops in the middle.

        Raises:
            WrongSecretError: another write enabler is stored with the slot.
            ShareConflictError: the index holds, or is being sent, immutable shares.
            TooLargeError: a share would be too large, or the answer.
            NoSpaceError: there is no room, or the server is read-only, and something would grow.
        """
        if len(write_enabler) != WRITE_ENABLER_SIZE:
            raise BadRequestError("a write enabler has 32 bytes")
        if any(not 0 <= number < MAX_BUCKETS for number in vectors):
            raise BadRequestError("share numbers go from 0 to 255")
        granted = granted_lease(lease, BY_OTHERS, self._parts.clock())
        await self._parts.redo.make_room()
        return await self._parts.steadfast.run(
            self._perform(index, write_enabler, granted, vectors, read_vector)
        )

    async def _perform(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseRow,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        async with self._parts.locks.hold_as_it_is(index):
            if self._parts.uploads.of(index):
                raise ShareConflictError("immutable shares of this index are being uploaded")
            if can_be_logged(vectors) and not self._parts.redo.owes(index):
                with suppress(NotLoggedError):
                    change = SlotChange(index, write_enabler, lease, vectors, read_vector)
                    return await self._logged.carry_out(change)
            await self._ready(index, to_write=bool(vectors))
            job = partial(self._prepare, index, write_enabler, lease, vectors, read_vector)
            if all(end_of_writes(share) <= SMALL_MAX for share in vectors.values()):
                with suppress(_NotSmallError):
                    return (await self._in_one_step(job)).result
            outcome = await self._parts.workers.run(job)
            if outcome.changes is not None:
                await self._commit(outcome, self._parts.writer.submit(outcome.changes))
            return outcome.result

    async def _ready(self, index: StorageIndex, *, to_write: bool) -> None:
        """Bring a slot into its files, and out of the log before it is written: whatever is in there would be
        put over it after a crash."""
        try:
            await self._parts.waiting.placed(index)
            if to_write:
                await self._parts.waiting.released(index)
        except OSError as error:
            raise refusal_of(error) from error

    async def _in_one_step(self, job: Callable[..., _Outcome]) -> _Outcome:
        """Prepare what is small in the thread that commits: changing threads would cost more than it does.

        Raises:
            _NotSmallError: there is a large share. Nothing was done.
        """
        prepared: list[_Outcome] = []

        def make_changes() -> Changes:
            prepared.append(job(small=True))
            return prepared[0].changes or Changes()

        committed = self._parts.writer.submit(make_changes)
        try:
            await committed
        except BaseException:
            if not prepared:
                raise  # in ``job``: there is nothing to be undone
        await self._commit(prepared[0], committed)
        return prepared[0]

    async def read_slot(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None = None
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every sound share of a slot, cut at its end.

        All shares are read as they were at one moment. An index without a slot has no shares.

        Args:
            numbers: the shares to be read, if not all.

        Raises:
            TooLargeError: that is more than one answer may hold.
        """
        parts = self._parts
        async with parts.locks.hold_as_it_is(index):
            if parts.waiting.of(index, Kind.IMMUTABLE):
                return {}
            images = images_of(parts.waiting.of(index))
            size = sum(length for _, length in ranges)
            return await parts.read(size, self._read_slot, index, ranges, numbers, images)

    def _read_slot(
        self,
        index: StorageIndex,
        ranges: Sequence[tuple[int, int]],
        numbers: Collection[int] | None,
        images: Mapping[int, ShareImage],
    ) -> Mapping[int, Sequence[bytes]]:
        self._parts.redo.retry(index)
        rows = self._parts.catalog.shares_of(index)
        if any(row.kind is Kind.IMMUTABLE for row in rows.values()):
            return {}
        wanted = rows.keys() | images.keys()
        if numbers is not None:
            wanted &= set(numbers)
        with opened_slot(self._parts.directory, index, wanted, images) as slot:
            return read_all(slot, ranges)

    async def check_write_enabler(self, index: StorageIndex, write_enabler: bytes) -> None:
        """Raise WrongSecretError or ShareConflictError as ``read_test_write`` would."""
        await self._parts.workers.run(self._check_write_enabler, index, write_enabler)

    async def check_message(self, index: StorageIndex, write_enabler: bytes, size: int) -> None:
        """Do the same before a large request is received; ``size``: bytes of it that are known.

        Raises:
            NoSpaceError: shares are not to grow so much that it could be carried out.
        """
        held = await self._parts.workers.run(self._check_write_enabler, index, write_enabler)
        room = self._parts.admission.room_for_shares()
        if room is not None and size - AROUND_DATA > room + held:
            raise NoSpaceError("the server is full or read-only")

    def _check_write_enabler(self, index: StorageIndex, write_enabler: bytes) -> int:
        """Return the bytes of all shares of the slot."""
        rows = self._parts.catalog.shares_of(index)
        check_kind(rows)
        with opened_slot(self._parts.directory, index, rows.keys()) as slot:
            check_enabler(slot, write_enabler)
            return sum(share.size for share in slot.values())

    async def _commit(self, outcome: _Outcome, committed: asyncio.Future[None]) -> None:
        try:
            await committed
        except UnfinishedMoveError:
            self._parts.admission.keep(outcome.reserved, backed=False, stored=outcome.stored)
            raise
        except BaseException:
            self._parts.admission.release(outcome.reserved, backed=False)
            await self._parts.workers.run(self._remove, outcome.names)
            raise
        self._parts.admission.keep(outcome.reserved, backed=False, stored=outcome.stored)

    def _prepare(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseRow,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
        *,
        small: bool = False,
    ) -> _Outcome:
        """Read, test, and write the new versions to files of their own.

        ``small``: raise _NotSmallError if a share that is to be written is large.
        """
        try:
            return self._prepared(index, write_enabler, lease, vectors, read_vector, small=small)
        except OSError as error:
            raise refusal_of(error) from error

    def _prepared(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseRow,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
        *,
        small: bool,
    ) -> _Outcome:
        self._parts.redo.retry(index)
        rows = self._parts.catalog.shares_of(index)
        check_kind(rows)
        with opened_slot(self._parts.directory, index, rows.keys(), needed=vectors) as slot:
            check_enabler(slot, write_enabler)
            if small and any(number in slot and slot[number].size > SMALL_MAX for number in vectors):
                raise _NotSmallError
            success = all(
                holds(slot.get(number), test) for number, share in vectors.items() for test in share.tests
            )
            outcome = _Outcome(ReadTestWriteResult(success, read_all(slot, read_vector)))
            if success and vectors:
                self._write(index, write_enabler, lease, vectors, slot, rows, outcome)
            return outcome

    def _write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseRow,
        vectors: Mapping[int, ShareVectors],
        slot: Mapping[int, SlotShare],
        rows: Mapping[int, ShareRow],
        outcome: _Outcome,
    ) -> None:
        parts = self._parts
        edits = {
            number: plan_edit(slot.get(number), share, parts.settings.maximum_mutable_share_size)
            for number, share in sorted(vectors.items())
            if share.new_length != 0
        }
        growth = sum(edit.growth for edit in edits.values())
        grows = any(edit.grows for edit in edits.values())
        if (grows and parts.settings.read_only) or (growth and not parts.admission.reserve(growth)):
            raise NoSpaceError("the server is full or read-only")
        outcome.reserved = growth
        moves: list[tuple[StorageIndex, int, str, bytes | None]] = []
        changes = Changes()
        try:
            for number in sorted(vectors.keys() - edits.keys()):
                old = slot.get(number)
                if number in rows:
                    changes.drop_share(index, number, rows[number].size)
                if old is not None:
                    moves.append((index, number, "", None))
            for number, edit in edits.items():
                name = parts.new_name()
                outcome.names.append(name)
                content = self._new_version(name, slot.get(number), edit, vectors[number], write_enabler)
                moves.append((index, number, name, content))
                replaces = rows[number].size if number in rows else None
                if replaces != edit.new_size:
                    changes.put_share(index, number, Kind.MUTABLE, edit.new_size, replaces=replaces)
                changes.put_lease(index, number, lease)
            if edits and not slot:
                parts.disk.make_directory(parts.directory.index_directory(index))
            if any(name and content is None for _, _, name, content in moves) and parts.disk.synchronise:
                parts.disk.sync_directory(parts.directory.incoming)
        except BaseException:
            parts.admission.release(growth, backed=False)
            self._remove(outcome.names)
            raise
        if moves:
            parts.redo.promise(changes, Kind.MUTABLE, moves)
        outcome.stored = changes.more_bytes
        outcome.changes = changes if changes.steps else None

    def _new_version(
        self,
        name: str,
        share: SlotShare | None,
        edit: SlotEdit,
        vectors: ShareVectors,
        write_enabler: bytes,
    ) -> bytes | None:
        """Write a container to ``incoming``; return it if it is small, else have it synchronised."""
        parts = self._parts
        descriptor, _ = parts.disk.create(parts.directory.waiting(name), 0)
        try:
            size = write_container(
                parts.disk, descriptor, share, edit, vectors.writes, parts.server_seed, write_enabler
            )
            if not parts.disk.synchronise:
                return None
            if size <= CONTENT_MAX:
                return os.pread(descriptor, size, 0)
            parts.disk.sync_file(descriptor)
        finally:
            os.close(descriptor)
        return None

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self._parts.disk.remove(self._parts.directory.waiting(name))
