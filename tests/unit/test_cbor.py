"""Only the CBOR that storage messages consist of is read; all the rest is refused, not guessed."""

from __future__ import annotations

import time
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats import cbor

KEYS = st.one_of(st.integers(-(2**64), 2**64 - 1), st.binary(max_size=8), st.text(max_size=8))
LEAVES = st.one_of(KEYS, st.booleans(), st.none())
ITEMS = st.recursive(
    LEAVES, lambda items: st.one_of(st.lists(items, max_size=5), st.dictionaries(KEYS, items, max_size=5))
)


@given(ITEMS)
def test_what_another_encoder_writes_is_read_as_it_was_meant(item: object) -> None:
    assert cbor.decode(cbor2.dumps(item)) == item


@given(ITEMS)
def test_sets_are_arrays_behind_tag_258(item: object) -> None:
    assert cbor.decode(cbor2.dumps(cbor2.CBORTag(258, [item]))) == cbor.TaggedSet([item])


@given(st.binary(max_size=60))
def test_no_bytes_do_worse_than_a_malformed_error(data: bytes) -> None:
    with suppress(cbor.MalformedCborError):
        cbor.decode(data)


LONG = st.binary(min_size=cbor.LEFT_FROM, max_size=3 * cbor.LEFT_FROM)
WITH_LONG = st.recursive(
    st.one_of(LEAVES, LONG),
    lambda items: st.one_of(st.lists(items, max_size=5), st.dictionaries(KEYS, items, max_size=5)),
)


class Left:
    """Stands for a byte string."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def put_back(item: object) -> object:
    if isinstance(item, Left):
        return item.data
    if isinstance(item, list):
        return [put_back(part) for part in item]
    if isinstance(item, dict):
        return {key: put_back(value) for key, value in item.items()}
    return item


def left_in(data: bytes) -> object:
    return cbor.decode(data, leave=lambda parts: Left(b"".join(data[begin:end] for begin, end in parts)))


@given(WITH_LONG)
def test_long_byte_strings_can_stay_where_they_are(item: object) -> None:
    assert put_back(left_in(cbor2.dumps(item))) == item


@given(st.lists(st.binary(max_size=cbor.LEFT_FROM), max_size=5))
def test_so_can_one_in_pieces(pieces: list[bytes]) -> None:
    data = b"\x5f" + b"".join(map(cbor2.dumps, pieces)) + b"\xff"
    found, whole = left_in(data), b"".join(pieces)
    assert isinstance(found, Left) == (len(whole) >= cbor.LEFT_FROM)
    assert put_back(found) == whole == cbor.decode(data)


@given(st.binary(max_size=60))
def test_what_is_malformed_is_refused_then_too(data: bytes) -> None:
    try:
        expected = cbor.decode(data)
    except cbor.MalformedCborError:
        with pytest.raises(cbor.MalformedCborError):
            left_in(data)
    else:
        assert left_in(data) == expected


@pytest.mark.parametrize(
    "data", [b"\x58\x40" + bytes(63), b"\x5b" + b"\xff" * 8, b"\x5f\x58\x40" + bytes(64)]
)
def test_a_long_byte_string_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(cbor.MalformedCborError):
        left_in(data)


@pytest.mark.parametrize(
    "data",
    [
        cbor2.dumps("x" * cbor.LEFT_FROM),
        b"\x7f" + 2 * cbor2.dumps("x" * 40) + b"\xff",
        cbor2.dumps({bytes(cbor.LEFT_FROM): 1}),
    ],
)
def test_long_texts_and_keys_are_refused_there(data: bytes) -> None:
    cbor.decode(data)
    with pytest.raises(cbor.MalformedCborError):
        left_in(data)


@given(ITEMS, st.data())
def test_a_message_that_is_cut_off_is_refused(item: object, data: st.DataObject) -> None:
    encoded = cbor2.dumps(item)
    end = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(cbor.MalformedCborError):
        cbor.decode(encoded[:end])


@pytest.mark.parametrize(
    ("hexadecimal", "item"),
    [
        pytest.param("9f0102ff", [1, 2], id="array of indefinite length"),
        pytest.param("bf0102ff", {1: 2}, id="map of indefinite length"),
        pytest.param("5f4161416240ff", b"ab", id="byte string in pieces"),
        pytest.param("7f6161616260ff", "ab", id="text in pieces"),
        pytest.param("1b0000000000000001", 1, id="integer not in the shortest form"),
        pytest.param("5b000000000000000161", b"\x61", id="length not in the shortest form"),
        pytest.param("d90102820101", cbor.TaggedSet([1, 1]), id="set with a number twice"),
    ],
)
def test_unusual_forms_are_accepted(hexadecimal: str, item: object) -> None:
    assert cbor.decode(bytes.fromhex(hexadecimal)) == item


@pytest.mark.parametrize(
    "hexadecimal",
    [
        pytest.param("", id="nothing"),
        pytest.param("0101", id="bytes after the item"),
        pytest.param("a201020103", id="key twice"),
        pytest.param("a20102180103", id="key twice, in two forms"),
        pytest.param("bf01020103ff", id="key twice in a map of indefinite length"),
        pytest.param("a1f601", id="null as a key"),
        pytest.param("a1f501", id="true as a key"),
        pytest.param("a18001", id="array as a key"),
        pytest.param("c249010000000000000000", id="bignum"),
        pytest.param("c349010000000000000000", id="negative bignum"),
        pytest.param("f93c00", id="half float"),
        pytest.param("fa3f800000", id="float"),
        pytest.param("fb3ff0000000000000", id="double"),
        pytest.param("f7", id="undefined"),
        pytest.param("f0", id="unassigned simple value"),
        pytest.param("f814", id="simple value in two bytes"),
        pytest.param("c11a00000000", id="tag of a time"),
        pytest.param("d9d9f701", id="tag that says it is CBOR"),
        pytest.param("d9010201", id="set that is no array"),
        pytest.param("d9010240", id="set that is a byte string"),
        pytest.param("ff", id="break outside"),
        pytest.param("82ff01", id="break in an array of definite length"),
        pytest.param("bf01ff", id="map with a key without value"),
        pytest.param("9f01", id="array without end"),
        pytest.param("5f01ff", id="pieces of another kind"),
        pytest.param("5f6161ff", id="bytes in pieces of text"),
        pytest.param("5f5f4161ffff", id="pieces in pieces"),
        pytest.param("7f61c361a9ff", id="character cut in pieces"),
        pytest.param("61ff", id="text that is not UTF-8"),
        pytest.param("1c", id="reserved length"),
        pytest.param("1f", id="integer of indefinite length"),
        pytest.param("df01", id="tag of indefinite length"),
        pytest.param("9bffffffffffffffff", id="array longer than the message"),
        pytest.param("5bffffffffffffffff", id="byte string longer than the message"),
        pytest.param("bbffffffffffffffff", id="map longer than the message"),
    ],
)
def test_everything_else_is_refused(hexadecimal: str) -> None:
    with pytest.raises(cbor.MalformedCborError):
        cbor.decode(bytes.fromhex(hexadecimal))


@pytest.mark.parametrize("opening", [b"\x81", b"\x9f", b"\xa1\x00", b"\xd9\x01\x02\x81"])
def test_nesting_ends_at_16(opening: bytes) -> None:
    levels = cbor.DEPTH_MAX // (2 if opening.startswith(b"\xd9") else 1)
    closing = b"\xff" if opening == b"\x9f" else b""
    cbor.decode(opening * levels + b"\x00" + closing * levels)
    with pytest.raises(cbor.MalformedCborError, match="deep"):
        cbor.decode(opening * (levels + 1) + b"\x00" + closing * (levels + 1))
    with pytest.raises(cbor.MalformedCborError):
        cbor.decode(opening * 100_000)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536])
def test_arrays_hold_byte_strings_of_any_length(size: int) -> None:
    items = [bytes(size), 23, 24, b"x" * size, -1, None, [b"y" * size]]
    encoded = cbor2.dumps(items)

    assert cbor.decode(encoded) == items
    for end in {*range(min(len(encoded), 40)), len(encoded) - 1, len(encoded) - size - 1, size + 8}:
        with pytest.raises(cbor.MalformedCborError):
            cbor.decode(encoded[:end])


def test_a_message_may_say_how_much_it_holds() -> None:
    deep = b"\x81" * 300 + b"\x00"
    assert cbor.decode(b"\x81\x00", depth_max=1) == [0]
    cbor.decode(deep, depth_max=300)
    for refused, depth_max in ((deep, 299), (b"\x81\x81\x00", 1), (b"\x81\x58\x01a", 0)):
        with pytest.raises(cbor.MalformedCborError, match="deep"):
            cbor.decode(refused, depth_max=depth_max)
    assert cbor.decode(b"\x82\x81\x00\x00", items_max=3) == [[0], 0]
    for refused in (b"\x82\x81\x00\x00", b"\xa1\x00\x81\x00", b"\x9f\x00\x00\x00\xff"):
        with pytest.raises(cbor.MalformedCborError, match="many"):
            cbor.decode(refused, items_max=2)


def test_a_message_of_countless_tiny_items_is_refused() -> None:
    count = cbor.ITEMS_MAX + 1
    with pytest.raises(cbor.MalformedCborError, match="many"):
        cbor.decode(b"\x9a" + count.to_bytes(4, "big") + bytes(count))
    with pytest.raises(cbor.MalformedCborError, match="many"):
        cbor.decode(b"\x5f" + b"\x40" * count + b"\xff")


def test_long_byte_strings_cost_one_copy() -> None:
    message = cbor2.dumps({"data": bytes(64 << 20)})

    began = time.process_time()
    cbor.decode(message)

    assert time.process_time() - began < 0.5
