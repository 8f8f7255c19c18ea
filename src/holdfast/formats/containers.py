"""The files that storage servers keep shares in: a header, the share data, and leases.

Holdfast keeps leases in its catalog, so it writes containers without any; those that a file brings along
from another server are carried on, and can be read here. Whatever the version of their container, they
come out with hashed secrets.

Source: docs/spec/storage-disk.md, sections 3, 4, 5 and 9.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from holdfast.crypto.hashing import tagged_hash
from holdfast.crypto.lease_secrets import SERVER_SEED_SIZE, stored_lease_secret
from holdfast.errors import IntegrityError

IMMUTABLE_HEADER_SIZE = 12  # bytes in front of the share data
MUTABLE_HEADER_SIZE = 468  # likewise; four lease slots included
HEADER_SIZE_MAX = MUTABLE_HEADER_SIZE
EXTRA_COUNT_SIZE = 4  # the number of extra leases of a mutable container, in front of them
WRITE_ENABLER_SIZE = 32

_IMMUTABLE_HEADER = struct.Struct(">3L")
_IMMUTABLE_LEASE = struct.Struct(">L32s32sL")
_MUTABLE_FIELDS = struct.Struct(">32s20s32s2Q")
_MUTABLE_SIZES = struct.Struct(">2Q")
_MUTABLE_SIZES_OFFSET = 84
_MUTABLE_LEASE = struct.Struct(">2L32s32s20s")
_SLOTS = 4  # of leases in front of the data of a mutable container
_LEASES_AT_ONCE = 1024
_NEW_VERSION = 2

_MAGIC_TAG = b"allmydata_mutable_container_header"
_MAGIC_TEXT = b"Tahoe mutable container v%d\n"
MUTABLE_MAGICS = {
    1: _MAGIC_TEXT % 1 + bytes.fromhex("750944038e"),
    2: _MAGIC_TEXT % 2 + tagged_hash(_MAGIC_TAG, _MAGIC_TEXT % 2, 5),
}
"""The 32 bytes a mutable container begins with, by version."""

_VERSIONS_BY_MAGIC = {magic: version for version, magic in MUTABLE_MAGICS.items()}


class DamagedContainerError(IntegrityError):
    """The file is no container that could be served. It is to be left as it is."""


class ForeignContainerError(DamagedContainerError):
    """The file is of no kind and version known here."""


@dataclass(frozen=True, slots=True)
class StoredLease:
    """A lease as a container holds it. ``expiry`` is in seconds since 1970; ``owner`` means nothing."""

    renew_hash: bytes = field(repr=False)
    cancel_hash: bytes = field(repr=False)
    owner: int
    expiry: int


@dataclass(frozen=True, slots=True)
class ImmutableContainer:
    """What the file of an immutable share says of itself. ``size``: bytes of share data."""

    version: int
    size: int
    lease_count: int

    @property
    def data_offset(self) -> int:
        return IMMUTABLE_HEADER_SIZE


@dataclass(frozen=True, slots=True)
class MutableContainer:
    """What the file of a mutable share says of itself. ``size``: bytes of share data."""

    version: int
    server_seed: bytes  # 20 bytes; of the server that made the file, information only
    write_enabler: bytes = field(repr=False)
    size: int
    extra_offset: int  # where the number of extra leases is, and behind it these leases

    @property
    def data_offset(self) -> int:
        return MUTABLE_HEADER_SIZE


Container = ImmutableContainer | MutableContainer


def new_immutable_header(size: int) -> bytes:
    """Return the header of a new container, without leases, for ``size`` bytes of share data."""
    return _IMMUTABLE_HEADER.pack(_NEW_VERSION, min(size, 2**32 - 1), 0)


def new_mutable_header(server_seed: bytes, write_enabler: bytes) -> bytes:
    """Return the header of a new, empty container. The number of extra leases, 0, is to follow.

    Raises:
        ValueError: the seed has not 20 bytes, or the write enabler not 32.
    """
    if len(server_seed) != SERVER_SEED_SIZE or len(write_enabler) != WRITE_ENABLER_SIZE:
        raise ValueError("a mutable container needs a seed of 20 bytes and a write enabler of 32")
    magic = MUTABLE_MAGICS[_NEW_VERSION]
    fields = _MUTABLE_FIELDS.pack(magic, server_seed, write_enabler, 0, MUTABLE_HEADER_SIZE)
    return fields.ljust(MUTABLE_HEADER_SIZE, b"\0")


def resized_mutable_header(header: bytes, size: int, extra_offset: int) -> bytes:
    """Return ``header`` with other sizes; its version, write enabler and leases stay.

    Raises:
        ValueError: the extra leases would lie within the share data.
    """
    if extra_offset < MUTABLE_HEADER_SIZE + size:
        raise ValueError("the extra leases of a container lie behind its data")
    end = _MUTABLE_SIZES_OFFSET + _MUTABLE_SIZES.size
    return header[:_MUTABLE_SIZES_OFFSET] + _MUTABLE_SIZES.pack(size, extra_offset) + header[end:]


def parse_container(start: bytes, file_size: int) -> Container:
    """Return what the file says of itself, once that fits its size.

    For a mutable container ``check_extra_leases`` has to follow.

    Args:
        start: the file's first ``HEADER_SIZE_MAX`` bytes, or all, if it has fewer.

    Raises:
        ForeignContainerError: neither an immutable nor a mutable container of a version known here.
        DamagedContainerError: cut short, or its sizes contradict each other.
    """
    if len(start) < 4:
        raise DamagedContainerError("the file is too short for any share")
    version = _VERSIONS_BY_MAGIC.get(start[:32])
    if version is not None:
        return _parse_mutable(version, start, file_size)
    version = int.from_bytes(start[:4], "big")
    if version not in (1, 2):
        raise ForeignContainerError("the file is no share of a kind and version known here")
    return _parse_immutable(version, start, file_size)


def check_extra_leases(container: MutableContainer, count: bytes, file_size: int) -> int:
    """Return the length of the block of extra leases, the number in front of them included.

    The file may go on behind it: that is accepted, though worth a report.

    Args:
        count: the ``EXTRA_COUNT_SIZE`` bytes at ``extra_offset``.

    Raises:
        DamagedContainerError: the block does not fit into the file.
    """
    length = EXTRA_COUNT_SIZE + _MUTABLE_LEASE.size * int.from_bytes(count, "big")
    if len(count) != EXTRA_COUNT_SIZE or container.extra_offset + length > file_size:
        raise DamagedContainerError("the file is too short for its number of leases")
    return length


def leases(container: Container, read: Callable[[int, int], bytes]) -> Iterator[StoredLease]:
    """Yield the leases in a container's file, in their order there, with a bounded number in memory.

    Args:
        read: returns the bytes of the file at (offset, length); fewer only at its end.

    Raises:
        DamagedContainerError: the file is too short for them.
    """
    if isinstance(container, ImmutableContainer):
        offset = IMMUTABLE_HEADER_SIZE + container.size
        for owner, renew, cancel, expiry in _records(_IMMUTABLE_LEASE, read, offset, container.lease_count):
            yield _lease(container.version, owner, expiry, renew, cancel)
        return
    count = int.from_bytes(read(container.extra_offset, EXTRA_COUNT_SIZE), "big")
    extra = container.extra_offset + EXTRA_COUNT_SIZE
    for offset, number in ((_MUTABLE_FIELDS.size, _SLOTS), (extra, count)):
        for owner, expiry, renew, cancel, _ in _records(_MUTABLE_LEASE, read, offset, number):
            if owner != 0:  # else the slot is empty
                yield _lease(container.version, owner, expiry, renew, cancel)


def _parse_immutable(version: int, start: bytes, file_size: int) -> ImmutableContainer:
    if len(start) < IMMUTABLE_HEADER_SIZE:
        raise DamagedContainerError("the file is too short for an immutable share")
    # The second field is a length that cannot hold large ones; nobody reads it.
    _, _, lease_count = _IMMUTABLE_HEADER.unpack_from(start)
    size = file_size - IMMUTABLE_HEADER_SIZE - _IMMUTABLE_LEASE.size * lease_count
    if size < 0:
        raise DamagedContainerError("the file is too short for its number of leases")
    return ImmutableContainer(version, size, lease_count)


def _parse_mutable(version: int, start: bytes, file_size: int) -> MutableContainer:
    if len(start) < MUTABLE_HEADER_SIZE:
        raise DamagedContainerError("the file is too short for a mutable share")
    _, server_seed, write_enabler, size, extra_offset = _MUTABLE_FIELDS.unpack_from(start)
    if not MUTABLE_HEADER_SIZE + size <= extra_offset <= file_size - EXTRA_COUNT_SIZE:
        raise DamagedContainerError("the file is too short for its data, or its leases lie within the data")
    return MutableContainer(version, server_seed, write_enabler, size, extra_offset)


def _records(
    record: struct.Struct, read: Callable[[int, int], bytes], offset: int, count: int
) -> Iterator[tuple[Any, ...]]:
    for first in range(0, count, _LEASES_AT_ONCE):
        size = record.size * min(_LEASES_AT_ONCE, count - first)
        data = read(offset + record.size * first, size)
        if len(data) != size:
            raise DamagedContainerError("the file is too short for its number of leases")
        yield from record.iter_unpack(data)


def _lease(version: int, owner: int, expiry: int, renew: bytes, cancel: bytes) -> StoredLease:
    if version == 1:
        renew, cancel = stored_lease_secret(renew), stored_lease_secret(cancel)
    return StoredLease(renew, cancel, owner, expiry)
