"""The leaves of a stored hash tree are proven in groups, with few and bounded requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.merkle import BadHashError, build_tree, leaf_index
from holdfast.planning import leaf_groups
from holdfast.planning.leaf_groups import GROUP_LEAVES, LeafGroups


@pytest.fixture(scope="module", autouse=True)
def small_groups() -> Iterator[None]:
    """Groups of four, so that small trees have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaf_groups, "GROUP_LEAVES", 4)
        yield


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % i).digest() for i in range(count)]


class Stored:
    """A tree as a share holds it, and what was read of it."""

    def __init__(self, leaf_count: int) -> None:
        self.leaves = leaves(leaf_count)
        self.nodes = dict(enumerate(build_tree(self.leaves)))
        self.groups = LeafGroups(leaf_count, self.nodes[0])

    def learn(self, segments: range) -> set[int]:
        wanted = self.groups.wanted(segments)
        self.groups.take(segments, {i: self.nodes[i] for i in wanted})
        return wanted


def test_groups_of_the_real_size_are_a_power_of_two() -> None:
    assert GROUP_LEAVES & (GROUP_LEAVES - 1) == 0


def test_nothing_is_known_at_first() -> None:
    assert Stored(9).groups.leaf(0) is None


def test_a_small_tree_takes_its_leaves_and_nothing_else() -> None:
    stored = Stored(3)

    assert stored.learn(range(1, 2)) == {3, 4, 5, 6}
    assert [stored.groups.leaf(i) for i in range(3)] == stored.leaves


def test_a_tree_of_one_leaf_is_its_root() -> None:
    stored = Stored(1)

    assert stored.learn(range(1)) == {0}
    assert stored.groups.leaf(0) == stored.leaves[0]


def test_a_large_tree_takes_its_top_once_and_each_group_once() -> None:
    stored = Stored(16)

    assert stored.learn(range(5, 6)) == {3, 4, 5, 6} | {19, 20, 21, 22}
    assert stored.learn(range(4, 8)) == set()
    assert stored.learn(range(7, 9)) == {23, 24, 25, 26}


@given(st.integers(1, 40), st.data())
def test_what_is_proven_is_what_was_stored(leaf_count: int, data: st.DataObject) -> None:
    stored = Stored(leaf_count)
    ranges = st.tuples(st.integers(0, leaf_count - 1), st.integers(1, leaf_count))

    for start, size in data.draw(st.lists(ranges, min_size=1, max_size=5)):
        segments = range(start, min(start + size, leaf_count))
        stored.learn(segments)

        assert stored.groups.wanted(segments) == set()
        assert [stored.groups.leaf(i) for i in segments] == [stored.leaves[i] for i in segments]


@given(st.integers(1, 40), st.data())
def test_one_wrong_node_is_found_and_nothing_of_the_answer_is_kept(
    leaf_count: int, data: st.DataObject
) -> None:
    stored = Stored(leaf_count)
    first = data.draw(st.integers(0, leaf_count - 1))
    segments = range(first, data.draw(st.integers(first + 1, leaf_count)))
    wanted = stored.groups.wanted(segments)
    nodes = {i: stored.nodes[i] for i in wanted}
    nodes[data.draw(st.sampled_from(sorted(wanted)))] = hashlib.sha256(b"wrong").digest()

    with pytest.raises(BadHashError):
        stored.groups.take(segments, nodes)

    assert stored.groups.wanted(segments) == wanted
    stored.learn(segments)
    assert stored.groups.leaf(first) == stored.leaves[first]


def test_padding_is_proven_like_any_other_leaf() -> None:
    stored = Stored(3)
    nodes = {i: stored.nodes[i] for i in stored.groups.wanted(range(1))}
    nodes[leaf_index(3, 3)] = bytes(32)

    with pytest.raises(BadHashError):
        stored.groups.take(range(1), nodes)


def test_groups_that_lie_behind_are_forgotten_and_can_be_learnt_again() -> None:
    stored = Stored(16)
    stored.learn(range(16))

    stored.groups.forget_before(8)

    assert stored.groups.leaf(7) is None
    assert stored.groups.leaf(8) == stored.leaves[8]
    assert stored.learn(range(7, 8)) == {19, 20, 21, 22}
    assert stored.groups.leaf(7) == stored.leaves[7]
