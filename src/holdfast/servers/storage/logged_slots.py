"""Changes of small mutable shares: the new container goes into the log, and stays in memory for a while.

So a change costs one synchronisation, and many changes of one share in a row make one file.

Source: docs/spec/storage-protocol.md, section 9; docs/spec/storage-disk.md, section 8.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors
from holdfast.interfaces.storage_errors import NoSpaceError, ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind, LeaseRow, ShareRow
from holdfast.servers.storage.disk import refusal_of
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.share_files import ShareImage, SlotShare
from holdfast.servers.storage.share_log import LoggedShare
from holdfast.servers.storage.slot_edit import end_of_writes, holds, plan_edit
from holdfast.servers.storage.slot_images import images_of, new_image
from holdfast.servers.storage.slot_reading import check_enabler, check_kind, opened_slot, read_all

CONTAINER_MAX = 512 * 1024  # bytes of a container that goes into the log


class NotLoggedError(Exception):
    """A container is too large for the log. Nothing was done."""


@dataclass(frozen=True, slots=True)
class SlotChange:
    """What a read-test-write asks for."""

    index: StorageIndex
    write_enabler: bytes = field(repr=False)
    lease: LeaseRow
    vectors: Mapping[int, ShareVectors]
    read_vector: Sequence[tuple[int, int]]


def can_be_logged(vectors: Mapping[int, ShareVectors]) -> bool:
    """Tell whether a change may go into the log: one record holds all of it, and nothing is deleted."""
    if len(vectors) != 1:
        return False
    (share,) = vectors.values()
    in_memory = all(isinstance(write.data, bytes) for write in share.writes)
    return in_memory and share.new_length != 0 and end_of_writes(share) <= CONTAINER_MAX


class LoggedSlots:
    """Carries out changes that go into the log. The caller holds the index."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts

    async def carry_out(self, change: SlotChange) -> ReadTestWriteResult:
        """Read, test and write.

        Raises:
            NotLoggedError: it has to be done in the other way.
            Others as ``MutableSlots.read_test_write``.
        """
        parts = self._parts
        if parts.waiting.of(change.index, Kind.IMMUTABLE):
            raise ShareConflictError("the index holds immutable shares")
        try:
            await parts.waiting.make_room()
            await parts.redo.settled(change.index)  # else it would be done again after a crash, over this
        except OSError as error:
            raise refusal_of(error) from error
        intake = _Intake(parts, change, images_of(parts.waiting.of(change.index)))
        parts.waiting.submit(intake)
        if not intake.finished.done():
            await asyncio.wait([intake.finished])
        return intake.finished.result()


class _Intake:
    """Implements ``waiting_shares.Intake``."""

    def __init__(self, parts: StorageParts, change: SlotChange, images: Mapping[int, ShareImage]) -> None:
        self._parts = parts
        self._change = change
        self._images = images
        self._result: ReadTestWriteResult | None = None
        self._growth = 0  # bytes that were reserved
        self._stored = 0  # bytes of share data more, or fewer
        self.finished: asyncio.Future[ReadTestWriteResult] = asyncio.get_running_loop().create_future()

    def prepare(self) -> Sequence[LoggedShare]:
        """Read and test; return the new version, if there is one. Blocks for looking at the slot."""
        change = self._change
        rows = self._parts.catalog.shares_of(change.index)
        check_kind(rows)
        numbers = rows.keys() | self._images.keys()
        try:
            with opened_slot(
                self._parts.directory, change.index, numbers, self._images, needed=change.vectors
            ) as slot:
                return self._changed(slot, rows)
        except OSError as error:
            raise refusal_of(error) from error

    def done(self, error: Exception | None) -> None:
        """Settle the accounts, and answer."""
        admission = self._parts.admission
        if error is None:
            assert self._result is not None
            admission.keep(
                self._growth, backed=True, stored=self._stored
            )  # until it is placed, without blocks
            self.finished.set_result(self._result)
            return
        if self._growth:
            admission.release(self._growth, backed=False)
        self.finished.set_exception(refusal_of(error) if isinstance(error, OSError) else error)

    def _changed(self, slot: Mapping[int, SlotShare], rows: Mapping[int, ShareRow]) -> list[LoggedShare]:
        change = self._change
        check_enabler(slot, change.write_enabler)
        success = all(
            holds(slot.get(number), test) for number, share in change.vectors.items() for test in share.tests
        )
        result = ReadTestWriteResult(success, read_all(slot, change.read_vector))
        numbers = change.vectors if success else ()
        versions = [self._new_version(number, slot.get(number), rows.get(number)) for number in numbers]
        self._result = result
        return versions

    def _new_version(self, number: int, share: SlotShare | None, row: ShareRow | None) -> LoggedShare:
        parts, change = self._parts, self._change
        vectors = change.vectors[number]
        edit = plan_edit(share, vectors, parts.settings.maximum_mutable_share_size)
        extra = 0 if share is None else share.extra_length
        if edit.extra_offset + extra > CONTAINER_MAX:
            raise NotLoggedError
        if edit.grows and parts.settings.read_only:
            raise NoSpaceError("the server is full or read-only")
        image = new_image(share, edit, vectors.writes, parts.server_seed, change.write_enabler)
        if edit.growth and not parts.admission.reserve(edit.growth):
            raise NoSpaceError("the server is full or read-only")
        self._growth = edit.growth
        counted = edit.old_size if number in self._images else 0 if row is None else row.size
        self._stored = edit.new_size - counted
        return LoggedShare(
            change.index, number, change.lease, image, Kind.MUTABLE, unbacked=edit.growth, is_new=row is None
        )
