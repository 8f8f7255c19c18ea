"""The tree over a directory's entries is that of the specification; a witness proves what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.hashing import tagged_hash
from holdfast.formats.vdrive import tree, witness
from holdfast.formats.vdrive.opening import witness_of
from holdfast.formats.vdrive.witness import (
    PAGE,
    BadWitnessError,
    InsufficientWitnessError,
    OpenedLeaf,
    OpenedNode,
    Place,
    Witness,
)
from holdfast.protocol.vdrive_items import tree_item
from holdfast.testing.vdrive_tree import MemoryTree

# Slots that share anything from no bit to all but the last ones, on both sides of many nodes.
SLOTS = st.builds(
    lambda size, head, byte, rest: (head * size + bytes((byte,)) + rest * 31)[:32],
    st.integers(0, 31),
    st.sampled_from((b"\x00", b"\xff", b"\x80", b"\x5a")),
    st.integers(0, 255),
    st.sampled_from((b"\x00", b"\xff", b"\x01")),
)
DIGESTS = st.integers(0, 255).map(lambda number: bytes((number,)) * 32)
ENTRIES = st.dictionaries(SLOTS, DIGESTS, max_size=40)
KEPT_ABOVE = st.sampled_from((1, 2, 5, 64))


def reference_value(entries: Sequence[tuple[bytes, bytes]], depth: int = 0) -> bytes:
    """Section 6.2, word for word."""
    if not entries:
        return bytes(33)
    if len(entries) == 1:
        return b"\x01" + tagged_hash(b"holdfast:vdrive:v1:leaf", entries[0][0] + entries[0][1])
    halves: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
    for entry in entries:
        halves[entry[0][depth // 8] >> 7 - depth % 8 & 1].append(entry)
    values = [reference_value(half, depth + 1) for half in halves]
    return b"\x02" + tagged_hash(b"holdfast:vdrive:v1:inner", b"".join(values))


def root(entries: Mapping[bytes, bytes]) -> bytes:
    return tree.root_of(sorted(entries.items()))


# -- the tree


A, B, C = (bytes((first,)) + bytes(31) for first in (0x10, 0x18, 0xF0))
ENTRY = {A: b"\x01" * 32, B: b"\x02" * 32, C: b"\x03" * 32}


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ("", "00" * 33),
        ("A", "018f8dc108a42ae293a404ffc508b1f356a94fb18e77534ab1ffdaca7da1046f7f"),
        ("AC", "02e7dad3da8fd24d743131348d2f937f243917dedc7cacb89aa758f2bf80d0fc95"),
        ("AB", "02de015a71b8cb36809189472210a34761e918dbe96e964402073f846f21c5cd67"),
        ("ABC", "0231335cff3389aa093f6ccaa78f21ef8963e43f0726ed7327bdcf6ee4c16b7123"),
    ],
)
def test_roots_are_those_of_the_specification(slots: str, expected: str) -> None:
    chosen = {{"A": A, "B": B, "C": C}[slot] for slot in slots}

    assert root({slot: ENTRY[slot] for slot in chosen}).hex() == expected


def test_the_witness_is_that_of_the_specification() -> None:
    found = witness_of(MemoryTree(ENTRY), [B])

    assert cbor2.dumps(tree_item(found)).hex() == (
        "8302830283028302f683025821018f8dc108a42ae293a404ffc508b1f356a94fb18e77534ab1ffdaca7da1046f7f"
        "83015820180000000000000000000000000000000000000000000000000000000000000058200202020202020202"
        "020202020202020202020202020202020202020202020202f6f6582101edd5f3ea468bab10d33b51f9009518017d"
        "0df969927bf5d367d17b1c1ff33d32"
    )
    assert witness.value(witness.delete(found, B)).hex() == (
        "02e7dad3da8fd24d743131348d2f937f243917dedc7cacb89aa758f2bf80d0fc95"
    )


@given(ENTRIES)
def test_roots_follow_the_definition(entries: dict[bytes, bytes]) -> None:
    assert root(entries) == reference_value(sorted(entries.items()))


@given(ENTRIES, st.integers(0, 12))
def test_subtrees_have_values_of_their_own(entries: dict[bytes, bytes], depth: int) -> None:
    leaves = sorted(entries.items())
    groups: dict[int, list[tuple[bytes, bytes]]] = {}
    for leaf in leaves:
        groups.setdefault(int.from_bytes(leaf[0], "big") >> 256 - depth, []).append(leaf)
    subtrees = [*groups.values(), []]

    values = tree.roots_of([(depth, group) for group in subtrees])

    assert values == [reference_value(group, depth) for group in subtrees]


@pytest.mark.parametrize("slots", [(B, A), (A, A)])
def test_slots_that_do_not_ascend_have_no_root(slots: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        tree.root_of([(slot, ENTRY[slot]) for slot in slots])


def test_slots_of_two_subtrees_have_no_common_value() -> None:
    with pytest.raises(ValueError, match="one subtree"):
        tree.root_of([(A, ENTRY[A]), (C, ENTRY[C])], 1)


@given(SLOTS, st.integers(0, 255))
def test_halves_divide_the_slots_of_a_subtree(slot: bytes, depth: int) -> None:
    bits = int.from_bytes(slot, "big") >> 256 - depth << 256 - depth
    prefix = bits.to_bytes(32, "big")
    one = tree.half(prefix, depth, 1)

    assert tree.half(prefix, depth, 0) == prefix
    assert int.from_bytes(tree.last_slot(prefix, depth + 1), "big") + 1 == int.from_bytes(one, "big")
    assert tree.last_slot(one, depth + 1) == tree.last_slot(prefix, depth)
    assert (one <= slot) == (tree.bit(slot, depth) == 1)


# -- witnesses (V-02, V-03)


@given(ENTRIES, st.lists(SLOTS, max_size=10), KEPT_ABOVE, st.data())
def test_a_witness_tells_of_each_slot_asked_for(
    entries: dict[bytes, bytes], strangers: list[bytes], kept_above: int, data: st.DataObject
) -> None:
    known = data.draw(st.lists(st.sampled_from(sorted(entries)), max_size=10)) if entries else []
    asked = [*strangers, *known]

    found = witness_of(MemoryTree(entries, kept_above), asked)

    assert witness.value(found) == root(entries)
    for slot in asked:
        assert witness.lookup(found, slot) == entries.get(slot)


@given(ENTRIES, st.lists(SLOTS, max_size=10), KEPT_ABOVE)
def test_a_witness_never_tells_anything_wrong(
    entries: dict[bytes, bytes], asked: list[bytes], kept_above: int
) -> None:
    found = witness_of(MemoryTree(entries, kept_above), asked)

    for slot in entries:
        try:
            told = witness.lookup(found, slot)
        except InsufficientWitnessError:
            continue
        assert told == entries[slot]


@given(ENTRIES, st.dictionaries(SLOTS, DIGESTS, max_size=20), KEPT_ABOVE, st.data())
def test_applied_changes_lead_to_the_tree_of_the_result(
    entries: dict[bytes, bytes], puts: dict[bytes, bytes], kept_above: int, data: st.DataObject
) -> None:
    deletable = sorted(entries.keys() - puts.keys())
    deletes = data.draw(st.lists(st.sampled_from(deletable), unique=True)) if deletable else []
    source = MemoryTree(entries, kept_above)

    changed = witness.apply(witness_of(source, [*puts, *deletes]), puts.items(), deletes)

    result = {**entries, **puts}
    for slot in deletes:
        del result[slot]
    assert witness.value(changed) == root(result)
    for slot in puts:
        assert witness.lookup(changed, slot) == result[slot]


@given(st.lists(st.tuples(SLOTS, st.none() | DIGESTS), max_size=40), st.lists(SLOTS, min_size=1, max_size=8))
def test_the_tree_is_a_dictionary(operations: list[tuple[bytes, bytes | None]], pool: list[bytes]) -> None:
    expected: dict[bytes, bytes] = {}
    grown: Witness = None
    for number, (slot, digest) in enumerate(operations):
        slot = slot if number % 2 else pool[number % len(pool)]
        if digest is not None:
            grown, expected[slot] = witness.put(grown, slot, digest), digest
        elif slot in expected:
            grown = witness.delete(grown, slot)
            del expected[slot]
        else:
            with pytest.raises(KeyError):
                witness.delete(grown, slot)
        assert witness.value(grown) == root(expected)
    for slot in (*expected, *pool):
        assert witness.lookup(grown, slot) == expected.get(slot)


def test_a_delete_lifts_a_leaf_that_is_not_opened() -> None:
    entries = {A: ENTRY[A], B: ENTRY[B]}
    found = witness_of(MemoryTree(entries), [B])

    lifted = witness.delete(found, B)

    assert lifted == tree.leaf_value(A, ENTRY[A])
    assert witness.value(lifted) == root({A: ENTRY[A]})


def test_entries_are_put_before_others_are_deleted() -> None:
    near_a = A[:31] + b"\x01"
    two = {A: ENTRY[A], B: ENTRY[B]}
    found = witness_of(MemoryTree(two), [B, C])

    applied = witness.apply(found, [(C, ENTRY[C])], [B])

    assert witness.value(applied) == root({A: ENTRY[A], C: ENTRY[C]})
    with pytest.raises(InsufficientWitnessError):  # the other way round, A is where C leads to
        witness.put(witness.delete(found, B), C, ENTRY[C])
    with pytest.raises(InsufficientWitnessError):
        witness.put(found, near_a, ENTRY[A])


def test_what_is_not_opened_is_not_told() -> None:
    shut = witness_of(MemoryTree(ENTRY), [])

    assert shut == root(ENTRY)
    with pytest.raises(InsufficientWitnessError):
        witness.lookup(shut, A)
    with pytest.raises(InsufficientWitnessError):
        witness.delete(shut, A)
    with pytest.raises(InsufficientWitnessError):
        witness.put(shut, A, ENTRY[A])
    with pytest.raises(InsufficientWitnessError):
        witness.lookup(PAGE, A)


LEAF_A, LEAF_C = OpenedLeaf(A, ENTRY[A]), OpenedLeaf(C, ENTRY[C])
LEAF_STUB, INNER_STUB = b"\x01" + bytes(32), b"\x02" + bytes(32)


def deep(depth: int) -> Witness:
    """Two slots that differ in their last bit, and as many opened nodes as are asked for."""
    grown: Witness = INNER_STUB
    for _ in range(depth):
        grown = OpenedNode(grown, None)
    return grown


@pytest.mark.parametrize(
    "bad",
    [
        OpenedNode(None, None),
        OpenedNode(LEAF_A, None),
        OpenedNode(None, LEAF_C),
        OpenedNode(LEAF_STUB, None),
        OpenedNode(None, LEAF_STUB),
        OpenedNode(OpenedNode(None, None), LEAF_C),
        OpenedNode(LEAF_C, LEAF_A),
        OpenedNode(LEAF_A, LEAF_A),
        OpenedNode(LEAF_A, OpenedLeaf(C[:31], ENTRY[C])),
        OpenedNode(LEAF_A, OpenedLeaf(C, ENTRY[C] + b"x")),
        bytes(33),
        b"\x03" + bytes(32),
        INNER_STUB[:32],
        INNER_STUB + b"x",
        b"",
        OpenedNode(INNER_STUB, bytes(33)),
        PAGE,
        OpenedNode(PAGE, INNER_STUB),
        deep(257),
    ],
)
def test_what_is_part_of_no_tree_is_refused(bad: Witness) -> None:
    with pytest.raises(BadWitnessError):
        witness.value(bad)


def test_trees_are_as_deep_as_slots_have_bits() -> None:
    last = {bytes(32): ENTRY[A], bytes(31) + b"\x01": ENTRY[B]}
    found = witness_of(MemoryTree(last, 1), last)

    assert witness.value(found) == root(last) == reference_value(sorted(last.items()))
    assert max(place.depth for place, _ in witness.ends(found)) == 256
    assert len(witness.value(deep(256))) == 33
    with pytest.raises(BadWitnessError):
        list(witness.ends(deep(257)))


def test_subtrees_of_pages_have_the_values_given() -> None:
    shown = OpenedNode(PAGE, LEAF_C)

    assert witness.value(shown, {Place(1, 0): tree.leaf_value(A, ENTRY[A])}) == root(
        {A: ENTRY[A], C: ENTRY[C]}
    )
    with pytest.raises(BadWitnessError):
        witness.value(OpenedNode(None, PAGE), {Place(1, 1): tree.leaf_value(C, ENTRY[C])})


@given(ENTRIES.filter(bool), st.data())
def test_no_other_entry_leads_to_the_same_root(entries: dict[bytes, bytes], data: st.DataObject) -> None:
    asked = data.draw(st.lists(st.sampled_from(sorted(entries)), min_size=1, max_size=5))
    found = witness_of(MemoryTree(entries), asked)
    ends = [(place, node) for place, node in witness.ends(found) if node is not None]
    place, node = data.draw(st.sampled_from(ends))
    other: Witness
    if isinstance(node, OpenedLeaf):
        other = data.draw(st.sampled_from((OpenedLeaf(node.slot, bytes(31) + b"x"), None, INNER_STUB)))
    else:
        other = data.draw(st.sampled_from((None, INNER_STUB, LEAF_STUB)))

    try:
        claimed = witness.value(replaced(found, place, other))
    except BadWitnessError:
        return
    assert claimed != root(entries)


def replaced(node: Witness, place: Place, other: Witness) -> Witness:
    """Return a witness with something else at a place."""
    if place.depth == 0:
        return other
    assert isinstance(node, OpenedNode)
    below = Place(place.depth - 1, place.bits & (1 << place.depth - 1) - 1)
    if place.bits >> place.depth - 1:
        return OpenedNode(node.zero, replaced(node.one, below, other))
    return OpenedNode(replaced(node.zero, below, other), node.one)


def test_a_keeper_is_asked_once_for_each_depth() -> None:
    entries = {tagged_hash(b"slot", bytes((a, b))): bytes(32) for a in range(64) for b in range(64)}
    source = MemoryTree(entries)
    asked = sorted(entries)[::5]

    found = witness_of(source, asked)

    assert witness.value(found) == source.root
    assert source.queries <= 16
    source.leaves_asked = 0
    witness_of(source, asked[:1])
    assert source.leaves_asked <= 64 * 16
