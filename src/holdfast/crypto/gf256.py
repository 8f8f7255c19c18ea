"""Arithmetic in GF(2^8), and the coefficients of the erasure code.

A segment's pieces are the values of one polynomial per byte position at the evaluation points of shares
0 .. k-1, and its blocks are the values at further points. Encoding and decoding both ask for values at some
points, given k others, so one formula of interpolation (Lagrange's) serves both, and no matrix is inverted.

Source: docs/spec/immutable.md, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

POLYNOMIAL = 0x11D
SHARES_MAX = 256  # as many as there are evaluation points


def _powers_of_two() -> bytes:
    powers = bytearray([1])
    while len(powers) < 255:
        doubled = powers[-1] << 1
        powers.append(doubled ^ POLYNOMIAL if doubled > 255 else doubled)
    return bytes(powers)


POWERS = _powers_of_two()
"""POWERS[e] is 2 to the e, for e in 0 .. 254; then the powers repeat."""
LOGARITHMS = bytes([0, *(POWERS.index(value) for value in range(1, 256))])
"""LOGARITHMS[v] is the exponent that gives v; zero has none, and entry 0 means nothing."""
POINTS = bytes([0]) + POWERS
"""POINTS[j] is the evaluation point of share j."""


def product(a: int, b: int) -> int:
    """Return a times b."""
    return POWERS[(LOGARITHMS[a] + LOGARITHMS[b]) % 255] if a and b else 0


def quotient(a: int, b: int) -> int:
    """Return a divided by b. Raises ZeroDivisionError for b = 0."""
    if b == 0:
        raise ZeroDivisionError("division by zero in GF(256)")
    return POWERS[(LOGARITHMS[a] - LOGARITHMS[b]) % 255] if a else 0


@lru_cache(maxsize=256)
def multiples(factor: int) -> bytes:
    """Return the 256 products of ``factor``, a table for ``bytes.translate``."""
    return bytes(product(factor, value) for value in range(256))


def interpolation_rows(known: Sequence[int], wanted: Sequence[int]) -> bytes:
    """Return the coefficients that make blocks ``wanted`` of blocks ``known``.

    Args:
        known: the k distinct share numbers at hand.
        wanted: share numbers to compute.

    Returns:
        One row of k coefficients per wanted block, row after row:
        block[wanted[p]] = sum over i of rows[p*k + i] * block[known[i]].
    """
    points = [POINTS[number] for number in known]
    # Products of many factors are sums of logarithms, reduced once at the end.
    denominators = [sum(LOGARITHMS[point ^ other] for other in points if other != point) for point in points]
    rows = bytearray()
    for number in wanted:
        target = POINTS[number]
        if target in points:
            rows += bytes(point == target for point in points)
            continue
        distances = [LOGARITHMS[target ^ point] for point in points]
        numerator = sum(distances)
        rows += bytes(
            POWERS[(numerator - distance - denominator) % 255]
            for distance, denominator in zip(distances, denominators, strict=True)
        )
    return bytes(rows)


def generator_row(shares_needed: int, number: int) -> bytes:
    """Return the k coefficients that make block ``number`` of the pieces."""
    return interpolation_rows(range(shares_needed), [number])


@lru_cache(maxsize=16)
def check_rows(shares_needed: int, shares_total: int) -> bytes:
    """Return the rows of all check blocks, k .. n-1, one after another."""
    return interpolation_rows(range(shares_needed), range(shares_needed, shares_total))
