"""The field, and the coefficients of the code, against the specification and its vectors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import gf256, reference
from holdfast.crypto.gf256 import check_rows, generator_row, interpolation_rows, product, quotient

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/erasure.json").read_text())

elements = st.integers(0, 255)
units = st.integers(1, 255)


def _named(vector: dict[str, Any]) -> str:
    return f"{vector['k']}-of-{vector['n']}"


def test_check_values_of_the_specification() -> None:
    assert (product(2, 128), product(0x53, 0xCA), product(3, 7), product(255, 255)) == (0x1D, 0x8F, 9, 0xE2)
    assert (quotient(1, 2), quotient(1, 3)) == (0x8E, 0xF4)
    powers = [1, 2, 4, 8, 16, 32, 64, 128, 29, 58, 116, 232, 205, 135, 19, 38, 76, 152, 45, 90]
    assert list(gf256.POWERS[:20]) == powers


def test_products_are_those_of_polynomials() -> None:
    table = b"".join(gf256.multiples(factor) for factor in range(256))
    assert list(table) == [reference.product(a, b) for a in range(256) for b in range(256)]


@given(elements, units)
def test_division_undoes_multiplication(a: int, b: int) -> None:
    assert quotient(product(a, b), b) == a


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)


def test_all_evaluation_points_differ() -> None:
    assert len(set(gf256.POINTS)) == gf256.SHARES_MAX
    assert [gf256.POINTS[j] for j in (0, 1, 2, 3, 9, 255)] == [
        reference.point(j) for j in (0, 1, 2, 3, 9, 255)
    ]


@pytest.mark.parametrize("vector", VECTORS["generator"], ids=_named)
def test_check_rows_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    k, n = vector["k"], vector["n"]
    rows = check_rows(k, n)
    assert len(rows) == k * (n - k)
    assert hashlib.sha256(rows).hexdigest() == vector["check_matrix_sha256"]
    for number, row in enumerate(vector.get("check_rows_hex", []), start=k):
        assert generator_row(k, number).hex() == row


def test_rows_do_not_depend_on_the_number_of_shares() -> None:
    assert check_rows(3, 200).startswith(check_rows(3, 10))


@given(st.data())
def test_decoding_rows_are_those_of_the_inverted_matrix(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 8))
    known = data.draw(st.lists(elements, min_size=k, max_size=k, unique=True))
    inverted = reference.inverse([reference.generator_row(k, number) for number in known])
    assert interpolation_rows(known, range(k)) == b"".join(map(bytes, inverted))


@given(st.lists(elements, min_size=1, max_size=8, unique=True))
def test_a_known_block_is_taken_as_it_is(known: list[int]) -> None:
    rows = interpolation_rows(known, known)
    assert rows == b"".join(bytes(i == p for i in range(len(known))) for p in range(len(known)))
