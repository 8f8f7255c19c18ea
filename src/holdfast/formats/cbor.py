"""A strict reader of the CBOR that messages consist of, and some stored values.

General decoders forgive what these must refuse: duplicate keys, trailing bytes, floats, bignums,
foreign tags, deep nesting. Each byte string is copied once, when it is taken out of the message, or
left where it is, if the message is too large for that.

Source: docs/spec/storage-protocol.md, section 6.2; RFC 8949.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DEPTH_MAX = 16
ITEMS_MAX = 250_000  # of one message: each may cost a hundred times its bytes in memory
SET_TAG = 258
LEFT_FROM = 64  # bytes of a string that stays where it is

Leave = Callable[[Sequence[tuple[int, int]]], object]
"""Makes what stands for a byte string, of where its parts lie in the data: begin and end of each."""


class MalformedCborError(ValueError):
    """The bytes are not one item of the CBOR this protocol allows."""


class CborCutOffError(MalformedCborError):
    """The bytes end before the item does."""


@dataclass(frozen=True, slots=True)
class TaggedSet:
    """The array behind tag 258."""

    items: list[object]


def decode(
    data: bytes,
    *,
    depth_max: int = DEPTH_MAX,
    items_max: int = ITEMS_MAX,
    floats: bool = False,
    leave: Leave | None = None,
) -> object:
    """Return the one item in ``data``: int, bytes, str, list, dict, bool, None or TaggedSet.

    Args:
        depth_max: how deep items may be nested; a few hundred at most, for each level costs two calls.

        floats: numbers with a fraction are allowed.

        leave: takes the place of every byte string of ``LEFT_FROM`` bytes or more; text of that length is
            refused. So the memory that is needed follows from ``items_max``, however long ``data`` is.

    Raises:
        MalformedCborError: anything this protocol does not allow.
    """
    reader = _Reader(data, depth_max, items_max, floats, leave)
    item = reader.item(0)
    if reader.position != len(data):
        raise MalformedCborError("bytes follow the item")
    return item


def decode_first(data: bytes, offset: int) -> tuple[object, int]:
    """Return the item at ``offset``, as ``decode`` does, and the offset behind it.

    Raises:
        CborCutOffError: more bytes might make it right.
        MalformedCborError: anything this protocol does not allow.
    """
    reader = _Reader(data, DEPTH_MAX, ITEMS_MAX, floats=False)
    reader.position = offset
    return reader.item(0), reader.position


_BREAK_BYTE = 0xFF
_BYTES_8_BIT, _BYTES_16_BIT = 0x58, 0x59  # first bytes of byte strings: how the length follows
_TEXT_1_BYTE, _TEXT_8_BIT = 0x61, 0x78  # first bytes of texts: of one byte; with the length in the next one
_NUMBERS_END = 24  # first bytes below are the number itself
_BREAK = object()
_SIMPLE = {20: False, 21: True, 22: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


class _Reader:
    def __init__(
        self, data: bytes, depth_max: int, items_max: int, floats: bool, leave: Leave | None = None
    ) -> None:
        self._data = data
        self._depth_max = depth_max
        self._items_max = items_max
        self._floats = floats
        self._leave = leave
        self.position = 0
        self._items = 0

    def item(self, depth: int, *, break_allowed: bool = False) -> object:
        if depth > self._depth_max:
            raise MalformedCborError("nested too deep")
        if self.position >= len(self._data):
            raise CborCutOffError("cut off")
        first = self._data[self.position]
        self.position += 1
        if first < _NUMBERS_END:
            return first
        major, info = first >> 5, first & 31
        if first == _BREAK_BYTE and break_allowed:
            return _BREAK
        if info == 31 and major in (2, 3, 4, 5):
            return self._indefinite(major, depth)
        if self._floats and major == 7 and info in _FLOATS:
            (number,) = struct.unpack(_FLOATS[info], self._take(1 << (info - 24)))
            return number
        argument = self._argument(info)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._take(argument) if self._leave is None else self._left([self._skip(argument)])
        if major == 3:
            self._check_text(argument)
            return _text(self._take(argument))
        if major == 4:
            return self._array(self._count(argument), depth)
        if major == 5:
            return self._map(self._count(argument), depth)
        if major == 6:
            return self._tagged(argument, depth)
        if info < 24 and argument in _SIMPLE:
            return _SIMPLE[argument]
        raise MalformedCborError("a float or an unknown simple value")

    def _count_items(self, count: int) -> None:
        self._items += count
        if self._items > self._items_max:
            raise MalformedCborError("too many items")

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise MalformedCborError("a reserved length")
        begin = self.position
        self.position = end = begin + (1 << info - 24)
        if end > len(self._data):
            raise CborCutOffError("cut off")
        return int.from_bytes(self._data[begin:end], "big")

    def _count(self, count: int) -> int:
        """Return a number of items that the rest of the data can hold; each takes a byte at least."""
        if count > len(self._data) - self.position:
            raise CborCutOffError("cut off")
        return count

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise CborCutOffError("cut off")
        piece = self._data[self.position : end]
        self.position = end
        return piece

    def _skip(self, size: int) -> tuple[int, int]:
        """Return where the next ``size`` bytes lie."""
        begin, end = self.position, self.position + size
        if end > len(self._data):
            raise CborCutOffError("cut off")
        self.position = end
        return begin, end

    def _left(self, parts: Sequence[tuple[int, int]]) -> object:
        """Return the byte string that consists of ``parts``, or what stands for it."""
        assert self._leave is not None
        if sum(end - begin for begin, end in parts) >= LEFT_FROM:
            return self._leave(parts)
        return b"".join([self._data[begin:end] for begin, end in parts if begin < end])

    def _check_text(self, size: int) -> None:
        if self._leave is not None and size >= LEFT_FROM:
            raise MalformedCborError("a text that is too long")

    def _array(self, count: int, depth: int) -> list[object]:
        """Return the items of an array. Long ones consist of byte strings and small numbers, read here."""
        if count and depth >= self._depth_max:
            raise MalformedCborError("nested too deep")
        self._count_items(count)
        if self._leave is not None:
            return [self.item(depth + 1) for _ in range(count)]
        data, size, position = self._data, len(self._data), self.position
        items: list[object] = []
        for _ in range(count):
            first = data[position] if position < size else _BREAK_BYTE
            if first < _NUMBERS_END:
                position += 1
                items.append(first)
                continue
            if first == _BYTES_8_BIT and position + 1 < size:
                begin = position + 2
                position = begin + data[position + 1]
            elif first == _BYTES_16_BIT and position + 2 < size:
                begin = position + 3
                position = begin + (data[position + 1] << 8 | data[position + 2])
            else:
                self.position = position
                items.append(self.item(depth + 1))
                position = self.position
                continue
            if position > size:
                raise CborCutOffError("cut off")
            items.append(data[begin:position])
        self.position = position
        return items

    def _map(self, count: int | None, depth: int) -> dict[object, object]:
        result: dict[object, object] = {}
        while count is None or len(result) < count:
            self._count_items(2)
            key = self._short_text() or self.item(depth + 1, break_allowed=count is None)
            if key is _BREAK:
                break
            if not isinstance(key, str | int | bytes) or isinstance(key, bool):
                raise MalformedCborError("a key of another kind")
            if key in result:
                raise MalformedCborError("a key comes twice")
            result[key] = self.item(depth + 1)
        return result

    def _short_text(self) -> str | None:
        """Return the text that comes next, if it is one of the short words that keys are made of."""
        data, begin = self._data, self.position + 1
        first = data[begin - 1] if begin <= len(data) else _BREAK_BYTE
        if not _TEXT_1_BYTE <= first < _TEXT_8_BIT:
            return None
        end = begin + first - _TEXT_1_BYTE + 1
        word = data[begin:end]
        if end > len(data) or not word.isascii():
            return None
        self.position = end
        return word.decode("ascii")

    def _tagged(self, tag: int, depth: int) -> TaggedSet:
        self._count_items(1)
        item = self.item(depth + 1)
        if tag != SET_TAG or not isinstance(item, list):
            raise MalformedCborError("a tag that is not a set's")
        return TaggedSet(item)

    def _indefinite(self, major: int, depth: int) -> object:
        if major == 5:
            return self._map(None, depth)
        if major == 2 and self._leave is not None:
            return self._left(self._parts())
        if major != 4:
            pieces = self._pieces(major)
            return pieces if major == 2 else _text(pieces)
        items: list[object] = []
        while (item := self.item(depth + 1, break_allowed=True)) is not _BREAK:
            self._count_items(1)
            items.append(item)
        return items

    def _pieces(self, major: int) -> bytes:
        """Return a string of indefinite length: definite ones of the same kind, joined."""
        pieces: list[bytes] = []
        size = 0
        while (length := self._piece_length(major)) is not None:
            size += length
            if major == 3:
                self._check_text(size)
            piece = self._take(length)
            if major == 3:
                _text(piece)  # no character may be cut
            pieces.append(piece)
        return b"".join(pieces)

    def _parts(self) -> list[tuple[int, int]]:
        """Return where the pieces of a byte string of indefinite length lie."""
        parts = []
        while (length := self._piece_length(2)) is not None:
            parts.append(self._skip(length))
        return parts

    def _piece_length(self, major: int) -> int | None:
        """Return the length of the next piece of a string of indefinite length; None behind the last."""
        first = self._take(1)[0]
        if first == _BREAK_BYTE:
            return None
        if first >> 5 != major:
            raise MalformedCborError("a string in pieces of another kind")
        self._count_items(1)
        return self._argument(first & 31)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedCborError("text that is not UTF-8") from None
