"""What a row of ``vd_node`` says: the subtrees four levels below one that holds many entries.

A row stands for each subtree that begins at a depth divisible by four and holds more than
``SMALL_MAX`` entries; it is named by the hexadecimal digits that its slots begin with. So it has
one part for each next digit, and of a tree of a million entries four rows lead to any slot.

Source: docs/spec/vdrive.md, section 11.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.formats.vdrive.tree import EMPTY, INNER_KIND, NODE_SIZE, inner_values

SMALL_MAX: Final = 64  # entries of a subtree that has no row
DIGIT_BITS: Final = 4
FANOUT: Final = 1 << DIGIT_BITS
DIGITS: Final = "0123456789abcdef"

_COUNT_SIZE = 4
_PART_SIZE = NODE_SIZE + _COUNT_SIZE
_INNER = INNER_KIND[0]


class Node(NamedTuple):
    """A subtree: its value, 33 bytes, and the number of its entries."""

    value: bytes
    total: int

    @property
    def small(self) -> bool:
        """Whether it has no row."""
        return self.total <= SMALL_MAX


NOTHING: Final = Node(EMPTY, 0)


def pack(parts: Sequence[Node]) -> bytes:
    """Return the row of these 16 subtrees."""
    return b"".join([part.value + part.total.to_bytes(_COUNT_SIZE, "big") for part in parts])


def unpack(row: bytes) -> list[Node]:
    """Return the 16 subtrees of a row."""
    return [
        Node(
            row[start : start + NODE_SIZE], int.from_bytes(row[start + NODE_SIZE : start + _PART_SIZE], "big")
        )
        for start in range(0, FANOUT * _PART_SIZE, _PART_SIZE)
    ]


def nodes_above(rows: Sequence[Sequence[Node]]) -> list[Node]:
    """Return, of each row, the subtree that it stands for."""
    values = [part.value for parts in rows for part in parts]
    for _ in range(DIGIT_BITS):
        values = values_above(values)
    return [
        Node(value, sum([part.total for part in parts])) for value, parts in zip(values, rows, strict=True)
    ]


def values_above(values: Sequence[bytes]) -> list[bytes]:
    """Return the values of subtrees, given those of their halves one after the other."""
    above: list[bytes] = []
    inner: list[int] = []
    halves: list[bytes] = []
    for zero, one in zip(values[::2], values[1::2], strict=True):
        if zero == EMPTY and one[0] != _INNER:
            above.append(one)
        elif one == EMPTY and zero[0] != _INNER:
            above.append(zero)
        else:
            inner.append(len(above))
            above.append(EMPTY)
            halves.append(zero + one)
    for place, value in zip(inner, inner_values(halves), strict=True):
        above[place] = value
    return above
