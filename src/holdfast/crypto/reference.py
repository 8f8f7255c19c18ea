"""What the kernel does to a segment, as the specification words it: the measure of every faster way.

Nothing here is shared with the kernel's arithmetic, nothing is fast, and only tests use it.

Source: docs/spec/immutable.md, sections 5 to 7; docs/spec/hashing.md, sections 3, 7 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.hashing import tagged_hash, tagged_pair_hash
from holdfast.crypto.immutable_hashes import block_hash, crypttext_hash, crypttext_segment_hash

Matrix = list[list[int]]

# The field (immutable.md, section 6.1)


@cache
def product(a: int, b: int) -> int:
    """Multiply two polynomials over GF(2), modulo x^8 + x^4 + x^3 + x^2 + 1."""
    total = 0
    for bit in range(8):
        if b >> bit & 1:
            total ^= a << bit
    for degree in range(14, 7, -1):
        if total >> degree & 1:
            total ^= 0x11D << (degree - 8)
    return total


def power(a: int, exponent: int) -> int:
    """Multiply ``exponent`` times by ``a``, beginning with 1."""
    result = 1
    for _ in range(exponent):
        result = product(result, a)
    return result


@cache
def quotient(a: int, b: int) -> int:
    """Divide: the group has 255 elements, so b to the 254 is the inverse of b."""
    if b == 0:
        raise ZeroDivisionError("division by zero in GF(256)")
    return product(a, power(b, 254))


# The code (sections 6.2 and 6.3)


@cache
def point(number: int) -> int:
    """Return the evaluation point x[j] of share j."""
    return 0 if number == 0 else power(2, number - 1)


def generator_row(shares_needed: int, number: int) -> list[int]:
    """Return E[j]: how much of each piece goes into block j."""
    x = [point(i) for i in range(shares_needed)]
    target = point(number)
    row = []
    for i in range(shares_needed):
        coefficient = 1
        for m in range(shares_needed):
            if m != i:
                coefficient = product(coefficient, quotient(target ^ x[m], x[i] ^ x[m]))
        row.append(coefficient)
    return row


def inverse(matrix: Matrix) -> Matrix:
    """Invert a square matrix (Gauss and Jordan). Raises ValueError if it is singular."""
    size = len(matrix)
    work = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next((i for i in range(column, size) if work[i][column]), None)
        if pivot is None:
            raise ValueError("the matrix is singular")
        work[column], work[pivot] = work[pivot], work[column]
        scale = work[column][column]
        work[column] = [quotient(value, scale) for value in work[column]]
        for i in range(size):
            factor = work[i][column]
            if i != column and factor:
                work[i] = [a ^ product(factor, b) for a, b in zip(work[i], work[column], strict=True)]
    return [row[size:] for row in work]


def combination(coefficients: Sequence[int], blocks: Sequence[Buffer]) -> bytes:
    """Return the sum of all blocks, each times its coefficient, byte by byte."""
    size = len(blocks[0])
    total = bytearray(size)
    for coefficient, block in zip(coefficients, blocks, strict=True):
        for b in range(size):
            total[b] ^= product(coefficient, block[b])
    return bytes(total)


def multiply(rows: bytes, sources: Sequence[Buffer], outputs: Sequence[bytearray | memoryview]) -> None:
    """As in ``kernel``."""
    k = len(sources)
    for p, output in enumerate(outputs):
        output[:] = combination(rows[p * k : (p + 1) * k], sources)


# The hashes (hashing.md, sections 3 and 7)


def hash_many(tag: bytes, messages: Sequence[Buffer]) -> list[bytes]:
    """As in ``kernel``."""
    return [tagged_hash(tag, message) for message in messages]


def hash_parents(level: Buffer) -> bytes:
    """As in ``kernel``."""
    nodes = [bytes(level[i : i + 32]) for i in range(0, len(level), 32)]
    return b"".join(
        tagged_pair_hash(b"Merkle tree internal node", left, right)
        for left, right in zip(nodes[::2], nodes[1::2], strict=True)
    )


# Segments (immutable.md, sections 4 to 7)


class SegmentEncoder:
    """As in ``kernel``."""

    def __init__(self, key: bytes | None, shares_needed: int, shares_total: int) -> None:
        self._key = key
        self._k = shares_needed
        self._n = shares_total
        self._crypttext = b""

    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: bytearray | memoryview
    ) -> tuple[bytes, bytes]:
        """As in ``kernel``."""
        crypttext = _crypt(self._key, offset, plaintext)
        padded = crypttext.ljust(self._k * block_size, b"\0")
        pieces = [padded[i * block_size : (i + 1) * block_size] for i in range(self._k)]
        blocks = [combination(generator_row(self._k, j), pieces) for j in range(self._n)]
        out[:] = b"".join(blocks)
        self._crypttext += crypttext
        return crypttext_segment_hash(crypttext), b"".join(block_hash(block) for block in blocks)

    def crypttext_hash(self) -> bytes:
        """As in ``kernel``."""
        return crypttext_hash(self._crypttext)


class SegmentDecoder:
    """As in ``kernel``."""

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
        """As in ``kernel``."""
        matrix = inverse([generator_row(self._k, number) for number in numbers])
        pieces = [combination(row, blocks) for row in matrix]
        crypttext = b"".join(pieces)[:size]
        out[:size] = _crypt(self._key, offset, crypttext)
        return crypttext_segment_hash(crypttext), b"".join(block_hash(block) for block in blocks)


def _crypt(key: bytes | None, offset: int, data: Buffer) -> bytes:
    return bytes(data) if key is None else CtrCipher(key, offset).update(data)
