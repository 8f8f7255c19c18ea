"""Pages of a listing, with the proof that nothing between their ends is left out, added or changed.

A page covers the slots after one, up to and including another. Its witness leaves what lies
between to the page, and tells enough of the rest to compute the root.

Source: docs/spec/vdrive.md, section 8.6.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from holdfast.formats.vdrive.opening import NodeSource, Treatment, opened
from holdfast.formats.vdrive.tree import DEPTH_MAX, SLOT_SIZE, Leaf, roots_of
from holdfast.formats.vdrive.witness import (
    PAGE,
    BadWitnessError,
    OpenedLeaf,
    Place,
    Witness,
    ends,
    value,
)

LAST_SLOT: Final = b"\xff" * SLOT_SIZE
_BEFORE_ALL: Final = b""  # lower than any slot


def page_witness(source: NodeSource, after: bytes | None, end: bytes | None) -> Witness:
    """Return the witness of the page that holds all entries after one slot, up to and including another.

    None: from the first entry; to the last.
    """
    low = _BEFORE_ALL if after is None else after
    high = LAST_SLOT if end is None else end

    def rule(first: bytes, last: bytes, leaves: Sequence[Leaf]) -> Treatment:
        if last <= low or first > high:
            return Treatment.SHUT
        if leaves:  # they may all be of the page, though others of their subtree would not
            first, last = leaves[0][0], leaves[-1][0]
        return Treatment.PAGE if first > low and last <= high else Treatment.OPEN

    return opened(source, rule)


def check_page(
    witness: Witness, entries: Sequence[Leaf], *, after: bytes | None, next_: bytes | None, root: bytes
) -> None:
    """Make sure that a page has exactly the entries that there are after ``after``, up to ``next_``.

    Args:
        entries: slot and digest of those delivered, as they came.
        after: what was asked for; None for the first page.
        next_: what the server says; None if the page reaches to the end.
        root: value of the whole tree, from a head that is verified.

    Raises:
        BadWitnessError: it has not.
    """
    low = _BEFORE_ALL if after is None else after
    high = LAST_SLOT if next_ is None else next_
    slots = [slot for slot, _ in entries]
    _check_order(slots, low, high)
    if next_ is not None and (not slots or slots[-1] != next_):
        raise BadWitnessError("a page does not end where its server says")
    shares = _shares(witness, slots, low, high)
    values = roots_of([(place.depth, entries[begin:end]) for place, begin, end in shares])
    pages = {place: computed for (place, _, _), computed in zip(shares, values, strict=True)}
    if value(witness, pages) != root:
        raise BadWitnessError("a page is not that of the signed state")


def _check_order(slots: Sequence[bytes], low: bytes, high: bytes) -> None:
    if slots and (slots[0] <= low or slots[-1] > high):
        raise BadWitnessError("a page has entries that do not belong there")
    if any(slot >= following for slot, following in pairwise(slots)):
        raise BadWitnessError("the entries of a page do not ascend")


def _shares(
    witness: Witness, slots: Sequence[bytes], low: bytes, high: bytes
) -> list[tuple[Place, int, int]]:
    """Return the subtrees that are left to the page, and which of its entries each has."""
    shares: list[tuple[Place, int, int]] = []
    used = 0
    for place, node in ends(witness):
        if node is None:
            continue
        if isinstance(node, OpenedLeaf):
            if low < node.slot <= high:
                raise BadWitnessError("a page lacks an entry")
            continue
        first, last = _range(place)
        if node is not PAGE:
            if last > low and first <= high:
                raise BadWitnessError("part of a page is not shown")
            continue
        begin, end = bisect_left(slots, first), bisect_right(slots, last)
        if begin != used or end == begin:
            raise BadWitnessError("a subtree of a page has no entries, or entries have no subtree")
        shares.append((place, begin, end))
        used = end
    if used != len(slots):
        raise BadWitnessError("entries of a page have no subtree")
    return shares


def _range(place: Place) -> tuple[bytes, bytes]:
    """Return the first and the last slot of a subtree."""
    free = DEPTH_MAX - place.depth
    first = place.bits << free
    return first.to_bytes(SLOT_SIZE, "big"), (first | (1 << free) - 1).to_bytes(SLOT_SIZE, "big")
