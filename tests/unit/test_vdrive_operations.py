"""Operations have one form: sorted, each slot once, within their limits."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats import deterministic_cbor
from holdfast.formats.vdrive.operations import (
    EMPTY_OPERATIONS,
    OPERATIONS_MAX,
    Add,
    Delete,
    MalformedOperationsError,
    Operation,
    OperationsTooLargeError,
    Replace,
    encode_operations,
    operations_digest,
    parse_operations,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())
APPENDIX = VECTORS["appendix"]
SLOTS = st.binary(min_size=32, max_size=32)
VERSIONS = st.integers(1, 2**63 - 1)
BOXES = st.tuples(
    st.binary(min_size=33, max_size=99),
    st.just(b"") | st.binary(min_size=33, max_size=99),
    st.binary(min_size=33, max_size=99),
    st.binary(min_size=33, max_size=99),
)
OPERATIONS = st.one_of(
    st.builds(lambda slot, boxes: Add(slot, *boxes), SLOTS, BOXES),
    st.builds(lambda slot, old, boxes: Replace(slot, old, *boxes), SLOTS, VERSIONS, BOXES),
    st.builds(Delete, SLOTS, VERSIONS),
)
BOX = bytes(97)
SLOT = b"\x01" * 32
LATER = b"\x02" * 32


def test_operations_are_those_of_the_specification() -> None:
    assert EMPTY_OPERATIONS.hex() == APPENDIX["ops 0"] == encode_operations([]).hex()
    assert operations_digest(EMPTY_OPERATIONS).hex() == APPENDIX["ops digest 0"]


def test_operations_are_those_of_the_reference() -> None:
    data = bytes.fromhex(VECTORS["bundle"]["operations_hex"])
    (operation,) = parse_operations(data)
    assert isinstance(operation, Add)
    assert encode_operations([operation]) == data
    assert operations_digest(data) in bytes.fromhex(VECTORS["bundle"]["heads_hex"][2][0])


@given(st.lists(OPERATIONS, max_size=20, unique_by=lambda operation: operation.slot))
def test_operations_survive_in_the_order_of_slots(operations: list[Operation]) -> None:
    data = encode_operations(operations)
    assert list(parse_operations(data)) == sorted(operations, key=lambda operation: operation.slot)
    assert encode_operations(reversed(operations)) == data


@given(st.lists(OPERATIONS, min_size=1, max_size=3, unique_by=lambda operation: operation.slot), st.data())
def test_a_flipped_bit_gives_another_digest_or_is_refused(
    operations: list[Operation], draw: st.DataObject
) -> None:
    data = encode_operations(operations)
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit >> 3] ^= 1 << (bit & 7)
    assert operations_digest(bytes(flipped)) != operations_digest(data)
    with suppress(MalformedOperationsError):
        assert encode_operations(parse_operations(bytes(flipped))) == flipped


@pytest.mark.parametrize(
    "items",
    [
        {},
        b"",
        [[]],
        [[1, SLOT, None, BOX, b"", BOX]],
        [[1, SLOT, None, BOX, b"", BOX, BOX, b""]],
        [[1, SLOT, 1, BOX, b"", BOX, BOX]],
        [[2, SLOT, None, BOX, b"", BOX, BOX]],
        [[2, SLOT, 0, BOX, b"", BOX, BOX]],
        [[2, SLOT, True, BOX, b"", BOX, BOX]],
        [[2, SLOT, 2**63, BOX, b"", BOX, BOX]],
        [[3, SLOT, -1]],
        [[3, SLOT, None]],
        [[3, SLOT, 1, 1]],
        [[4, SLOT, 1]],
        [[True, SLOT, None, BOX, b"", BOX, BOX]],
        [[3, SLOT[1:], 1]],
        [[3, SLOT.decode("latin-1"), 1]],
        [[3, LATER, 1], [3, SLOT, 1]],
        [[3, SLOT, 1], [3, SLOT, 2]],
        [[1, SLOT, None, b"", b"", BOX, BOX]],
        [[1, SLOT, None, BOX, b"\x01", BOX, BOX]],
        [[1, SLOT, None, BOX, b"", b"", BOX]],
        [[1, SLOT, None, BOX, b"", BOX, bytes(32)]],
    ],
    ids=lambda items: str(items)[:60],
)
def test_malformed_operations_are_refused(items: object) -> None:
    with pytest.raises(MalformedOperationsError):
        parse_operations(deterministic_cbor.encode(items))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_operations_are_refused(data: bytes) -> None:
    if data == EMPTY_OPERATIONS:
        return
    with pytest.raises(MalformedOperationsError):
        parse_operations(data)


def test_another_encoding_of_the_same_operations_is_refused() -> None:
    for longer in (b"\x98\x00", b"\x9f\xff", EMPTY_OPERATIONS + b"\x00"):
        with pytest.raises(MalformedOperationsError):
            parse_operations(longer)


@pytest.mark.seed("S-017")
@pytest.mark.parametrize(("field", "size"), [(3, 1101), (4, 1101), (5, 1101), (6, 8101)])
def test_a_box_over_its_limit_is_too_large(field: int, size: int) -> None:
    item: list[object] = [1, SLOT, None, BOX, b"", BOX, BOX]
    item[field] = bytes(size - 1)
    assert parse_operations(deterministic_cbor.encode([item]))
    item[field] = bytes(size)
    with pytest.raises(OperationsTooLargeError):
        parse_operations(deterministic_cbor.encode([item]))


def test_a_commit_has_at_most_a_thousand_operations_and_eight_mebibytes() -> None:
    slots = [
        hashlib.sha256(bytes([number % 256, number >> 8])).digest() for number in range(OPERATIONS_MAX + 1)
    ]
    most = encode_operations(Delete(slot, 1) for slot in slots[1:])
    assert len(parse_operations(most)) == OPERATIONS_MAX
    with pytest.raises(OperationsTooLargeError):
        encode_operations(Delete(slot, 1) for slot in slots)
    with pytest.raises(OperationsTooLargeError):
        parse_operations(deterministic_cbor.encode([[3, slot, 1] for slot in sorted(slots)]))
    with pytest.raises(OperationsTooLargeError):
        encode_operations(Add(slot, BOX, b"", bytes(1100), bytes(8100)) for slot in slots[1:])
    with pytest.raises(OperationsTooLargeError):
        parse_operations(bytes(8 << 21))


def test_two_operations_of_one_slot_are_not_encoded() -> None:
    with pytest.raises(MalformedOperationsError):
        encode_operations([Delete(SLOT, 1), Delete(SLOT, 2)])
