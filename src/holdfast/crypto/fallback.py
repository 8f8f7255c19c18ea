"""The kernel where the native one cannot be built: hashlib, the cryptography package, and products by
``bytes.translate`` and one XOR of long integers.

It has the interface of the extension ``_kernel``. Unlike that, it reads all of its input before it writes,
so that it neither sees nor minds buffers that overlap.

Source: docs/spec/immutable.md, sections 4 to 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.gf256 import SHARES_MAX, multiples
from holdfast.crypto.hashing import HASH_SIZE, tagged_hash, tagged_pair_hash
from holdfast.crypto.immutable_hashes import CRYPTTEXT_TAG, block_hash, crypttext_segment_hash
from holdfast.crypto.netstring import netstring

WritableBuffer = bytearray | memoryview
INTERIOR_NODE_TAG = b"Merkle tree internal node"


def multiply(rows: bytes, sources: Sequence[Buffer], outputs: Sequence[WritableBuffer]) -> None:
    """Fill each output with the sum of its row's coefficients times the sources."""
    inputs = [_readable(source) for source in sources]
    targets = [_writable(output) for output in outputs]
    if _output_count(rows, inputs) != len(targets):
        raise ValueError("rows has one coefficient per source and output")
    size = _common_size([*inputs, *targets])
    for target, made in zip(targets, _products(rows, inputs, size), strict=True):
        target[:] = made


def products(rows: bytes, sources: Sequence[Buffer]) -> list[bytes]:
    """As ``multiply``, into new objects."""
    inputs = [_readable(source) for source in sources]
    _output_count(rows, inputs)
    return list(_products(rows, inputs, _common_size(inputs)))


def hash_many(tag: bytes, messages: Sequence[Buffer]) -> list[bytes]:
    """Return the tagged hash of each message."""
    return [tagged_hash(tag, message) for message in messages]


def hash_parents(level: Buffer) -> bytes:
    """Return the Merkle parents of an even number of nodes, concatenated like them."""
    nodes = bytes(level)
    if len(nodes) % (2 * HASH_SIZE):
        raise ValueError("a level has an even number of nodes of 32 bytes")
    return b"".join(
        tagged_pair_hash(
            INTERIOR_NODE_TAG, nodes[i : i + HASH_SIZE], nodes[i + HASH_SIZE : i + 2 * HASH_SIZE]
        )
        for i in range(0, len(nodes), 2 * HASH_SIZE)
    )


class SegmentEncoder:
    """Encrypts, codes and hashes segments."""

    def __init__(self, key: bytes | None, shares_needed: int, shares_total: int, check_rows: bytes) -> None:
        self._key = key
        self._needed = shares_needed
        self._total = shares_total
        self._rows = check_rows
        self._flat = hashlib.sha256(netstring(CRYPTTEXT_TAG))

    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: WritableBuffer
    ) -> tuple[bytes, bytes]:
        source, target = _readable(plaintext), _writable(out)
        size, pieces_size = len(source), self._needed * block_size
        if block_size < 1 or size > pieces_size:
            raise ValueError("a segment fits into shares_needed blocks of at least one byte")
        if len(target) != self._total * block_size:
            raise ValueError("out has shares_total blocks")
        _check_offset(offset)
        target[:size] = source if self._key is None else CtrCipher(self._key, offset).update(source)
        target[size:pieces_size] = bytes(pieces_size - size)
        blocks = [target[i : i + block_size] for i in range(0, len(target), block_size)]
        multiply(self._rows, blocks[: self._needed], blocks[self._needed :])
        segment = target[:size]
        self._flat.update(segment)
        return crypttext_segment_hash(segment), b"".join(map(block_hash, blocks))

    def crypttext_hash(self) -> bytes:
        return hashlib.sha256(self._flat.digest()).digest()


class SegmentDecoder:
    """Rebuilds, hashes and decrypts segments."""

    def __init__(self, key: bytes | None, shares_needed: int) -> None:
        self._key = key
        self._needed = shares_needed

    def decode(
        self,
        blocks: Sequence[Buffer],
        numbers: Sequence[int],
        missing_rows: bytes,
        offset: int,
        size: int,
        out: WritableBuffer,
    ) -> tuple[bytes, bytes]:
        inputs, target = [_readable(block) for block in blocks], _writable(out)
        if not len(inputs) == len(numbers) == self._needed:
            raise ValueError("shares_needed blocks and their numbers are needed")
        block_size = _common_size(inputs)
        if not 0 <= size <= self._needed * block_size or len(target) < size:
            raise ValueError("size fits into the blocks and into out")
        _check_offset(offset)
        hashes = b"".join(map(block_hash, inputs))
        pieces: dict[int, memoryview | bytes] = dict(zip(numbers, inputs, strict=True))
        missing = [number for number in range(self._needed) if number not in pieces]
        pieces.update(zip(missing, _products(missing_rows, inputs, block_size), strict=True))
        joined = b"".join(pieces[number] for number in range(self._needed))[:size]
        segment_hash = crypttext_segment_hash(joined)
        target[:size] = joined if self._key is None else CtrCipher(self._key, offset).update(joined)
        return segment_hash, hashes


def _products(rows: bytes, inputs: Sequence[memoryview], size: int) -> Iterable[bytes]:
    count = len(inputs)
    copies = [bytes(source) for source in inputs]
    for start in range(0, len(rows), count):
        total = 0
        for coefficient, source in zip(rows[start : start + count], copies, strict=True):
            if coefficient:
                total ^= int.from_bytes(source.translate(multiples(coefficient)), "little")
        yield total.to_bytes(size, "little")


def _output_count(rows: bytes, inputs: Sequence[memoryview]) -> int:
    if not 1 <= len(inputs) <= SHARES_MAX:
        raise ValueError("there are 1 to 256 sources")
    count, left = divmod(len(rows), len(inputs))
    if left or count > SHARES_MAX:
        raise ValueError("rows has one coefficient per source and output, of at most 256 outputs")
    return count


def _readable(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("the buffer is not contiguous")
    return view.cast("B")


def _writable(data: WritableBuffer) -> memoryview:
    view = _readable(data)
    if view.readonly:
        raise BufferError("the buffer is read-only")
    return view


def _common_size(views: Sequence[memoryview]) -> int:
    sizes = {len(view) for view in views}
    if len(sizes) != 1:
        raise ValueError("all buffers have one size")
    return sizes.pop()


def _check_offset(offset: int) -> None:
    if not 0 <= offset < 1 << 63:
        raise ValueError("offset lies in 0 .. 2**63-1")
