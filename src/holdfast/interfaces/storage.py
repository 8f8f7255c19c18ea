"""What a storage server promises: the calls of the storage protocol as values, and
the share-shaped view of them (bucket writers and readers) of the founding interfaces.

Two classes implement ``StorageService``: the engine inside the server process and
the HTTPS client of it. One suite tests both.

Source: docs/spec/storage-protocol.md; docs/spec/seed-map.md, sections D to F.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.formats.segmentation import Segmentation
from holdfast.interfaces.types import Buffer, Hash, StorageIndex


@dataclass(frozen=True, slots=True)
class LeaseSecrets:
    """The two secrets of a lease on one server, 32 bytes each."""

    renew: bytes = field(repr=False)
    cancel: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """What a server says of itself. Sizes in bytes."""

    maximum_immutable_share_size: int
    maximum_mutable_share_size: int
    available_space: int
    application_version: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """Answer to an allocation. A number in neither set was not accepted."""

    already_have: frozenset[int]
    allocated: frozenset[int]


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Small shares of one index that are to be stored whole, all of one length; the lease is for them all.

    ``only_if_none``: nothing is to be stored if the index has any complete share there.
    """

    index: StorageIndex
    shares: Mapping[int, bytes] = field(repr=False)
    lease: LeaseSecrets
    only_if_none: bool


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``[begin, end)``."""

    begin: int
    end: int


class BytesElsewhere(Protocol):
    """Bytes that are not in memory: a server finds them in the file where a large request waits."""

    def __len__(self) -> int: ...

    def __bytes__(self) -> bytes:
        """Read them all. Blocks."""
        ...


@dataclass(frozen=True, slots=True)
class TestVector:
    """Holds when the share's bytes ``[offset, offset + size)``, cut at its end, equal ``specimen``."""

    offset: int
    size: int
    specimen: bytes | BytesElsewhere


@dataclass(frozen=True, slots=True)
class WriteVector:
    offset: int
    data: Buffer | BytesElsewhere


@dataclass(frozen=True, slots=True)
class ShareVectors:
    """Tests and writes of one mutable share; ``new_length`` 0 deletes it, None leaves the length."""

    tests: Sequence[TestVector] = ()
    writes: Sequence[WriteVector] = ()
    new_length: int | None = None


@dataclass(frozen=True, slots=True)
class StreamedWrite:
    """A write whose data are made while they are sent, each time they are asked for."""

    offset: int
    length: int
    pieces: Callable[[], AsyncIterator[Buffer]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadTestWriteResult:
    """Whether all tests held, and what every share of the slot held before the write."""

    success: bool
    data: Mapping[int, Sequence[bytes]]


class StorageService(Protocol):
    """The calls of the storage protocol, one method each.

    Errors are those of ``holdfast.interfaces.storage_errors``; the HTTPS client adds
    ``holdfast.errors.ServerError`` for a server that is gone, hung or breaks the protocol.
    """

    async def version(self) -> ServerVersion: ...

    async def allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        lease: LeaseSecrets,
    ) -> Allocation: ...

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
        """Store ``length`` bytes at ``offset``; return what is missing, empty once the share is complete."""
        ...

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None: ...

    async def list_immutable(self, index: StorageIndex) -> frozenset[int]: ...

    async def read_immutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the share."""
        ...

    async def read_immutable_into(
        self, index: StorageIndex, number: int, offset: int, out: memoryview
    ) -> int:
        """Read ``len(out)`` bytes into ``out``; return how many, fewer only at the end of the share."""
        ...

    async def add_lease(self, index: StorageIndex, lease: LeaseSecrets) -> None: ...

    async def advise_corrupt_immutable(self, index: StorageIndex, number: int, reason: str) -> None: ...

    async def read_test_write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        """``read_vector`` holds (offset, size) pairs."""
        ...

    async def list_mutable(self, index: StorageIndex) -> frozenset[int]: ...

    async def read_mutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes: ...

    async def advise_corrupt_mutable(self, index: StorageIndex, number: int, reason: str) -> None: ...


class BucketWriter(Protocol):
    """Writes one share, part by part (RIBucketWriter; seed-map section D)."""

    async def put_block(self, segmentnum: int, data: Buffer) -> None: ...

    async def put_blocks(self, first_segment: int, blocks: Sequence[Buffer]) -> None:
        """Store the blocks of successive segments with as few requests as can be.

        They may be changed as soon as this returns.
        """
        ...

    async def put_plaintext_hashes(self, hashes: Sequence[Hash]) -> None: ...

    async def put_crypttext_hashes(self, hashes: Sequence[Hash]) -> None: ...

    async def put_block_hashes(self, blockhashes: Sequence[Hash]) -> None: ...

    async def put_share_hashes(self, sharehashes: Sequence[tuple[int, Hash]]) -> None: ...

    async def put_uri_extension(self, data: bytes) -> None: ...

    async def close(self) -> None: ...

    async def abort(self) -> None: ...


class BucketReader(Protocol):
    """Reads one share, part by part (RIBucketReader; seed-map, section E). Nothing is verified."""

    def set_segmentation(self, segmentation: Segmentation) -> None:
        """Tell the reader the sizes of the verified file, before any block is asked for."""
        ...

    async def get_block(self, blocknum: int) -> bytes: ...

    async def get_blocks(self, first_block: int, count: int, out: memoryview) -> None:
        """Read successive blocks into ``out``, which is exactly as long as they are."""
        ...

    async def get_plaintext_hashes(self) -> list[Hash]: ...

    async def get_crypttext_hashes(self, needed: set[int] | None = None) -> list[Hash]: ...

    async def get_block_hashes(self, needed: set[int] | None = None) -> list[Hash]: ...

    async def get_share_hashes(self) -> list[tuple[int, Hash]]: ...

    async def get_uri_extension(self) -> bytes: ...


class StorageServer(Protocol):
    """A server as a keeper of buckets (RIStorageServer; seed-map section F)."""

    async def allocate_buckets(
        self, storage_index: StorageIndex, sharenums: frozenset[int], plan: Segmentation, canary: bytes
    ) -> tuple[frozenset[int], dict[int, BucketWriter]]:
        """Ask the server to take the named shares.

        Args:
            plan: the sizes of the file; the founding call passed a share size and a block size.
            canary: secret of this upload, 1 to 64 bytes; whoever knows it may write and give up.

        Returns: the complete shares the server has, asked for or not, and a writer for each it now accepts.
        """
        ...

    async def get_buckets(self, storage_index: StorageIndex) -> dict[int, BucketReader]:
        """Return a reader for each share held; none for an unknown index."""
        ...
