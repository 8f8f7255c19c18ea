"""Each value has one encoding, and only that one is read."""

from __future__ import annotations

from random import Random

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.cbor import DEPTH_MAX, MalformedCborError, TaggedSet
from holdfast.formats.deterministic_cbor import decode, encode

KEYS = st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=40)
SCALARS = KEYS | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.lists(inner, max_size=3).map(TaggedSet)
    ),
    max_leaves=20,
)
LARGE = 1 << 20

# RFC 8949, appendix A, as far as this protocol goes; and the order of keys of section 4.2.1.
RFC_8949 = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (255, "18ff"),
    (256, "190100"),
    (1000, "1903e8"),
    (65535, "19ffff"),
    (1000000, "1a000f4240"),
    (2**32 - 1, "1affffffff"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-1000, "3903e7"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("\u00fc", "62c3bc"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (
        {"aa": 1, b"": 2, -1: 3, "z": 4, 100: 5, 10: 6},
        "a6" + "0a06" + "186405" + "2003" + "4002" + "617a04" + "62616101",
    ),
]


@pytest.mark.parametrize(("value", "encoded"), RFC_8949, ids=[row[1] for row in RFC_8949])
def test_values_are_encoded_as_rfc_8949_says(value: object, encoded: str) -> None:
    assert encode(value).hex() == encoded
    assert decode(bytes.fromhex(encoded), size_max=LARGE) == value


@given(VALUES)
def test_reading_what_was_written_gives_the_same(value: object) -> None:
    assert decode(encode(value), size_max=LARGE) == value


@given(st.dictionaries(KEYS, SCALARS, max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_a_map_was_made_does_not_matter(
    value: dict[object, object], random: Random
) -> None:
    entries = list(value.items())
    random.shuffle(entries)
    assert encode(dict(entries)) == encode(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_in_one_form_or_refused(data: bytes) -> None:
    try:
        value = decode(data, size_max=LARGE)
    except MalformedCborError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "encoded",
    [
        "1817",  # a number longer than need be
        "190017",
        "1a00000064",
        "580161",  # a length longer than need be
        "a2616201616101",  # keys in another order
        "a262616101617a01",
        "9f01ff",  # indefinite lengths
        "bf616101ff",
        "5f4161ff",
        "0000",  # two items
        "a2616101616101",  # a key twice
        "fb3ff0000000000000",  # a float
        "c100",  # a foreign tag
        "",
    ],
)
def test_other_forms_are_refused(encoded: str) -> None:
    with pytest.raises(MalformedCborError):
        decode(bytes.fromhex(encoded), size_max=LARGE)


def test_more_bytes_than_allowed_are_refused() -> None:
    data = encode(bytes(100))
    assert decode(data, size_max=len(data)) == bytes(100)
    with pytest.raises(MalformedCborError, match="more than"):
        decode(data, size_max=len(data) - 1)


def _nested(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [1.5, 2**64, -(2**64) - 1, {None: 1}, {True: 1}, {1}, object(), "\ud800", _nested(DEPTH_MAX + 1)]
)
def test_what_no_reader_takes_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        encode(value)


def test_the_deepest_nesting_a_reader_takes_is_written() -> None:
    assert decode(encode(_nested(DEPTH_MAX)), size_max=LARGE) == _nested(DEPTH_MAX)


@given(VALUES.filter(lambda value: not isinstance(value, TaggedSet)))
def test_a_general_decoder_reads_the_same(value: object) -> None:
    assert cbor2.loads(encode(value)) == cbor2.loads(cbor2.dumps(_plain(value)))


def _plain(value: object) -> object:
    if isinstance(value, TaggedSet):
        return cbor2.CBORTag(258, [_plain(item) for item in value.items])
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0.0, "f90000"),
        (-0.0, "f98000"),
        (1.5, "f93e00"),
        (65504.0, "f97bff"),
        (100000.0, "fa47c35000"),
        (1.1, "fb3ff199999999999a"),
        (1e300, "fb7e37e43c8800759c"),
        (5.960464477539063e-08, "f90001"),
        (float("inf"), "f97c00"),
        (float("-inf"), "f9fc00"),
        (float("nan"), "f97e00"),
    ],
)
def test_numbers_with_a_fraction_have_their_shortest_form(value: float, encoded: str) -> None:
    data = encode(value, floats=True)
    assert data.hex() == encoded
    assert repr(decode(data, size_max=9, floats=True)) == repr(value)


@given(st.floats(allow_nan=False))
def test_numbers_with_a_fraction_survive(value: float) -> None:
    assert decode(encode(value, floats=True), size_max=9, floats=True) == value


@pytest.mark.parametrize("encoded", ["fa3fc00000", "fb3ff8000000000000", "f97e01", "fa7fc00000"])
def test_longer_forms_of_numbers_with_a_fraction_are_refused(encoded: str) -> None:
    with pytest.raises(MalformedCborError):
        decode(bytes.fromhex(encoded), size_max=9, floats=True)


def test_numbers_with_a_fraction_are_refused_unless_they_are_expected() -> None:
    with pytest.raises(ValueError, match="float"):
        encode(1.5)
    with pytest.raises(MalformedCborError):
        decode(bytes.fromhex("f93e00"), size_max=9)
