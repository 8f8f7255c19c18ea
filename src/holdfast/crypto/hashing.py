"""SHA-256d and the tagged hashes that every other hash is made of.

Source: docs/spec/hashing.md, sections 3 and 6.
"""

from __future__ import annotations

import hashlib

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.netstring import netstring

HASH_SIZE = 32  # bytes


def sha256d(data: Buffer) -> bytes:
    """Return SHA-256 of SHA-256 of ``data``."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def tagged_hash(tag: bytes, value: Buffer, size: int = HASH_SIZE) -> bytes:
    """Return the first ``size`` bytes of SHA256d(netstring(tag) || value)."""
    hasher = hashlib.sha256(netstring(tag))
    hasher.update(value)
    return hashlib.sha256(hasher.digest()).digest()[:size]


def tagged_pair_hash(tag: bytes, a: bytes, b: bytes, size: int = HASH_SIZE) -> bytes:
    """Return the first ``size`` bytes of SHA256d(netstring(tag) || netstring(a) || netstring(b))."""
    return sha256d(netstring(tag) + netstring(a) + netstring(b))[:size]


class TaggedHasher:
    """A tagged hash fed in pieces; how the input is cut makes no difference."""

    def __init__(self, tag: bytes, size: int = HASH_SIZE) -> None:
        self._inner = hashlib.sha256(netstring(tag))
        self._size = size
        self._digest: bytes | None = None

    def update(self, data: Buffer) -> None:
        """Feed ``data``. Raises RuntimeError after the first ``digest``."""
        if self._digest is not None:
            raise RuntimeError("the hash is finished")
        self._inner.update(data)

    def digest(self) -> bytes:
        """Return the hash; the same at every call."""
        if self._digest is None:
            self._digest = hashlib.sha256(self._inner.digest()).digest()[: self._size]
        return self._digest
