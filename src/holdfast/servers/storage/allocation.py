"""Allocating immutable shares: which are there, which are accepted, and how much room is
promised.

Source: docs/spec/storage-protocol.md, section 8.1; docs/spec/storage-disk.md, section 3.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from holdfast.formats.containers import IMMUTABLE_HEADER_SIZE, new_immutable_header
from holdfast.interfaces.storage import Allocation, LeaseSecrets
from holdfast.interfaces.storage_errors import BadRequestError, ShareConflictError
from holdfast.interfaces.types import MAX_BUCKETS, StorageIndex
from holdfast.servers.storage.catalog import Changes, Kind, LeaseRow
from holdfast.servers.storage.disk import NO_ROOM
from holdfast.servers.storage.lease_terms import BY_ALLOCATION, granted_lease
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.share_files import DamagedShareError, look_at
from holdfast.servers.storage.upload_ends import UploadEnds
from holdfast.servers.storage.uploads import Upload

UPLOAD_SECRET_MAX = 64  # bytes
SHARE_SIZE_MAX = 2**63 - 1 - IMMUTABLE_HEADER_SIZE  # bytes; what a file can hold


@dataclass(slots=True)
class Accepted:
    """What the blocking part of an allocation found and made."""

    complete: set[int] = field(default_factory=set)
    made: list[Upload] = field(default_factory=list)
    adopted: Changes = field(default_factory=Changes)


MakeUpload = Callable[[int, int | None], Upload | None]
"""Makes the upload of a share number; told the size of a lost share it replaces. None: there is no room."""


class Allocations:
    """Accepts uploads."""

    def __init__(self, parts: StorageParts, ends: UploadEnds) -> None:
        self._parts = parts
        self._ends = ends

    async def allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        lease: LeaseSecrets,
    ) -> Allocation:
        """See ``StorageService``. Raises ShareConflictError where the index holds mutable shares."""
        check_request(share_numbers, allocated_size, upload_secret)
        granted = granted_lease(lease, BY_ALLOCATION, self._parts.clock())
        return await self._parts.steadfast.run(
            self._allocate(index, share_numbers, allocated_size, upload_secret, granted)
        )

    async def _allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        granted: LeaseRow,
    ) -> Allocation:
        async with self._parts.locks.hold(index):
            ongoing = self._parts.uploads.of(index)
            # What is about to be complete is looked up below.
            completing = [u.completing for u in ongoing.values() if u.completing is not None]
            if completing:
                await asyncio.wait(completing)
                ongoing = self._parts.uploads.of(index)
            wanted = sorted(share_numbers - ongoing.keys())
            make = partial(self.new_upload, index, allocated_size, upload_secret, granted)
            found = await self._parts.workers.run(self.find_and_make, index, wanted, make)
            changes = found.adopted
            if found.complete:
                changes.renew_all(index, granted)
            if changes.steps:
                try:
                    await self._parts.writer.commit(changes)
                except BaseException:
                    for upload in found.made:
                        await self._ends.give_up(upload)
                    raise
            for upload in found.made:
                self._parts.uploads.add(upload)
            resumed = {
                number
                for number, upload in ongoing.items()
                if number in share_numbers
                and not upload.gone
                and upload.size == allocated_size
                and hmac.compare_digest(upload.secret, upload_secret)
            }
        made = {upload.number for upload in found.made}
        return Allocation(frozenset(found.complete), frozenset(made | resumed))

    def find_and_make(
        self,
        index: StorageIndex,
        wanted: Sequence[int],
        make: MakeUpload,
        *,
        only_if_none: bool = False,
    ) -> Accepted:
        """Find the complete shares of ``index``, and make uploads of those missing while there is room.

        Args:
            only_if_none: make none if there is any complete share. Blocks.
        """
        parts = self._parts
        parts.redo.retry(index)
        rows = parts.catalog.shares_of(index)
        if any(row.kind is Kind.MUTABLE for row in rows.values()):
            raise ShareConflictError("the index holds mutable shares")
        accepted = Accepted()
        lost: dict[int, int] = {}
        taken: set[int] = set()
        for number in rows.keys() | wanted:
            try:
                found = look_at(parts.directory.share(index, number))
            except DamagedShareError:
                taken.add(number)
                continue
            if found is None:
                if number in rows:
                    lost[number] = rows[number].size
            elif found.kind is Kind.IMMUTABLE:
                accepted.complete.add(number)
                if number not in rows:
                    accepted.adopted.put_share(index, number, Kind.IMMUTABLE, found.size)
                    parts.admission.keep(0, backed=True, stored=found.size)
            else:
                taken.add(number)
        if only_if_none and accepted.complete:
            return accepted
        try:
            for number in wanted:
                if number not in accepted.complete and number not in taken:
                    upload = make(number, lost.get(number))
                    if upload is None:
                        break  # they all have one size
                    accepted.made.append(upload)
        except BaseException:
            for upload in accepted.made:
                self._ends.give_up_file(upload)
            raise
        return accepted

    def new_upload(
        self,
        index: StorageIndex,
        size: int,
        secret: bytes,
        lease: LeaseRow,
        number: int,
        replaces: int | None,
    ) -> Upload | None:
        """Reserve room and create the file; None if there is no room."""
        parts = self._parts
        if size > SHARE_SIZE_MAX or not parts.admission.reserve(size):
            return None
        name = parts.new_name()
        try:
            descriptor, backed = parts.disk.create(
                parts.directory.waiting(name), IMMUTABLE_HEADER_SIZE + size
            )
            try:
                parts.disk.write(descriptor, new_immutable_header(size), 0)
            finally:
                os.close(descriptor)
        except BaseException as error:
            parts.admission.release(size, backed=False)
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                return None
            raise
        if backed:
            parts.admission.backed(size)
        return Upload(index, number, size, secret, lease, name, backed, replaces, parts.clock())


def check_request(share_numbers: frozenset[int], allocated_size: int, upload_secret: bytes) -> None:
    if len(share_numbers) > MAX_BUCKETS or any(not 0 <= number <= 255 for number in share_numbers):
        raise BadRequestError("share numbers go from 0 to 255")
    if not 1 <= allocated_size < 2**64:
        raise BadRequestError("a share has at least one byte")
    if not 1 <= len(upload_secret) <= UPLOAD_SECRET_MAX:
        raise BadRequestError("an upload secret has 1 to 64 bytes")
