"""A storage server in memory that behaves, and ways to make it misbehave.

For tests of what a client does: no socket, no disk, no sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import ServerError
from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    LeaseSecrets,
    ReadTestWriteResult,
    ServerVersion,
    ShareVectors,
    StoreRequest,
    StreamedWrite,
    TestVector,
    WriteVector,
)
from holdfast.interfaces.storage_errors import (
    BadRangeError,
    BadRequestError,
    NoSuchShareError,
    ShareCompleteError,
    ShareConflictError,
    WrongSecretError,
)
from holdfast.interfaces.types import MAX_BUCKETS, Buffer, StorageIndex
from holdfast.testing.memory_faults import Faults
from holdfast.testing.memory_slots import MemorySlots


@dataclass(slots=True)
class _Upload:
    secret: bytes
    data: bytearray
    written: bytearray  # one byte for each byte of data


class MemoryStorage:
    """Implements ``interfaces.storage.StorageService`` in memory.

    Attributes:
        extensions: what it offers beyond the protocol: nothing, ``READ_SLOT`` or ``READ_SHARES``.
        slots: the mutable shares.
        on_contact: told of each answer (None) and each failure, as by a client over a network.
        connection_lost: pretends that the server ended a connection without a request.
        idle: pretended number of connections without a request.
    """

    def __init__(self, *, space: int = 1 << 40) -> None:
        self.space = space
        self.faults = Faults()
        self.extensions: frozenset[str] = frozenset()
        self.slots = MemorySlots(self.faults)
        self.on_contact: Callable[[ServerError | None], None] = _ignore
        self.connection_lost: Callable[[], None] = _ignore
        self.idle = 0
        self.retired = False
        self.closed = False
        self.shares: dict[tuple[bytes, int], bytes] = {}
        self.leases: dict[bytes, set[bytes]] = {}
        self.advice: list[tuple[int, str]] = []
        self.calls: list[str] = []
        self.bytes_read = 0
        self._uploads: dict[tuple[bytes, int], _Upload] = {}
        self._writes = 0

    async def features(self) -> frozenset[str]:
        await self._enter("features")
        return self.extensions

    @property
    def known_features(self) -> frozenset[str] | None:
        return self.extensions if "features" in self.calls else None

    async def hold_canary(self, index: StorageIndex, upload_secret: bytes) -> None:
        raise NoSuchShareError("no canaries here")

    async def store(
        self,
        index: StorageIndex,
        shares: Mapping[int, bytes],
        upload_secret: bytes,
        lease: LeaseSecrets,
        *,
        only_if_none: bool,
    ) -> Allocation:
        raise NoSuchShareError("small shares are not stored whole here")

    async def store_gathered(self, request: StoreRequest) -> Allocation:
        raise NoSuchShareError("small shares are not stored whole here")

    def when_connection_lost(self, callback: Callable[[], None]) -> None:
        self.connection_lost = callback

    def close_idle(self) -> None:
        self.idle = 0

    def retire(self) -> None:
        self.retired = True
        self.idle = 0

    def close(self) -> None:
        self.closed = True
        self.idle = 0

    @property
    def uploads(self) -> list[int]:
        """Return the numbers of the uploads in progress."""
        return sorted(number for _, number in self._uploads)

    async def version(self) -> ServerVersion:
        await self._enter("version")
        return ServerVersion(self.space, 1 << 30, self.space, "memory/1")

    async def allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        lease: LeaseSecrets,
    ) -> Allocation:
        await self._enter("allocate")
        if self.slots.numbers(index):
            raise ShareConflictError("the index holds mutable shares")
        if allocated_size < 1 or any(not 0 <= number < MAX_BUCKETS for number in share_numbers):
            raise BadRequestError("a share number or a size out of bounds")
        have = self._numbers(index)
        if have:
            self.leases.setdefault(index, set()).add(lease.renew)
        allocated = set()
        for number in sorted(share_numbers - have):
            upload = self._uploads.get((index, number))
            if upload is None and allocated_size <= self.space:
                self.space -= allocated_size
                upload = _Upload(upload_secret, bytearray(allocated_size), bytearray(allocated_size))
                self._uploads[index, number] = upload
            if upload is not None and upload.secret == upload_secret:
                allocated.add(number)
        self.leases.setdefault(index, set()).add(lease.renew)
        return Allocation(frozenset(have), frozenset(allocated))

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
        await self._enter("write")
        self._writes += 1
        if self.faults.fail_after_writes is not None and self._writes > self.faults.fail_after_writes:
            self.faults.dead = True
            raise self._failure("cannot be reached: died")
        upload = self._uploads.get((index, number))
        if upload is None:
            raise NoSuchShareError("no such upload")
        if upload.secret != upload_secret:
            raise WrongSecretError("wrong upload secret")
        pieces = data if isinstance(data, Sequence) else [bytes(piece) async for piece in data]
        content = b"".join(bytes(piece) for piece in pieces)
        if offset + length > len(upload.data) or total not in (None, len(upload.data)):
            raise BadRangeError("beyond the share")
        for i, value in enumerate(content) if any(upload.written[offset : offset + length]) else ():
            if upload.written[offset + i] and upload.data[offset + i] != value:
                raise ShareConflictError("other bytes were written before")
        upload.data[offset : offset + length] = content
        upload.written[offset : offset + length] = b"\1" * length
        missing = _gaps(upload.written)
        if not missing:
            self.shares[index, number] = bytes(upload.data)
            del self._uploads[index, number]
        return missing

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        await self._enter("abort")
        upload = self._uploads.get((index, number))
        if upload is None:
            complete = (index, number) in self.shares
            raise ShareCompleteError("complete") if complete else NoSuchShareError("no such upload")
        if upload.secret != upload_secret:
            raise WrongSecretError("wrong upload secret")
        del self._uploads[index, number]
        self.space += len(upload.data)

    async def list_immutable(self, index: StorageIndex) -> frozenset[int]:
        await self._enter("list_immutable")
        return frozenset() if self.faults.denied else frozenset(self._numbers(index))

    async def read_immutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        await self._enter("read_immutable")
        return self._read(index, number, offset, length)

    def _read(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        number = self.faults.swap.get(number, number)
        share = self.shares.get((index, number))
        if share is None:
            raise NoSuchShareError("no such share")
        share = share[: self.faults.cut.get(number, len(share))]
        data = bytearray(share[offset : offset + length])
        for flipped, at in self.faults.flip:
            if flipped == number and offset <= at < offset + len(data):
                data[at - offset] ^= 1
        self.bytes_read += len(data)
        return bytes(data)

    async def read_shares(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]]
    ) -> Mapping[int, Sequence[bytes]]:
        await self._enter("read_shares")
        there = () if self.faults.denied else sorted(self._numbers(index))
        return {number: [self._read(index, number, *span) for span in ranges] for number in there}

    async def read_immutable_into(
        self, index: StorageIndex, number: int, offset: int, out: memoryview
    ) -> int:
        data = await self.read_immutable(index, number, offset, len(out))
        out[: len(data)] = data
        return len(data)

    async def add_lease(self, index: StorageIndex, lease: LeaseSecrets) -> None:
        await self._enter("add_lease")
        if not self._numbers(index) and not self.slots.numbers(index):
            raise NoSuchShareError("no such index")
        self.leases.setdefault(index, set()).add(lease.renew)

    async def advise_corrupt_immutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._enter("advise_corrupt_immutable")
        if (index, number) not in self.shares:
            raise NoSuchShareError("no such share")
        self.advice.append((number, reason))

    async def read_test_write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        await self._enter("read_test_write")
        self._only_slots(index)
        result = self.slots.read_test_write(index, write_enabler, vectors, read_vector)
        if result.success and vectors:
            self._writes += 1
            self.leases.setdefault(index, set()).add(lease.renew)
        if self.faults.fail_after_writes is not None and self._writes > self.faults.fail_after_writes:
            self.faults.dead = True
            raise self._failure("cannot be reached: died after a write")
        if "read_test_write" in self.faults.lost_answers:
            raise self._failure("cannot be reached: died before the answer")
        for _ in range(self.faults.turns() - 1):
            await asyncio.sleep(0)
        return result

    async def write_share(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        number: int,
        tests: Sequence[TestVector],
        writes: Sequence[StreamedWrite],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        vectors = []
        for write in writes:
            data = b"".join([bytes(piece) async for piece in write.pieces()])
            assert len(data) == write.length
            vectors.append(WriteVector(write.offset, data))
        share = {number: ShareVectors(tests, vectors)}
        return await self.read_test_write(index, write_enabler, lease, share, read_vector)

    async def list_mutable(self, index: StorageIndex) -> frozenset[int]:
        await self._enter("list_mutable")
        return frozenset() if self.faults.denied else self.slots.numbers(index)

    async def read_mutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        await self._enter("read_mutable")
        data = self.slots.read(index, number, offset, length)
        self.bytes_read += len(data)
        return data

    async def read_slot(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None = None
    ) -> Mapping[int, Sequence[bytes]]:
        await self._enter("read_slot")
        if self.faults.denied:
            return {}
        there = self.slots.numbers(index)
        data = {
            number: [self.slots.read(index, number, offset, length) for offset, length in ranges]
            for number in sorted(there if numbers is None else there.intersection(numbers))
        }
        self.bytes_read += sum(len(part) for parts in data.values() for part in parts)
        return data

    async def advise_corrupt_mutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._enter("advise_corrupt_mutable")
        if number not in self.slots.numbers(index):
            raise NoSuchShareError("no such share")
        self.advice.append((number, reason))

    def _only_slots(self, index: StorageIndex) -> None:
        if self._numbers(index) or any(i == index for i, _ in self._uploads):
            raise ShareConflictError("the index holds immutable shares")

    def _numbers(self, index: StorageIndex) -> set[int]:
        return {number for i, number in self.shares if i == index}

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.faults.hung or call in self.faults.hung_calls:
            await asyncio.get_running_loop().create_future()
        if self.faults.dead or call in self.faults.failing_calls:
            raise self._failure("cannot be reached: dead")
        for _ in range(self.faults.turns()):
            await asyncio.sleep(0)
        self.on_contact(None)

    def _failure(self, reason: str) -> ServerError:
        error = ServerError(reason)
        self.on_contact(error)
        return error


def _ignore(_: object = None) -> None:
    """Do nothing."""


def _gaps(written: bytearray) -> list[ByteRange]:
    gaps = []
    start = written.find(0)
    while start >= 0:
        end = written.find(1, start)
        end = len(written) if end < 0 else end
        gaps.append(ByteRange(start, end))
        start = written.find(0, end)
    return gaps
