"""Shared limits and value types: the widths and bounds that both sides of a wire enforce.

Source: docs/spec/seed-map.md, section A.
"""

from __future__ import annotations

from typing import NewType

Buffer = bytes | bytearray | memoryview

Hash = NewType("Hash", bytes)
"""Exactly 32 bytes."""
StorageIndex = NewType("StorageIndex", bytes)
"""Exactly 16 bytes; names the shares of one file."""
NodeId = NewType("NodeId", bytes)
"""Exactly 32 bytes: SHA-256 of a node's TLS public key info."""
NodeId20 = NewType("NodeId20", bytes)
"""The first 20 bytes of a NodeId."""

HASH_SIZE = 32
STORAGE_INDEX_SIZE = 16
MAX_NURL = 1000  # characters
MAX_CAP = 1000  # characters
NOMINAL_CAP = 300  # characters, a design target
MAX_BUCKETS = 256  # share numbers in one call
MAX_UEB = 1000  # bytes a writer may produce
MAX_UEB_READ = 1999  # bytes a reader takes
MAX_HASH_LIST = 2**20  # hashes in one call


def check_hash(value: object) -> Hash:
    """Return ``value`` as a Hash.

    Raises:
        TypeError: not ``bytes``.
        ValueError: not 32 bytes long.
    """
    return Hash(_exactly(value, HASH_SIZE, "a hash"))


def check_storage_index(value: object) -> StorageIndex:
    """Return ``value`` as a StorageIndex.

    Raises:
        TypeError: not ``bytes``.
        ValueError: not 16 bytes long.
    """
    return StorageIndex(_exactly(value, STORAGE_INDEX_SIZE, "a storage index"))


def _exactly(value: object, size: int, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{what} is bytes, not {type(value).__name__}")
    if len(value) != size:
        raise ValueError(f"{what} has {size} bytes, not {len(value)}")
    return value
