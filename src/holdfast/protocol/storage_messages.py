"""The messages of the storage protocol: values to CBOR and back, refusing whatever
is outside the schema.

Source: docs/spec/storage-protocol.md, sections 6.2, 6.3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import cbor2

from holdfast.formats import cbor
from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    BytesElsewhere,
    ReadTestWriteResult,
    ServerVersion,
    ShareVectors,
    TestVector,
    WriteVector,
)
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import MAX_BUCKETS, Buffer

PROTOCOL_KEY = b"http://allmydata.org/tahoe/protocols/storage/v1"
UINT_MAX = 2**64 - 1
TESTS_MAX = 30
READS_MAX = 30
REASON_MAX = 32765  # characters
APART_MIN = 16 * 1024  # bytes of writes that are not copied into a message


# -- version


def encode_version(version: ServerVersion) -> bytes:
    """Keys are byte strings here, and nothing may be added: clients of 1.20 would refuse the server."""
    return cbor2.dumps(
        {
            PROTOCOL_KEY: {
                b"maximum-immutable-share-size": version.maximum_immutable_share_size,
                b"maximum-mutable-share-size": version.maximum_mutable_share_size,
                b"available-space": version.available_space,
            },
            b"application-version": version.application_version.encode("utf-8"),
        }
    )


def decode_version(data: bytes) -> ServerVersion:
    """Raises BadRequestError, as all decoders here do."""
    outer = _map(_item(data), (PROTOCOL_KEY, b"application-version"))
    keys = (b"maximum-immutable-share-size", b"maximum-mutable-share-size", b"available-space")
    inner = _map(outer[PROTOCOL_KEY], keys)
    sizes = [_uint(inner[key]) for key in keys]
    name = _bytes(outer[b"application-version"]).decode("utf-8", "replace")
    return ServerVersion(sizes[0], sizes[1], sizes[2], name)


# -- immutable shares


def encode_allocate_request(share_numbers: Collection[int], allocated_size: int) -> bytes:
    return cbor2.dumps({"share-numbers": _set(share_numbers), "allocated-size": allocated_size})


def decode_allocate_request(data: bytes) -> tuple[frozenset[int], int]:
    """Return share numbers and size."""
    message = _map(_item(data), ("share-numbers", "allocated-size"))
    return _share_set(message["share-numbers"]), _uint(message["allocated-size"], least=1)


def encode_allocate_answer(allocation: Allocation) -> bytes:
    return cbor2.dumps(
        {"already-have": _set(allocation.already_have), "allocated": _set(allocation.allocated)}
    )


def decode_allocate_answer(data: bytes) -> Allocation:
    message = _map(_item(data), ("already-have", "allocated"))
    return Allocation(_share_set(message["already-have"]), _share_set(message["allocated"]))


def encode_write_answer(required: Sequence[ByteRange]) -> bytes:
    return cbor2.dumps({"required": [{"begin": r.begin, "end": r.end} for r in required]})


def decode_write_answer(data: bytes) -> list[ByteRange]:
    message = _map(_item(data), ("required",))
    ranges = [_map(item, ("begin", "end")) for item in _list(message["required"])]
    return [ByteRange(_uint(r["begin"]), _uint(r["end"])) for r in ranges]


def encode_share_set(numbers: Collection[int]) -> bytes:
    return cbor2.dumps(_set(numbers))


def decode_share_set(data: bytes) -> frozenset[int]:
    return _share_set(_item(data))


def encode_advisory(reason: str) -> bytes:
    return cbor2.dumps({"reason": reason[:8000] or "corrupt"})


def decode_advisory(data: bytes) -> str:
    """Return the reason."""
    reason = _map(_item(data), ("reason",))["reason"]
    if not isinstance(reason, str) or not 1 <= len(reason) <= REASON_MAX:
        raise BadRequestError("the reason is a text, and not empty")
    return reason


# -- mutable shares


def encode_read_test_write_request(
    vectors: Mapping[int, ShareVectors], read_vector: Sequence[tuple[int, int]]
) -> bytes:
    return cbor2.dumps(
        {
            "test-write-vectors": {
                number: {
                    "test": [
                        {"offset": t.offset, "size": t.size, "specimen": t.specimen} for t in share.tests
                    ],
                    "write": [{"offset": w.offset, "data": bytes(w.data)} for w in share.writes],
                    "new-length": share.new_length,
                }
                for number, share in vectors.items()
            },
            "read-vector": [{"offset": offset, "size": size} for offset, size in read_vector],
        }
    )


def read_test_write_pieces(
    vectors: Mapping[int, ShareVectors], read_vector: Sequence[tuple[int, int]]
) -> list[Buffer]:
    """Return the same request in pieces, with the data of a large share as they lie in memory."""
    if len(vectors) == 1:
        ((number, share),) = vectors.items()
        if share.new_length is None and sum(len(w.data) for w in share.writes) >= APART_MIN:
            spans = [(w.offset, len(w.data)) for w in share.writes]
            frame = read_test_write_frame(number, share.tests, spans, read_vector)
            pieces: list[Buffer] = []
            for before, write in zip(frame, share.writes, strict=False):
                pieces += [before, write.data if isinstance(write.data, Buffer) else bytes(write.data)]
            return [*pieces, frame[-1]]
    return [encode_read_test_write_request(vectors, read_vector)]


def read_test_write_frame(
    number: int,
    tests: Sequence[TestVector],
    writes: Sequence[tuple[int, int]],
    read_vector: Sequence[tuple[int, int]],
) -> list[bytes]:
    """Return a request that writes one share, without its data: what comes before each, and after the last.

    ``writes``: offset and length of each.
    """
    pieces = [
        _map_head(2),
        cbor2.dumps("test-write-vectors"),
        _map_head(1),
        cbor2.dumps(number),
        _map_head(3),
        cbor2.dumps("test"),
        cbor2.dumps([{"offset": t.offset, "size": t.size, "specimen": t.specimen} for t in tests]),
        cbor2.dumps("write"),
        _head(_ARRAY, len(writes)),
    ]
    frame = []
    for offset, length in writes:
        pieces += [_map_head(2), cbor2.dumps("offset"), cbor2.dumps(offset), cbor2.dumps("data")]
        pieces.append(_head(_BYTES, length))
        frame.append(b"".join(pieces))
        pieces = []
    pieces += [cbor2.dumps("new-length"), cbor2.dumps(None), cbor2.dumps("read-vector")]
    pieces.append(cbor2.dumps([{"offset": offset, "size": size} for offset, size in read_vector]))
    return [*frame, b"".join(pieces)]


_BYTES, _ARRAY, _MAP = 2, 4, 5  # major types of CBOR


def _head(major: int, count: int) -> bytes:
    """Return the head of an item of ``count`` bytes, items or pairs, as short as can be."""
    encoded = bytearray(cbor2.dumps(count))
    encoded[0] |= major << 5
    return bytes(encoded)


def _map_head(count: int) -> bytes:
    return _head(_MAP, count)


def decode_read_test_write_request(
    data: bytes, leave: Callable[[Sequence[tuple[int, int]]], BytesElsewhere] | None = None
) -> tuple[dict[int, ShareVectors], list[tuple[int, int]]]:
    """Return vectors by share number, and (offset, size) of each read.

    ``leave``: makes what stands for a byte string that is not to be read into memory, of the begin and end of
    each of its parts in ``data``.
    """
    message = _map(_item(data, leave), ("test-write-vectors", "read-vector"))
    shares = message["test-write-vectors"]
    if not isinstance(shares, dict) or len(shares) > MAX_BUCKETS:
        raise BadRequestError(f"vectors for at most {MAX_BUCKETS} shares")
    vectors = {_share_number(number): _share_vectors(value) for number, value in shares.items()}
    reads = [_map(item, ("offset", "size")) for item in _list(message["read-vector"], READS_MAX)]
    return vectors, [(_uint(r["offset"]), _uint(r["size"])) for r in reads]


def encode_read_test_write_answer(result: ReadTestWriteResult) -> bytes:
    data = {number: [bytes(d) for d in result.data[number]] for number in sorted(result.data)}
    return cbor2.dumps({"success": result.success, "data": data})


def decode_read_test_write_answer(data: bytes) -> ReadTestWriteResult:
    message = _map(_item(data), ("success", "data"))
    success, shares = message["success"], message["data"]
    if not isinstance(success, bool) or not isinstance(shares, dict) or len(shares) > MAX_BUCKETS:
        raise BadRequestError("not an answer to read-test-write")
    return ReadTestWriteResult(
        success, {_share_number(n): [_bytes(d) for d in _list(value)] for n, value in shares.items()}
    )


def _share_vectors(value: object) -> ShareVectors:
    share = _map(value, ("test", "write", "new-length"))
    tests = [_map(t, ("offset", "size", "specimen")) for t in _list(share["test"], TESTS_MAX)]
    writes = [_map(w, ("offset", "data")) for w in _list(share["write"])]
    new_length = share["new-length"]
    return ShareVectors(
        [TestVector(_uint(t["offset"]), _uint(t["size"]), _octets(t["specimen"])) for t in tests],
        [WriteVector(_uint(w["offset"]), _octets(w["data"])) for w in writes],
        None if new_length is None else _uint(new_length),
    )


# -- checks of decoded items


def _item(data: bytes, leave: cbor.Leave | None = None) -> object:
    try:
        return cbor.decode(data, leave=leave)
    except cbor.MalformedCborError as error:
        raise BadRequestError(f"malformed CBOR: {error}") from None


def _map(value: object, keys: tuple[str | bytes, ...]) -> dict[str | bytes, object]:
    """Return a map that has exactly these keys."""
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise BadRequestError("a map whose keys are not the ones of this message")
    return cast("dict[str | bytes, object]", value)


def _list(value: object, length_max: int | None = None) -> list[object]:
    if not isinstance(value, list) or (length_max is not None and len(value) > length_max):
        raise BadRequestError("not an array, or one that is too long")
    return value


def _uint(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= UINT_MAX:
        raise BadRequestError("not an unsigned number in range")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise BadRequestError("not a byte string")
    return value


def _octets(value: object) -> bytes | BytesElsewhere:
    """Return a byte string, or what stands for one: whatever is no other item."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, int | str | list | dict | cbor.TaggedSet):
        raise BadRequestError("not a byte string")
    return cast("BytesElsewhere", value)


def _share_number(value: object) -> int:
    number = _uint(value)
    if number >= MAX_BUCKETS:
        raise BadRequestError(f"share numbers lie below {MAX_BUCKETS}")
    return number


def _share_set(value: object) -> frozenset[int]:
    if not isinstance(value, cbor.TaggedSet) or len(value.items) > MAX_BUCKETS:
        raise BadRequestError(f"not a set of at most {MAX_BUCKETS} share numbers")
    return frozenset(_share_number(item) for item in value.items)


def _set(numbers: Collection[int]) -> cbor2.CBORTag:
    return cbor2.CBORTag(cbor.SET_TAG, sorted(numbers))
