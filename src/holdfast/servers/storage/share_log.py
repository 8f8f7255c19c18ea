"""A file in which small shares are on stable storage before they are in files of their own: one
write and one synchronisation for as many shares as come at once.

It begins with its generation. The checksum of each record covers that of the record before, the checksum of
the first one the generation: so reading ends where a crash ended writing, and nothing counts that an earlier
generation, or an attempt that failed, left behind. To begin a generation is to empty the log; its blocks are
used again, which makes synchronising cheap.

Source: docs/spec/storage-disk.md, section 8.1.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind, LeaseRow
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.share_files import read_fully

MAGIC = b"holdfast small shares 1\n"
GROWTH = 256 * 1024  # bytes by which a log becomes longer
APART_MIN = 128 * 1024  # bytes that are not copied to be written at once
BLOCK = 4096  # bytes; the head has a block of its own, so that it changes as a whole

_KINDS = frozenset(map(int, Kind))
_HEAD = struct.Struct(">24sQL")  # magic, generation, checksum of both
_RECORD = struct.Struct(">L16sBBL32s32sLQ")  # checksum; index, kind, number, size; the lease


@dataclass(slots=True)
class LoggedShare:
    """A share with the lease it came with.

    Attributes:
        data: the share data of an immutable share; of a mutable one, its whole container.
        kind: immutable or mutable.
        earlier: leases of versions that this one replaces, which the catalog does not know yet.
        unbacked: bytes of the file system that are promised to it.
        is_new: the catalog has no share in its place.
    """

    index: StorageIndex
    number: int
    lease: LeaseRow = field(repr=False)
    data: bytes = field(repr=False)
    kind: Kind = Kind.IMMUTABLE
    earlier: tuple[LeaseRow, ...] = field(default=(), repr=False, compare=False)
    unbacked: int = field(default=0, compare=False)
    is_new: bool = field(default=True, compare=False)


def log_paths(directory: StorageDirectory) -> tuple[str, str]:
    """Return where the two logs of a storage directory are, if they are."""
    return f"{directory.private}/small-shares-1.log", f"{directory.private}/small-shares-2.log"


class ShareLog:
    """One log. All methods block; they raise OSError."""

    def __init__(self, path: str, disk: Disk) -> None:
        """Nothing is touched until it is written to, or read."""
        self.path = path
        self._disk = disk
        self.after = 0  # generation of the log that was written to before, to be exceeded by the first record
        self._descriptor: int | None = None
        self._generation = 0
        self._end = BLOCK
        self._last = 0  # checksum of the last record
        self._length = 0  # of the file

    @property
    def empty(self) -> bool:
        """True if it holds nothing that ``append`` put there."""
        return self._end == BLOCK

    @property
    def generation(self) -> int:
        """Of two logs, that with the higher one has the later records."""
        return self._generation

    @property
    def size(self) -> int:
        """Bytes of records."""
        return self._end - BLOCK

    def append(self, shares: Sequence[LoggedShare]) -> None:
        """Return once all shares are on stable storage. If that fails, none of them counts."""
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        if self.empty and self._generation <= self.after:
            self._write_head(self._descriptor, self.after + 1)
        pieces: list[bytes] = []
        last = self._last
        for share in shares:
            last, head = _record(last, share)
            pieces += (head, share.data)
        size = sum(map(len, pieces))
        if self._end + size > self._length:
            self._lengthen(self._descriptor, size)
        end = self._end
        for piece in pieces if size >= APART_MIN else [b"".join(pieces)]:
            self._disk.write(self._descriptor, piece, end)
            end += len(piece)
        self._disk.sync_data(self._descriptor)
        self._end, self._last = end, last

    def empty_out(self) -> None:
        """Forget all that is in it, on stable storage too."""
        if self._descriptor is not None:
            self._write_head(self._descriptor, self._generation + 1)

    def remove(self) -> None:
        """Close and delete it; what is in it counts no more."""
        self.close()
        self._disk.remove(self.path)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> list[LoggedShare]:
        """Return what a process that ended left in it, and know its generation."""
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._generation = _generation(descriptor)
                return list(_records(descriptor))
            finally:
                os.close(descriptor)
        return []

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._write_head(descriptor, _generation(descriptor) + 1)
            self._disk.sync_directory(os.path.dirname(self.path))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._length = descriptor, BLOCK

    def _lengthen(self, descriptor: int, more: int) -> None:
        """Give the file blocks that are written to already: synchronising new ones takes twice as long."""
        length = self._end + max(more, GROWTH)
        self._disk.write(descriptor, bytes(length - self._length), self._length)
        self._length = length

    def _write_head(self, descriptor: int, generation: int) -> None:
        checksum = _head_checksum(generation)
        self._disk.write(descriptor, _HEAD.pack(MAGIC, generation, checksum), 0)
        self._disk.sync_data(descriptor)
        self._generation, self._end, self._last = generation, BLOCK, checksum


def _head_checksum(generation: int) -> int:
    return zlib.crc32(_HEAD.pack(MAGIC, generation, 0))


def _record(last: int, share: LoggedShare) -> tuple[int, bytes]:
    """Return checksum and head of a record. ``last``: the checksum of the one before, or of the log."""
    lease = share.lease
    fields = (
        share.index,
        share.kind,
        share.number,
        len(share.data),
        lease.renew_hash,
        lease.cancel_hash,
        lease.owner,
        lease.expiry,
    )
    checksum = zlib.crc32(share.data, zlib.crc32(_RECORD.pack(last, *fields)))
    return checksum, _RECORD.pack(checksum, *fields)


def _generation(descriptor: int) -> int:
    """Return the generation of a log; 0 if it has no head yet."""
    head = os.pread(descriptor, _HEAD.size, 0)
    if len(head) == _HEAD.size:
        magic, generation, checksum = _HEAD.unpack(head)
        if magic == MAGIC and checksum == _head_checksum(generation):
            return int(generation)
    return 0


def _records(descriptor: int) -> Iterator[LoggedShare]:
    generation, size = _generation(descriptor), os.fstat(descriptor).st_size
    last, position = _head_checksum(generation), BLOCK
    while generation and position + _RECORD.size <= size:
        head = read_fully(descriptor, position, _RECORD.size)
        _, index, kind, number, length, renew, cancel, owner, expiry = _RECORD.unpack(head)
        position += _RECORD.size
        if position + length > size or kind not in _KINDS:
            return
        share = LoggedShare(
            StorageIndex(index),
            number,
            LeaseRow(renew, cancel, owner, expiry),
            read_fully(descriptor, position, length),
            Kind(kind),
        )
        last, expected = _record(last, share)
        if expected != head:
            return
        position += length
        yield share
