"""Writing immutable shares, and turning an upload whose last byte has come into a share.

Source: docs/spec/storage-protocol.md, sections 8.2 and 14.1; docs/spec/storage-disk.md, section 8.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from holdfast.errors import CorruptShareError
from holdfast.formats.containers import IMMUTABLE_HEADER_SIZE
from holdfast.formats.layout_check import check_layout
from holdfast.interfaces.storage import ByteRange
from holdfast.interfaces.storage_errors import (
    BadRangeError,
    BadRequestError,
    NoSpaceError,
    NoSuchShareError,
    ShareConflictError,
)
from holdfast.interfaces.types import Buffer, StorageIndex
from holdfast.servers.storage.catalog import Changes, Kind
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.disk import refusal_of
from holdfast.servers.storage.disk_pace import DiskPace
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.redo import CONTENT_MAX
from holdfast.servers.storage.upload_ends import UploadEnds
from holdfast.servers.storage.uploads import Claim, Upload

AT_ONCE_S = 0.002  # such a piece that goes into the system's memory is there sooner than in a thread


class NonsenseError(Exception):
    """The finished share contradicts itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to be written at ``offset`` of the share."""

    offset: int
    data: bytes = field(repr=False)


class ImmutableWrites:
    """Takes in the bytes of uploads, up to the last one."""

    def __init__(self, parts: StorageParts, ends: UploadEnds) -> None:
        self._parts = parts
        self._ends = ends
        self._pace = DiskPace(parts.workers, AT_ONCE_S)

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
                    await self._pace.run(self._write_new, upload, descriptor, position, piece)
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
            self._parts.disk.write_behind(descriptor, piece, IMMUTABLE_HEADER_SIZE + gap.begin)

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
            await self._ends.give_up(upload)
            raise ShareConflictError(f"the share is nonsense: {error}") from None
        except (ShareConflictError, NoSpaceError, NoSuchShareError):
            raise
        except OSError as error:
            refusal = refusal_of(error)
            if not isinstance(refusal, NoSpaceError):
                # After a failed synchronisation nobody knows what the file holds.
                await self._ends.give_up(upload)
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
