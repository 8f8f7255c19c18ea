"""The heavy arithmetic on whole segments: encrypt, code, hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.gf256 import decoding_rows, generator_row
from holdfast.crypto.gf256 import multiply as multiply_elements
from holdfast.crypto.hashing import TaggedHasher, tagged_hash, tagged_pair_hash
from holdfast.crypto.immutable_hashes import BLOCK_TAG, CRYPTTEXT_SEGMENT_TAG, CRYPTTEXT_TAG

INNER_TAG = b"Merkle tree internal node"


def implementation() -> str:
    """Return the name of the implementation in use."""
    return "python"


@lru_cache(maxsize=256)
def _table(coefficient: int) -> bytes:
    return bytes(multiply_elements(coefficient, value) for value in range(256))


def multiply(rows: bytes, sources: Sequence[Buffer], outputs: Sequence[bytearray | memoryview]) -> None:
    """Set each output p to the sum of rows[p*k+i] * sources[i]."""
    k = len(sources)
    raw = [bytes(source) for source in sources]
    size = len(raw[0])
    for p, out in enumerate(outputs):
        total = 0
        for i, source in enumerate(raw):
            total ^= int.from_bytes(source.translate(_table(rows[p * k + i])), "little")
        out[:] = total.to_bytes(size, "little")


def hash_many(tag: bytes, messages: Sequence[Buffer]) -> list[bytes]:
    """Return the tagged SHA-256d of each message."""
    return [tagged_hash(tag, message) for message in messages]


def hash_parents(level: Buffer) -> bytes:
    """Return the parents of 2m concatenated Merkle nodes."""
    data = bytes(level)
    return b"".join(
        tagged_pair_hash(INNER_TAG, data[i : i + 32], data[i + 32 : i + 64]) for i in range(0, len(data), 64)
    )


class SegmentEncoder:
    """Encrypts, codes and hashes the segments of one file, in order."""

    def __init__(self, key: bytes | None, shares_needed: int, shares_total: int) -> None:
        self._key = key
        self._k = shares_needed
        self._n = shares_total
        self._flat = TaggedHasher(CRYPTTEXT_TAG)
        self._rows = b"".join(generator_row(shares_needed, j) for j in range(shares_needed, shares_total))

    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: bytearray | memoryview
    ) -> tuple[bytes, bytes]:
        """Encode one segment; return its ciphertext's hash and the hashes of its n blocks."""
        k, n = self._k, self._n
        crypttext = bytes(plaintext) if self._key is None else CtrCipher(self._key, offset).update(plaintext)
        self._flat.update(crypttext)
        view = memoryview(out)
        view[: k * block_size] = crypttext.ljust(k * block_size, b"\0")
        blocks = [view[j * block_size : (j + 1) * block_size] for j in range(n)]
        if n > k:
            multiply(self._rows, blocks[:k], blocks[k:])
        return tagged_hash(CRYPTTEXT_SEGMENT_TAG, crypttext), b"".join(hash_many(BLOCK_TAG, blocks))

    def crypttext_hash(self) -> bytes:
        """Return the hash of all ciphertext so far."""
        copy = hashlib.sha256(self._flat._inner.copy().digest())
        return copy.digest()


class SegmentDecoder:
    """Rebuilds, hashes and decrypts segments of one file."""

    def __init__(self, key: bytes | None, shares_needed: int) -> None:
        self._key = key
        self._k = shares_needed

    def decode(
        self,
        blocks: Sequence[Buffer],
        numbers: Sequence[int],
        offset: int,
        size: int,
        out: bytearray | memoryview,
    ) -> tuple[bytes, bytes]:
        """Decode one segment into ``out``; return its ciphertext's hash and the hashes of the blocks given."""
        pieces: list[Buffer] = [bytearray(len(blocks[0])) for _ in range(self._k)]
        if sorted(numbers) == list(range(self._k)):
            for block, number in zip(blocks, numbers, strict=True):
                pieces[number] = block
        else:
            rows = b"".join(decoding_rows(self._k, numbers))
            multiply(rows, blocks, [p for p in pieces if isinstance(p, bytearray)])
        crypttext = b"".join(pieces)[:size]
        out[:] = crypttext if self._key is None else CtrCipher(self._key, offset).update(crypttext)
        return tagged_hash(CRYPTTEXT_SEGMENT_TAG, crypttext), b"".join(hash_many(BLOCK_TAG, blocks))
