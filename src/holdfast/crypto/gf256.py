"""The field GF(2^8) with polynomial 0x11D, and the matrices of the erasure code over it.

Source: docs/spec/immutable.md, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

POLYNOMIAL = 0x11D


def _tables() -> tuple[list[int], list[int]]:
    exponential, logarithm = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponential[power] = exponential[power + 255] = value
        logarithm[value] = power
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return exponential, logarithm


EXP, LOG = _tables()


def multiply(a: int, b: int) -> int:
    """Return the product of two elements."""
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def inverse(a: int) -> int:
    """Return 1/a. Raises ZeroDivisionError for 0."""
    if a == 0:
        raise ZeroDivisionError("0 has no inverse")
    return EXP[255 - LOG[a]]


def point(number: int) -> int:
    """Return the evaluation point of a share number: 0, 1, 2, 4, 8, ..."""
    return 0 if number == 0 else EXP[number - 1]


@lru_cache(maxsize=4096)
def generator_row(shares_needed: int, number: int) -> bytes:
    """Return the k coefficients that make block ``number`` from the pieces."""
    x = [point(i) for i in range(shares_needed)]
    target = point(number)
    row = bytearray(shares_needed)
    for i in range(shares_needed):
        above, below = 1, 1
        for m in range(shares_needed):
            if m != i:
                above = multiply(above, target ^ x[m])
                below = multiply(below, x[i] ^ x[m])
        row[i] = multiply(above, inverse(below))
    return bytes(row)


def invert_matrix(rows: Sequence[bytes]) -> list[bytes]:
    """Return the inverse of a square matrix. Raises ZeroDivisionError if there is none."""
    size = len(rows)
    work = [bytearray(row) + bytearray(1 if i == j else 0 for j in range(size)) for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next((r for r in range(column, size) if work[r][column]), None)
        if pivot is None:
            raise ZeroDivisionError("the matrix has no inverse")
        work[column], work[pivot] = work[pivot], work[column]
        factor = inverse(work[column][column])
        work[column] = bytearray(multiply(factor, value) for value in work[column])
        for r in range(size):
            if r != column and (factor := work[r][column]):
                work[r] = bytearray(v ^ multiply(factor, w) for v, w in zip(work[r], work[column], strict=True))
    return [bytes(row[size:]) for row in work]


def decoding_rows(shares_needed: int, numbers: Sequence[int]) -> list[bytes]:
    """Return the k rows that give the pieces from the blocks with these k distinct numbers."""
    return invert_matrix([generator_row(shares_needed, number) for number in numbers])
