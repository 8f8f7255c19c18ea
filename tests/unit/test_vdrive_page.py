"""A page has exactly the entries between its ends, or is refused; and so are changes that are not so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.hashing import tagged_hash
from holdfast.formats.vdrive import changes, tree, witness
from holdfast.formats.vdrive.opening import witness_of
from holdfast.formats.vdrive.page import LAST_SLOT, check_page, page_witness
from holdfast.formats.vdrive.tree import Leaf, root_of
from holdfast.formats.vdrive.witness import PAGE, BadWitnessError, OpenedLeaf, OpenedNode, Witness
from holdfast.testing.vdrive_tree import MemoryTree

# Slots that share anything from no bit to all but the last ones, and some as a server has them.
NEAR = st.builds(
    lambda size, head, byte: (head * size + bytes((byte,)) + head * 31)[:32],
    st.integers(0, 31),
    st.sampled_from((b"\x00", b"\xff", b"\x5a")),
    st.integers(0, 255),
)
FAR = st.integers(0, 1000).map(lambda number: tagged_hash(b"slot", b"%d" % number))
SLOTS = NEAR | FAR
DIGESTS = st.integers(0, 255).map(lambda number: bytes((number,)) * 32)
ENTRIES = st.dictionaries(SLOTS, DIGESTS, max_size=30)
KEPT_ABOVE = st.sampled_from((1, 3, 64))
BORDERS = st.none() | SLOTS | st.sampled_from((bytes(32), LAST_SLOT))

LIST = {tagged_hash(b"slot", bytes((number,))): bytes((number,)) * 32 for number in range(24)}
LIST[bytes(32)] = LIST[LAST_SLOT] = b"e" * 32
LIST[LAST_SLOT[:31] + b"\xfe"] = LIST[bytes(31) + b"\x01"] = b"n" * 32
LEAVES = sorted(LIST.items())
ROOT = root_of(LEAVES)


def part(leaves: Sequence[Leaf], after: bytes | None, end: bytes | None) -> list[Leaf]:
    return [leaf for leaf in leaves if (after is None or leaf[0] > after) and (end is None or leaf[0] <= end)]


# -- pages


@given(ENTRIES, BORDERS, st.integers(1, 8), KEPT_ABOVE)
def test_pages_of_any_place_and_length_hold(
    entries: dict[bytes, bytes], after: bytes | None, limit: int, kept_above: int
) -> None:
    leaves = sorted(entries.items())
    source = MemoryTree(entries, kept_above)
    rest = part(leaves, after, None)
    delivered = rest[:limit]
    next_ = delivered[-1][0] if len(rest) > limit else None

    found = page_witness(source, after, next_)

    check_page(found, delivered, after=after, next_=next_, root=source.root)


def pages(limit: int, kept_above: int) -> list[tuple[bytes | None, list[Leaf], bytes | None, Witness]]:
    source = MemoryTree(LIST, kept_above)
    found: list[tuple[bytes | None, list[Leaf], bytes | None, Witness]] = []
    for begin in range(0, len(LEAVES), limit):
        after = LEAVES[begin - 1][0] if begin else None
        delivered = LEAVES[begin : begin + limit]
        next_ = delivered[-1][0] if begin + limit < len(LEAVES) else None
        found.append((after, delivered, next_, page_witness(source, after, next_)))
    return found


LIMITS = (1, 2, 3, 5, 8, 13, len(LEAVES) - 1, len(LEAVES))


@pytest.mark.parametrize("limit", LIMITS)
def test_pages_together_are_the_listing(limit: int) -> None:
    for kept_above in (1, 4):
        listed: list[Leaf] = []
        for after, delivered, next_, found in pages(limit, kept_above):
            check_page(found, delivered, after=after, next_=next_, root=ROOT)
            listed += delivered
        assert listed == LEAVES


def dropped(leaves: list[Leaf], position: int) -> list[Leaf]:
    return leaves[:position] + leaves[position + 1 :]


def altered(leaves: list[Leaf], position: int) -> list[Leaf]:
    slot, digest = leaves[position]
    return [*leaves[:position], (slot, bytes((digest[0] ^ 1,)) + digest[1:]), *leaves[position + 1 :]]


def moved(leaves: list[Leaf], position: int) -> list[Leaf]:
    slot, digest = leaves[position]
    near = slot[:31] + bytes((slot[31] ^ 1,))
    return [*leaves[:position], (near, digest), *leaves[position + 1 :]]


def added(leaves: list[Leaf], position: int) -> list[Leaf]:
    slot, digest = leaves[position]
    return sorted([*leaves, (slot[:31] + bytes((slot[31] ^ 2,)), digest)])


def doubled(leaves: list[Leaf], position: int) -> list[Leaf]:
    return [*leaves[: position + 1], *leaves[position:]]


def swapped(leaves: list[Leaf], position: int) -> list[Leaf]:
    other = (position + 1) % len(leaves)
    swap = leaves.copy()
    swap[position], swap[other] = leaves[other], leaves[position]
    return swap


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("change", [dropped, altered, moved, added, doubled, swapped])
def test_no_entry_of_a_page_can_be_tampered_with(
    change: Callable[[list[Leaf], int], list[Leaf]], limit: int
) -> None:
    """V-04."""
    for after, delivered, next_, found in pages(limit, 4):
        for position in range(len(delivered)):
            bad = change(delivered, position)
            if bad == delivered:  # one entry, exchanged with itself
                continue
            ends = {next_, bad[-1][0] if bad and next_ is not None else next_}
            for claimed in ends:
                with pytest.raises(BadWitnessError):
                    check_page(found, bad, after=after, next_=claimed, root=ROOT)


@pytest.mark.parametrize("limit", LIMITS)
def test_pages_of_another_place_do_not_pass(limit: int) -> None:
    proofs = pages(limit, 4)
    for number, (after, delivered, next_, _) in enumerate(proofs):
        for other, (_, others, other_next, found) in enumerate(proofs):
            if other != number:
                with pytest.raises(BadWitnessError):
                    check_page(found, delivered, after=after, next_=next_, root=ROOT)
                with pytest.raises(BadWitnessError):
                    check_page(found, others, after=after, next_=other_next, root=ROOT)


@pytest.mark.parametrize("limit", LIMITS)
def test_holes_between_pages_and_early_ends_are_noticed(limit: int) -> None:
    """A server that skips entries has to prove that they are not there."""
    source = MemoryTree(LIST, 4)
    for after, delivered, next_, found in pages(limit, 4):
        if next_ is not None:
            with pytest.raises(BadWitnessError):  # it says that this was all
                check_page(found, delivered, after=after, next_=None, root=ROOT)
        if len(delivered) > 1:
            late = page_witness(source, delivered[0][0], next_)
            with pytest.raises(BadWitnessError):  # it begins later than was asked for
                check_page(late, delivered[1:], after=after, next_=next_, root=ROOT)
            early = page_witness(source, after, delivered[-2][0])
            with pytest.raises(BadWitnessError):  # it ends earlier than it says
                check_page(early, delivered[:-1], after=after, next_=next_, root=ROOT)
        with pytest.raises(BadWitnessError):
            check_page(found, delivered, after=after, next_=next_, root=b"\x02" + bytes(32))


@given(ENTRIES, BORDERS, st.integers(0, 8), st.data())
def test_a_page_that_passes_is_the_one_there_is(
    entries: dict[bytes, bytes], after: bytes | None, limit: int, data: st.DataObject
) -> None:
    leaves = sorted(entries.items())
    source = MemoryTree(entries, 3)
    borders = sorted({*entries, *data.draw(st.lists(SLOTS, max_size=3))})
    low, high = (data.draw(st.none() | st.sampled_from(borders)) if borders else None for _ in range(2))
    found = page_witness(source, low, high)
    claimed = data.draw(st.just(part(leaves, after, None)[:limit]) | st.just(part(leaves, low, high)))
    next_ = data.draw(st.sampled_from((None, claimed[-1][0]))) if claimed else None

    try:
        check_page(found, claimed, after=after, next_=next_, root=source.root)
    except BadWitnessError:
        return
    assert claimed == part(leaves, after, next_)


def test_an_empty_directory_has_an_empty_page() -> None:
    check_page(None, [], after=None, next_=None, root=tree.EMPTY)
    with pytest.raises(BadWitnessError):
        check_page(PAGE, [], after=None, next_=None, root=tree.EMPTY)
    with pytest.raises(BadWitnessError):
        check_page(None, [], after=None, next_=LEAVES[0][0], root=tree.EMPTY)


def test_a_whole_directory_is_one_subtree_of_its_page() -> None:
    assert page_witness(MemoryTree(LIST, 4), None, None) is PAGE
    check_page(PAGE, LEAVES, after=None, next_=None, root=ROOT)


def test_a_lone_leaf_beside_a_page_is_opened() -> None:
    beside, inside = bytes(32), LAST_SLOT
    source = MemoryTree({beside: b"b" * 32, inside: b"i" * 32}, 4)
    middle = b"\x10" + bytes(31)

    found = page_witness(source, middle, None)

    assert found == OpenedNode(OpenedLeaf(beside, b"b" * 32), PAGE)
    check_page(found, [(inside, b"i" * 32)], after=middle, next_=None, root=source.root)
    opened = OpenedNode(OpenedLeaf(beside, b"b" * 32), OpenedLeaf(inside, b"i" * 32))
    assert witness.value(opened) == source.root
    with pytest.raises(BadWitnessError):  # shown in the tree, but not delivered
        check_page(opened, [], after=middle, next_=None, root=source.root)
    shut = OpenedNode(tree.leaf_value(beside, b"b" * 32), PAGE)
    with pytest.raises(BadWitnessError):  # it might be one of the page
        check_page(shut, [(inside, b"i" * 32)], after=middle, next_=None, root=source.root)


def test_subtrees_of_a_page_without_entries_are_refused() -> None:
    only = b"\x40" + bytes(31)
    leaves = [(only, b"o" * 32), (LAST_SLOT, b"l" * 32)]
    root = root_of(leaves)

    check_page(OpenedNode(PAGE, PAGE), leaves, after=None, next_=None, root=root)
    nothing = OpenedNode(OpenedNode(PAGE, PAGE), PAGE)
    with pytest.raises(BadWitnessError, match="no entries"):
        check_page(nothing, leaves, after=None, next_=None, root=root)


# -- changes (V-31)


def difference(before: dict[bytes, bytes], now: dict[bytes, bytes]) -> tuple[list[Leaf], list[bytes]]:
    written = sorted((slot, digest) for slot, digest in now.items() if before.get(slot) != digest)
    return written, sorted(before.keys() - now.keys())


@given(ENTRIES, ENTRIES, st.integers(1, 6), KEPT_ABOVE)
def test_changes_lead_from_one_listing_to_the_other(
    before: dict[bytes, bytes], now: dict[bytes, bytes], limit: int, kept_above: int
) -> None:
    source = MemoryTree(now, kept_above)
    written, deleted = difference(before, now)
    told = sorted([*(slot for slot, _ in written), *deleted])
    after: bytes | None = None
    for begin in range(0, len(told) or 1, limit):
        slots = told[begin : begin + limit]
        next_ = slots[-1] if begin + limit < len(told) else None
        changes.check_changes(
            witness_of(source, slots),
            [leaf for leaf in written if leaf[0] in slots],
            [slot for slot in deleted if slot in slots],
            after=after,
            next_=next_,
            root=source.root,
        )
        after = next_

    assert changes.changed(before, written, deleted, source.root) == now


@given(ENTRIES, ENTRIES, st.data())
def test_an_omitted_change_is_noticed(
    before: dict[bytes, bytes], now: dict[bytes, bytes], data: st.DataObject
) -> None:
    written, deleted = difference(before, now)
    if not written and not deleted:
        return
    missing = data.draw(st.sampled_from([*(slot for slot, _ in written), *deleted]))

    with pytest.raises(BadWitnessError, match="left out"):
        changes.changed(
            before,
            [leaf for leaf in written if leaf[0] != missing],
            [slot for slot in deleted if slot != missing],
            root_of(sorted(now.items())),
        )


WRITTEN, GONE = LEAVES[2:5], sorted(tagged_hash(b"slot", name) for name in (b"gone", b"too"))
TOLD = sorted([*(slot for slot, _ in WRITTEN), *GONE])


@pytest.mark.parametrize(
    ("written", "deleted", "after", "next_"),
    [
        (altered(WRITTEN, 1), GONE, None, None),
        (WRITTEN, [*GONE, WRITTEN[0][0]], None, None),
        (WRITTEN[1:], sorted([*GONE, WRITTEN[0][0]]), None, None),
        ([*WRITTEN, (GONE[0], bytes(32))], GONE[1:], None, None),
        (sorted([*WRITTEN, (GONE[0], bytes(32))]), [], None, None),
        (doubled(WRITTEN, 0), GONE, None, None),
        (swapped(WRITTEN, 0), GONE, None, None),
        (WRITTEN, sorted(GONE, reverse=True), None, None),
        (WRITTEN, sorted([*GONE, GONE[0]]), None, None),
        (WRITTEN, GONE, TOLD[0], None),
        (WRITTEN, GONE, None, TOLD[-2]),
        (WRITTEN, GONE, None, LAST_SLOT),
        ([], [], None, LAST_SLOT),
        (LEAVES[:1], [], None, None),
    ],
)
def test_changes_that_are_not_so_are_refused(
    written: list[Leaf], deleted: list[bytes], after: bytes | None, next_: bytes | None
) -> None:
    found = witness_of(MemoryTree(LIST, 4), TOLD)
    changes.check_changes(found, WRITTEN, GONE, after=None, next_=None, root=ROOT)
    changes.check_changes(found, WRITTEN, GONE, after=bytes(32), next_=TOLD[-1], root=ROOT)

    with pytest.raises(BadWitnessError):
        changes.check_changes(found, written, deleted, after=after, next_=next_, root=ROOT)
    with pytest.raises(BadWitnessError):
        changes.check_changes(found, WRITTEN, GONE, after=None, next_=None, root=tree.EMPTY)
