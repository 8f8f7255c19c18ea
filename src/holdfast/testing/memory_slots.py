"""The mutable shares of a storage server in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors
from holdfast.interfaces.storage_errors import BadRequestError, NoSuchShareError, WrongSecretError
from holdfast.interfaces.types import MAX_BUCKETS
from holdfast.testing.memory_faults import Faults


class MemorySlots:
    """Slots by storage index.

    Attributes:
        shares: by index and number.
    """

    def __init__(self, faults: Faults) -> None:
        self.shares: dict[tuple[bytes, int], bytes] = {}
        self._enablers: dict[bytes, bytes] = {}
        self._faults = faults

    def numbers(self, index: bytes) -> frozenset[int]:
        """Return the numbers of the shares of a slot, as the server tells them."""
        return frozenset(number for i, number in self._told() if i == index)

    def read(self, index: bytes, number: int, offset: int, length: int) -> bytes:
        """Return what the server says is there. Raises NoSuchShareError."""
        shares = self._told()
        number = self._faults.swap.get(number, number)
        if (index, number) not in shares:
            raise NoSuchShareError("no such share")
        share = shares[index, number]
        share = share[: self._faults.cut.get(number, len(share))]
        data = bytearray(share[offset : offset + length])
        for flipped, at in self._faults.flip:
            if flipped == number and offset <= at < offset + len(data):
                data[at - offset] ^= 1
        return bytes(data)

    def read_test_write(
        self,
        index: bytes,
        write_enabler: bytes,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        """See ``StorageService``."""
        if len(write_enabler) != 32 or any(not 0 <= number < MAX_BUCKETS for number in vectors):
            raise BadRequestError("a write enabler has 32 bytes, share numbers go from 0 to 255")
        if self._enablers.get(index, write_enabler) != write_enabler:
            raise WrongSecretError("the slot has another write enabler")
        success = all(
            self._held(index, number)[test.offset : test.offset + test.size] == test.specimen
            for number, share in vectors.items()
            for test in share.tests
        )
        data = {
            number: [self.read(index, number, offset, size) for offset, size in read_vector]
            for number in sorted(self.numbers(index))
        }
        if self._faults.drops_writes:
            return ReadTestWriteResult(True, data)
        if success:
            for number, share in sorted(vectors.items()):
                self._write(index, number, write_enabler, share)
        return ReadTestWriteResult(success, data)

    def _write(self, index: bytes, number: int, write_enabler: bytes, vectors: ShareVectors) -> None:
        if vectors.new_length == 0:
            self.shares.pop((index, number), None)
            if not any(i == index for i, _ in self.shares):
                self._enablers.pop(index, None)
            return
        share = bytearray(self._held(index, number))
        for write in vectors.writes:
            share += bytes(max(0, write.offset - len(share)))
            share[write.offset : write.offset + len(write.data)] = bytes(write.data)
        self.shares[index, number] = bytes(share[: vectors.new_length])
        self._enablers[index] = write_enabler

    def _held(self, index: bytes, number: int) -> bytes:
        return self.shares.get((index, number), b"")

    def _told(self) -> Mapping[tuple[bytes, int], bytes]:
        return self.shares if self._faults.replay is None else self._faults.replay
