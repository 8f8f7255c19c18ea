"""Messages of the storage protocol are written as the reference writes them, and read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces import storage
from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    ReadTestWriteResult,
    ServerVersion,
    ShareVectors,
    WriteVector,
)
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.protocol import storage_messages as messages

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())

UINTS = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(0, 255)
NUMBER_SETS = st.frozensets(NUMBERS, max_size=30)
SHARE_VECTORS = st.builds(
    ShareVectors,
    st.lists(st.builds(storage.TestVector, UINTS, UINTS, st.binary(max_size=20)), max_size=4),
    st.lists(st.builds(WriteVector, UINTS, st.binary(max_size=20)), max_size=4),
    st.none() | UINTS,
)

EXAMPLES: dict[str, tuple[bytes, object, Callable[[bytes], object]]] = {
    "version response": (
        messages.encode_version(
            ServerVersion(82462856704, 69105000000000000, 82462856704, "tahoe-lafs/1.20.0")
        ),
        ServerVersion(82462856704, 69105000000000000, 82462856704, "tahoe-lafs/1.20.0"),
        messages.decode_version,
    ),
    "allocate request": (
        messages.encode_allocate_request({7, 1}, 48),
        (frozenset({1, 7}), 48),
        messages.decode_allocate_request,
    ),
    "allocate response": (
        messages.encode_allocate_answer(Allocation(frozenset({1}), frozenset({7}))),
        Allocation(frozenset({1}), frozenset({7})),
        messages.decode_allocate_answer,
    ),
    "allocate response, nothing": (
        messages.encode_allocate_answer(Allocation(frozenset(), frozenset())),
        Allocation(frozenset(), frozenset()),
        messages.decode_allocate_answer,
    ),
    "list response": (
        messages.encode_share_set({5, 1}),
        frozenset({1, 5}),
        messages.decode_share_set,
    ),
    "list response, empty": (messages.encode_share_set(()), frozenset(), messages.decode_share_set),
    "write response, more needed": (
        messages.encode_write_answer([ByteRange(16, 48)]),
        [ByteRange(16, 48)],
        messages.decode_write_answer,
    ),
    "write response, complete": (messages.encode_write_answer([]), [], messages.decode_write_answer),
    "corruption advisory": (
        messages.encode_advisory("expected hash abcd, got hash efgh"),
        "expected hash abcd, got hash efgh",
        messages.decode_advisory,
    ),
    "read-test-write request": (
        messages.encode_read_test_write_request(
            {0: ShareVectors([storage.TestVector(3, 5, b"hello")], [WriteVector(9, b"world")], 5)}, [(3, 12)]
        ),
        ({0: ShareVectors([storage.TestVector(3, 5, b"hello")], [WriteVector(9, b"world")], 5)}, [(3, 12)]),
        messages.decode_read_test_write_request,
    ),
    "read-test-write request, create share 3": (
        messages.encode_read_test_write_request(
            {3: ShareVectors([storage.TestVector(0, 1, b"")], [WriteVector(0, b"x" * 10)])}, []
        ),
        ({3: ShareVectors([storage.TestVector(0, 1, b"")], [WriteVector(0, b"x" * 10)])}, []),
        messages.decode_read_test_write_request,
    ),
    "read-test-write response": (
        messages.encode_read_test_write_answer(ReadTestWriteResult(True, {5: [b"bar"], 0: [b"foo"]})),
        ReadTestWriteResult(True, {0: [b"foo"], 5: [b"bar"]}),
        messages.decode_read_test_write_answer,
    ),
    "read-test-write response, no shares": (
        messages.encode_read_test_write_answer(ReadTestWriteResult(True, {})),
        ReadTestWriteResult(True, {}),
        messages.decode_read_test_write_answer,
    ),
}

DECODERS: dict[str, Callable[[bytes], object]] = {
    "version": messages.decode_version,
    "allocate request": messages.decode_allocate_request,
    "allocate answer": messages.decode_allocate_answer,
    "write answer": messages.decode_write_answer,
    "share set": messages.decode_share_set,
    "advisory": messages.decode_advisory,
    "rtw request": messages.decode_read_test_write_request,
    "rtw answer": messages.decode_read_test_write_answer,
}


@pytest.mark.parametrize("vector", VECTORS["cbor"], ids=lambda v: v["name"])
def test_messages_are_written_and_read_as_the_reference_does(vector: dict[str, str]) -> None:
    written, meaning, decode = EXAMPLES[vector["name"]]
    assert written.hex() == vector["hex"]
    assert decode(bytes.fromhex(vector["hex"])) == meaning


@pytest.mark.parametrize("vector", VECTORS["cbor_rejected_400"], ids=lambda v: v["name"])
def test_requests_outside_the_schema_are_refused(vector: dict[str, str]) -> None:
    decode = DECODERS[vector["name"].partition(":")[0]]
    with pytest.raises(BadRequestError):
        decode(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", VECTORS["cbor_accepted_unusual"], ids=lambda v: v["name"])
def test_unusual_encodings_mean_the_same(vector: dict[str, str]) -> None:
    assert messages.decode_allocate_request(bytes.fromhex(vector["hex"])) == (frozenset({0}), 10)


@pytest.mark.seed("S-007")
def test_200_and_256_share_numbers_are_taken_and_257_are_not() -> None:
    for count in (200, 256):
        request = messages.encode_allocate_request(range(count), 1)
        assert messages.decode_allocate_request(request) == (frozenset(range(count)), 1)
    with pytest.raises(BadRequestError):
        messages.decode_allocate_request(
            cbor2.dumps({"share-numbers": cbor2.CBORTag(258, [0] * 257), "allocated-size": 1})
        )
    with pytest.raises(BadRequestError):
        messages.decode_allocate_request(messages.encode_allocate_request({256}, 1))


def test_sets_are_written_in_ascending_order() -> None:
    numbers = [200, 8, 1, 64]
    assert messages.encode_share_set(numbers) == cbor2.dumps(cbor2.CBORTag(258, [1, 8, 64, 200]))


def test_a_number_twice_in_a_set_counts_once() -> None:
    request = cbor2.dumps({"share-numbers": cbor2.CBORTag(258, [1, 1]), "allocated-size": 1})
    assert messages.decode_allocate_request(request) == (frozenset({1}), 1)


def test_the_least_allocated_size_is_one_byte() -> None:
    with pytest.raises(BadRequestError):
        messages.decode_allocate_request(messages.encode_allocate_request({1}, 0))


def test_a_version_with_text_keys_or_with_more_than_it_should_is_refused() -> None:
    version = ServerVersion(1, 2, 3, "x")
    outer = cbor2.loads(messages.encode_version(version))
    assert all(isinstance(key, bytes) for key in outer)
    for wrong in (
        {key.decode(): value for key, value in outer.items()},
        {**outer, b"more": 1},
        {key: value for key, value in outer.items() if key != b"application-version"},
    ):
        with pytest.raises(BadRequestError):
            messages.decode_version(cbor2.dumps(wrong))


@pytest.mark.parametrize(
    "share",
    [
        pytest.param({"test": [], "write": [], "new-length": False}, id="new-length false"),
        pytest.param({"test": [], "write": [], "new-length": -1}, id="negative new-length"),
        pytest.param({"test": [], "write": [{"offset": -1, "data": b""}], "new-length": None}, id="offset"),
        pytest.param({"test": [], "write": {}, "new-length": None}, id="writes in a map"),
        pytest.param({"test": [], "write": [], "new-length": None, "more": 1}, id="unknown key"),
        pytest.param(
            {
                "test": [{"offset": 0, "size": 1, "operator": b"eq", "specimen": b""}],
                "write": [],
                "new-length": None,
            },
            id="operator",
        ),
    ],
)
def test_vectors_of_another_shape_are_refused(share: object) -> None:
    with pytest.raises(BadRequestError):
        messages.decode_read_test_write_request(
            cbor2.dumps({"test-write-vectors": {0: share}, "read-vector": []})
        )


def test_a_read_test_write_may_name_256_shares_and_1000_writes() -> None:
    vectors = {number: ShareVectors() for number in range(256)}
    vectors[0] = ShareVectors([], [WriteVector(i, b"x") for i in range(1000)])
    request = messages.encode_read_test_write_request(vectors, [(0, 1)] * 30)
    decoded, reads = messages.decode_read_test_write_request(request)
    assert len(decoded) == 256
    assert len(decoded[0].writes) == 1000
    assert len(reads) == 30
    more = cbor2.loads(request)
    more["test-write-vectors"][256] = more["test-write-vectors"][1]
    with pytest.raises(BadRequestError):
        messages.decode_read_test_write_request(cbor2.dumps(more))


def test_an_advisory_fits_into_its_body_whatever_the_reason() -> None:
    for reason in ("", "x" * 100_000, "\N{PILE OF POO}" * 100_000):
        body = messages.encode_advisory(reason)
        assert len(body) <= 32768
        assert messages.decode_advisory(body)


@given(NUMBER_SETS, st.integers(1, 2**64 - 1))
def test_allocate_requests_come_through(numbers: frozenset[int], size: int) -> None:
    request = messages.encode_allocate_request(numbers, size)
    assert messages.decode_allocate_request(request) == (numbers, size)


@given(st.builds(Allocation, NUMBER_SETS, NUMBER_SETS))
def test_allocate_answers_come_through(allocation: Allocation) -> None:
    assert messages.decode_allocate_answer(messages.encode_allocate_answer(allocation)) == allocation


@given(st.lists(st.builds(ByteRange, UINTS, UINTS), max_size=10))
def test_write_answers_come_through(required: list[ByteRange]) -> None:
    assert messages.decode_write_answer(messages.encode_write_answer(required)) == required


@given(st.dictionaries(NUMBERS, SHARE_VECTORS, max_size=4), st.lists(st.tuples(UINTS, UINTS), max_size=30))
def test_read_test_write_requests_come_through(
    vectors: dict[int, ShareVectors], reads: list[tuple[int, int]]
) -> None:
    request = messages.encode_read_test_write_request(vectors, reads)
    assert messages.decode_read_test_write_request(request) == (vectors, reads)


@given(st.booleans(), st.dictionaries(NUMBERS, st.lists(st.binary(max_size=20), max_size=4), max_size=4))
def test_read_test_write_answers_come_through(success: bool, data: dict[int, list[bytes]]) -> None:
    result = ReadTestWriteResult(success, data)
    assert messages.decode_read_test_write_answer(messages.encode_read_test_write_answer(result)) == result


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@given(data=st.data())
def test_a_damaged_message_is_read_or_refused_and_nothing_else(
    decode: Callable[[bytes], object], data: st.DataObject
) -> None:
    message = bytearray(data.draw(st.sampled_from([written for written, _, _ in EXAMPLES.values()])))
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadRequestError):
        decode(bytes(message))
