"""The tree over the entries of a directory, whose root the writers sign.

It is a binary trie over the slots, in which a lone leaf stands as high as it can. So its
shape, and with it the value of every subtree, depends on the entries alone. Many values
are computed at once, all of one depth together.

Source: docs/spec/vdrive.md, section 6.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, TypeAlias

from holdfast.crypto import kernel
from holdfast.crypto.hashing import tagged_hash

SLOT_SIZE: Final = 32  # bytes
DIGEST_SIZE: Final = 32  # bytes, of an entry
DEPTH_MAX: Final = 8 * SLOT_SIZE
NODE_SIZE: Final = 33  # bytes: the kind and a hash
LEAF_KIND: Final = b"\x01"
INNER_KIND: Final = b"\x02"
EMPTY: Final = bytes(NODE_SIZE)
"""Value of a subtree without entries."""

_LEAF_TAG: Final = b"holdfast:vdrive:v1:leaf"
_INNER_TAG: Final = b"holdfast:vdrive:v1:inner"

Leaf: TypeAlias = tuple[bytes, bytes]
"""Slot and digest of an entry, 32 bytes each."""


def leaf_value(slot: bytes, digest: bytes) -> bytes:
    """Return the value of a subtree with one entry, 33 bytes."""
    return LEAF_KIND + tagged_hash(_LEAF_TAG, slot + digest)


def inner_value(zero: bytes, one: bytes) -> bytes:
    """Return the value of a subtree with more entries: of the values of its halves, 33 bytes each."""
    return INNER_KIND + tagged_hash(_INNER_TAG, zero + one)


def leaf_values(leaves: Sequence[Leaf]) -> list[bytes]:
    """Return ``leaf_value`` of each."""
    return [LEAF_KIND + found for found in kernel.hash_many(_LEAF_TAG, [b"".join(leaf) for leaf in leaves])]


def inner_values(halves: Sequence[bytes]) -> list[bytes]:
    """Return ``inner_value`` of each pair of halves, which are joined already, 66 bytes."""
    return [INNER_KIND + found for found in kernel.hash_many(_INNER_TAG, halves)]


def bit(slot: bytes, depth: int) -> int:
    """Return the bit of a slot that decides at ``depth``, the most significant of the first byte at 0."""
    return slot[depth >> 3] >> (7 - (depth & 7)) & 1


def half(prefix: bytes, depth: int, one: int) -> bytes:
    """Return the prefix of one half of the subtree that ``prefix`` names at ``depth``.

    A prefix has 32 bytes: ``depth`` bits, then zeros. So it is also the first slot of its subtree.
    """
    if not one:
        return prefix
    place = depth >> 3
    return prefix[:place] + bytes((prefix[place] | 0x80 >> (depth & 7),)) + prefix[place + 1 :]


def last_slot(prefix: bytes, depth: int) -> bytes:
    """Return the last slot of the subtree that ``prefix`` names at ``depth``."""
    ones = (1 << DEPTH_MAX - depth) - 1
    return (int.from_bytes(prefix, "big") | ones).to_bytes(SLOT_SIZE, "big")


def root_of(leaves: Sequence[Leaf], depth: int = 0) -> bytes:
    """Return the value of the subtree at ``depth`` that holds these entries, in ascending order of slots.

    Raises:
        ValueError: slots do not ascend, or do not all share their first ``depth`` bits.
    """
    return roots_of([(depth, leaves)])[0]


def roots_of(subtrees: Sequence[tuple[int, Sequence[Leaf]]]) -> list[bytes]:
    """Return the value of each subtree, given by its depth and its entries, as ``root_of`` does."""
    folding = _Folding()
    starts = [folding.add(depth, leaves) if leaves else None for depth, leaves in subtrees]
    values = folding.run()
    return [EMPTY if start is None else values[start] for start in starts]


class _Folding:
    """Computes the values of some subtrees, from the deepest nodes up.

    Entries have numbers, and a subtree has the number of its first entry. Neighbours join at the depth of the
    first bit in which they differ; above it, what was joined rises alone, beside an empty half.
    """

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self._joins: defaultdict[int, list[int]] = defaultdict(list)  # depth -> the right ones
        self._tops: defaultdict[int, list[int]] = defaultdict(list)  # depth -> subtrees that end here

    def add(self, depth: int, leaves: Sequence[Leaf]) -> int:
        """Return the number of the subtree."""
        start = len(self._leaves)
        self._leaves += leaves
        if len(leaves) == 1:
            return start
        self._tops[depth].append(start)
        numbers = [int.from_bytes(slot, "big") for slot, _ in leaves]
        previous = numbers[0]
        joins = self._joins
        for right, number in enumerate(numbers[1:], start + 1):
            if number <= previous:
                raise ValueError("slots do not ascend")
            joins[DEPTH_MAX - (number ^ previous).bit_length()].append(right)
            previous = number
        if (numbers[0] ^ previous).bit_length() > DEPTH_MAX - depth:
            raise ValueError("slots do not belong to one subtree")
        return start

    def run(self) -> list[bytes]:
        """Return values by number."""
        values = leaf_values(self._leaves)
        first = list(range(len(values)))  # of the subtree whose last entry this is
        last = first.copy()  # of the subtree whose first entry this is
        rising: set[int] = set()
        for depth in range(max(self._joins, default=-1), -1, -1):
            joined: list[int] = []
            halves: list[bytes] = []
            for right in self._joins.get(depth, ()):
                left, end = first[right - 1], last[right]
                first[end], last[left] = left, end
                rising.discard(left)
                rising.discard(right)
                joined.append(left)
                halves.append(values[left] + values[right])
            for number in rising:
                value = values[number]
                halves.append(EMPTY + value if bit(self._leaves[number][0], depth) else value + EMPTY)
            rising_here = (*joined, *rising)
            for number, value in zip(rising_here, inner_values(halves), strict=True):
                values[number] = value
            rising = set(rising_here).difference(self._tops.get(depth, ()))
        return values
