"""CBOR of which each value has one form only: what is hashed or signed.

Source: RFC 8949, section 4.2.1; docs/spec/control-and-introducer.md, section 3.4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

from holdfast.formats import cbor
from holdfast.formats.cbor import DEPTH_MAX, SET_TAG, MalformedCborError, TaggedSet

_INTEGER_END = 2**64
_SHORTER_FLOATS = ((b"\xf9", ">e"), (b"\xfa", ">f"))
_NAN = b"\xf9\x7e\x00"
_FALSE, _TRUE, _NULL = b"\xf4", b"\xf5", b"\xf6"


def encode(value: object, *, floats: bool = False) -> bytes:
    """Return the encoding of int, bytes, str, list, tuple, map, bool, None, TaggedSet, and what they hold.

    Args:
        floats: numbers with a fraction are allowed.

    Raises:
        ValueError: another kind of value, a number beyond 64 bits, nesting that no reader takes.
    """
    pieces: list[bytes] = []
    _encode(value, pieces, 0, floats)
    return b"".join(pieces)


def decode(data: bytes, *, size_max: int, floats: bool = False) -> object:
    """Return the one item in ``data``, as ``cbor.decode`` does.

    Raises:
        MalformedCborError: more than ``size_max`` bytes, or not the bytes ``encode`` gives for the item.
    """
    if len(data) > size_max:
        raise MalformedCborError(f"more than {size_max} bytes")
    item = cbor.decode(data, floats=floats)
    if encode(item, floats=floats) != data:
        raise MalformedCborError("not the deterministic encoding")
    return item


def _encode(value: object, pieces: list[bytes], depth: int, floats: bool) -> None:
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep for CBOR")
    if value is None:
        pieces.append(_NULL)
    elif isinstance(value, bool):
        pieces.append(_TRUE if value else _FALSE)
    elif isinstance(value, int):
        pieces.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        pieces += (_head(2, len(data)), data)
    elif isinstance(value, str):
        data = value.encode("utf-8")
        pieces += (_head(3, len(data)), data)
    elif isinstance(value, list | tuple):
        pieces.append(_head(4, len(value)))
        for item in value:
            _encode(item, pieces, depth + 1, floats)
    elif isinstance(value, Mapping):
        _encode_map(value, pieces, depth, floats)
    elif isinstance(value, TaggedSet):
        pieces.append(_head(6, SET_TAG))
        _encode(value.items, pieces, depth + 1, floats)
    elif floats and isinstance(value, float):
        pieces.append(_float(value))
    else:
        raise ValueError(f"CBOR of this protocol holds no {type(value).__name__}")


def _encode_map(value: Mapping[object, object], pieces: list[bytes], depth: int, floats: bool) -> None:
    pieces.append(_head(5, len(value)))
    entries: list[tuple[bytes, object]] = []
    for key, item in value.items():
        if not isinstance(key, int | bytes | str) or isinstance(key, bool):
            raise ValueError("a key of a map is a number, bytes or text")
        entries.append((encode(key), item))
    for encoded, item in sorted(entries, key=lambda entry: entry[0]):
        pieces.append(encoded)
        _encode(item, pieces, depth + 1, floats)


def _float(value: float) -> bytes:
    """Return the shortest form that loses nothing."""
    if math.isnan(value):
        return _NAN
    for first, form in _SHORTER_FLOATS:
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return first + packed
    return b"\xfb" + struct.pack(">d", value)


def _head(major: int, argument: int) -> bytes:
    """Return the shortest first bytes of an item."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument >= _INTEGER_END:
        raise ValueError("a number beyond 64 bits")
    length_code = 0 if argument < 1 << 8 else 1 if argument < 1 << 16 else 2 if argument < 1 << 32 else 3
    return bytes((major << 5 | 24 + length_code,)) + argument.to_bytes(1 << length_code, "big")
