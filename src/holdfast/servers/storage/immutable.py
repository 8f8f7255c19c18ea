"""Taking in immutable shares: allocation, writing, completion, giving up.

Source: docs/spec/storage-protocol.md, sections 8.1 to 8.3 and 13; docs/spec/storage-disk.md, section 8.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from holdfast.errors import CorruptShareError
from holdfast.formats.containers import IMMUTABLE_HEADER_SIZE, new_immutable_header
from holdfast.formats.layout_check import check_layout
from holdfast.interfaces.storage import Allocation, ByteRange, LeaseSecrets
from holdfast.interfaces.storage_errors import (
    BadRangeError,
    BadRequestError,
    NoSpaceError,
    NoSuchShareError,
    ShareCompleteError,
    ShareConflictError,
)
from holdfast.interfaces.types import MAX_BUCKETS, Buffer, StorageIndex
from holdfast.servers.storage.catalog import Changes, Kind, LeaseRow
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.disk import NO_ROOM, refusal_of
from holdfast.servers.storage.lease_terms import BY_ALLOCATION, granted_lease
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.redo import CONTENT_MAX
from holdfast.servers.storage.share_files import DamagedShareError, look_at
from holdfast.servers.storage.uploads import Claim, Upload

log = logging.getLogger(__name__)

UPLOAD_SECRET_MAX = 64  # bytes
MAX_SHARE_SIZE = 2**63 - 1 - 4096  # bytes; what a file can hold


class NonsenseError(Exception):
    """The finished share contradicts itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to be written at ``offset`` of the share."""

    offset: int
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Accepted:
    """What the blocking part of an allocation found and made."""

    complete: set[int] = field(default_factory=set)
    made: list[Upload] = field(default_factory=list)
    adopted: Changes = field(default_factory=Changes)


MakeUpload = Callable[[int, int | None], Upload | None]
"""Makes the upload of a share number; told the size of a lost share it replaces. None: there is no room."""


class ImmutableIntake:
    """Uploads of immutable shares, from allocation to their place."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts

    async def close(self) -> None:
        """Give up all uploads. No request may be running."""
        for upload in self._parts.uploads:
            await self.give_up(upload)

    # -- allocation

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
                        await self.give_up(upload)
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
                self.give_up_file(upload)
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
        if not parts.admission.reserve(size):
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

    # -- writing

    async def write(
        self,
        index: StorageIndex,
        number: int,
        upload_secret: bytes,
        offset: int,
        data: Sequence[Buffer] | AsyncIterator[memoryview],
        length: int,
        total: int | None = None,
    ) -> Sequence[ByteRange]:
        """See ``StorageService``. A request that fails in any way has no effect."""
        upload = self._parts.uploads.find(index, number)
        upload.check_secret(upload_secret)
        if total is not None and total != upload.size:
            raise BadRangeError("the total is not the allocated size")
        if length < 1 or offset < 0 or offset + length > upload.size:
            raise BadRangeError("the range reaches beyond the allocated size")
        await self._parts.redo.make_room()
        end = offset + length
        claim = await upload.claim(offset, end)
        try:
            part = None
            if length <= CONTENT_MAX:
                part = Part(offset, await _collected(data, length))
            else:
                await self._stream(upload, claim, data)
            claim.check()
            upload.check_open()
            if upload.is_completed_by(offset, end):
                await self._complete(upload, part)
                return []
            if part is not None:
                await self._store_part(upload, claim, part)
                upload.check_open()
            upload.written.add(offset, end)
            upload.touched = self._parts.clock()
            return upload.written.missing(0, upload.size)
        finally:
            upload.release(claim)

    async def _store_part(self, upload: Upload, claim: Claim, part: Part) -> None:
        claim.busy = True
        try:
            await self._parts.workers.run(self._write_part, upload, part)
        except OSError as error:
            raise refusal_of(error) from error
        finally:
            claim.busy = False

    def _write_part(self, upload: Upload, part: Part) -> None:
        descriptor = self._open(upload)
        try:
            self._write_new(upload, descriptor, part.offset, part.data)
        finally:
            os.close(descriptor)

    async def _stream(
        self, upload: Upload, claim: Claim, data: Sequence[Buffer] | AsyncIterator[memoryview]
    ) -> None:
        """Write a body to the file as it comes. It counts for nothing yet."""
        descriptor = self._open(upload)
        loop = asyncio.get_running_loop()
        position = claim.begin
        try:
            async for piece in _pieces(data):
                claim.check()
                upload.check_open()
                if position + len(piece) > claim.end:
                    raise BadRequestError("the body is longer than the range")
                claim.busy = True
                try:
                    await self._parts.workers.run(self._write_new, upload, descriptor, position, piece)
                except OSError as error:
                    raise refusal_of(error) from error
                finally:
                    claim.busy = False
                    claim.progress = loop.time()
                position += len(piece)
        finally:
            os.close(descriptor)
        if position != claim.end:
            raise BadRequestError("the body is shorter than the range")

    def _open(self, upload: Upload) -> int:
        try:
            return os.open(self._parts.directory.waiting(upload.name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # given up, or completed, a moment ago
            raise NoSuchShareError("the upload has ended") from None

    def _write_new(self, upload: Upload, descriptor: int, offset: int, data: Buffer) -> None:
        """Write what is new of ``data``; what is not must be the same.

        Nobody else writes to this range: the caller has a claim on it.
        """
        view = memoryview(data)
        end = offset + len(view)
        for known in upload.written.inside(offset, end):
            stored = os.pread(descriptor, known.end - known.begin, IMMUTABLE_HEADER_SIZE + known.begin)
            if stored != view[known.begin - offset : known.end - offset]:
                raise ShareConflictError("other bytes were written there before")
        for gap in upload.written.missing(offset, end):
            piece = view[gap.begin - offset : gap.end - offset]
            self._parts.disk.write(descriptor, piece, IMMUTABLE_HEADER_SIZE + gap.begin)

    # -- completion

    async def _complete(self, upload: Upload, part: Part | None) -> None:
        """Write the last part, and turn the upload into a share. Goes on even if the request is cancelled."""
        upload.completing = asyncio.get_running_loop().create_future()
        await self._parts.steadfast.run(self._finish(upload, part))

    async def _finish(self, upload: Upload, part: Part | None) -> None:
        parts = self._parts
        try:
            content = await parts.workers.run(self.prepare, upload, part)
            changes = Changes()
            changes.put_share(
                upload.index, upload.number, Kind.IMMUTABLE, upload.size, replaces=upload.replaces
            )
            changes.put_lease(upload.index, upload.number, upload.lease)
            parts.redo.promise(changes, Kind.IMMUTABLE, [(upload.index, upload.number, upload.name, content)])
            await parts.writer.commit(changes)
        except NonsenseError as error:
            await self.give_up(upload)
            raise ShareConflictError(f"the share is nonsense: {error}") from None
        except (ShareConflictError, NoSpaceError, NoSuchShareError):
            raise
        except OSError as error:
            refusal = refusal_of(error)
            if not isinstance(refusal, NoSpaceError):
                # After a failed synchronisation nobody knows what the file holds.
                await self.give_up(upload)
            raise refusal from error
        except UnfinishedMoveError:
            self._kept(upload)
            raise
        else:
            self._kept(upload)
        finally:
            completing, upload.completing = upload.completing, None
            assert completing is not None
            completing.set_result(None)

    def _kept(self, upload: Upload) -> None:
        self._parts.uploads.remove(upload)
        more = upload.size - (upload.replaces or 0)
        self._parts.admission.keep(upload.size, backed=upload.backed, stored=more)

    def prepare(self, upload: Upload, part: Part | None) -> bytes | None:
        """Write the last part, look at the whole, and make it ready to be moved.

        Returns:
            The bytes of a small file, which then need not be synchronised; None for a large one, which is.
        """
        parts = self._parts
        descriptor = self._open(upload)
        try:
            if part is not None:
                self._write_new(upload, descriptor, part.offset, part.data)
            self.verify(
                lambda at, count: os.pread(descriptor, count, IMMUTABLE_HEADER_SIZE + at), upload.size
            )
            parts.disk.make_directory(parts.directory.index_directory(upload.index))
            size = IMMUTABLE_HEADER_SIZE + upload.size
            if not parts.disk.synchronise:
                return None
            if size <= CONTENT_MAX:
                return os.pread(descriptor, size, 0)
            parts.disk.sync_file(descriptor)
            parts.disk.sync_directory(parts.directory.incoming)
        finally:
            os.close(descriptor)
        return None

    def verify(self, read: Callable[[int, int], bytes], size: int) -> None:
        """Look at a finished share of ``size`` bytes, as far as the settings ask for that.

        Raises:
            NonsenseError: it contradicts itself.
        """
        mode = self._parts.settings.verify_on_close
        if mode == "off":
            return
        try:
            check_layout(
                lambda offset, length: read(offset, max(0, min(length, size - offset))),
                size,
                deep=mode == "deep",
            )
        except CorruptShareError as error:
            raise NonsenseError(str(error)) from error

    # -- giving up

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        """See ``StorageService``. Raises ShareCompleteError, NoSuchShareError or WrongSecretError."""
        async with self._parts.locks.hold(index):
            try:
                upload = self._parts.uploads.find(index, number)
                upload.check_secret(upload_secret)
                await upload.settled()
            except NoSuchShareError:
                rows = await self._parts.workers.run(self._parts.catalog.shares_of, index)
                if number in rows and rows[number].kind is Kind.IMMUTABLE:
                    raise ShareCompleteError("the share is complete") from None
                raise
            await self.give_up(upload)

    async def give_up(self, upload: Upload) -> None:
        """End an upload that is not being completed, and free its room."""
        if upload.gone:
            return
        self._parts.uploads.remove(upload)
        await self._parts.workers.run(self.give_up_file, upload)

    def give_up_file(self, upload: Upload) -> None:
        upload.gone = True
        self._parts.disk.remove(self._parts.directory.waiting(upload.name))
        self._parts.admission.release(upload.size, backed=upload.backed)

    async def give_up_idle(self) -> None:
        """End every upload that has seen no write for too long."""
        oldest = self._parts.clock() - self._parts.settings.upload_idle_s
        for upload in self._parts.uploads:
            if upload.touched <= oldest and upload.completing is None and not upload.claims:
                log.info("an upload was idle for too long, and is dropped: %d bytes", upload.size)
                await self.give_up(upload)


def check_request(share_numbers: frozenset[int], allocated_size: int, upload_secret: bytes) -> None:
    if len(share_numbers) > MAX_BUCKETS or any(not 0 <= number <= 255 for number in share_numbers):
        raise BadRequestError("share numbers go from 0 to 255")
    if not 1 <= allocated_size < 2**64:
        raise BadRequestError("a share has at least one byte")
    if not 1 <= len(upload_secret) <= UPLOAD_SECRET_MAX:
        raise BadRequestError("an upload secret has 1 to 64 bytes")


async def _pieces(data: Sequence[Buffer] | AsyncIterator[memoryview]) -> AsyncIterator[Buffer]:
    if isinstance(data, Sequence):
        for piece in data:
            yield piece
    else:
        async for piece in data:
            yield piece


async def _collected(data: Sequence[Buffer] | AsyncIterator[memoryview], length: int) -> bytes:
    """Return a small body of exactly ``length`` bytes."""
    body = bytearray()
    async for piece in _pieces(data):
        body += piece
        if len(body) > length:
            raise BadRequestError("the body is longer than the range")
    if len(body) != length:
        raise BadRequestError("the body is shorter than the range")
    return bytes(body)
