"""Hash trees: built like the reference's, and filled only with what is proven."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.merkle import (
    BadHashError,
    JoinedHashes,
    NodeIndexError,
    NotEnoughHashesError,
    PartialTree,
    build_joined_tree,
    build_tree,
    empty_leaf,
    leaf_index,
    padded_leaf_count,
    root_of_leaves,
    tree_levels,
    uncle_chain,
)
from holdfast.errors import IntegrityError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())
RESULTS: dict[str, type[IntegrityError]] = {
    "bad": BadHashError,
    "not-enough": NotEnoughHashesError,
    "index": NodeIndexError,
}


def leaves_of(count: int) -> list[bytes]:
    return [hashlib.sha256(b"holdfast-leaf-%d" % i).digest() for i in range(count)]


@pytest.mark.parametrize("case", VECTORS["merkle_tree"]["trees"], ids=lambda case: str(case["leaves"]))
def test_trees_are_those_of_the_reference(case: dict[str, Any]) -> None:
    leaves = leaves_of(case["leaves"])
    nodes = build_tree(leaves)
    assert len(nodes) == case["nodes"]
    assert leaf_index(case["leaves"], 0) == case["first_leaf"]
    assert nodes[0].hex() == root_of_leaves(leaves).hex() == case["root_hex"]
    assert hashlib.sha256(b"".join(nodes)).hexdigest() == case["all_nodes_sha256"]
    if case.get("all_nodes_hex"):
        assert [node.hex() for node in nodes] == case["all_nodes_hex"]


@pytest.mark.parametrize(
    "case", VECTORS["merkle_needed"], ids=lambda case: f"{case['leaves']}-{case['leaf']}"
)
def test_uncle_chains_are_those_of_the_reference(case: dict[str, Any]) -> None:
    count, leaf = case["leaves"], case["leaf"]
    assert sorted(uncle_chain(count, leaf)) == case["needed"]
    tree = PartialTree(count)
    assert tree.needed(leaf, with_leaf=False) == set(case["needed"])
    assert tree.needed(leaf) == {*case["needed"], leaf_index(count, leaf)}


@pytest.mark.parametrize("case", VECTORS["merkle_incremental"], ids=lambda case: case["name"])
def test_a_tree_takes_all_that_is_offered_or_nothing(case: dict[str, Any]) -> None:
    tree = PartialTree(case["leaves"])
    for step in case["steps"]:
        hashes, leaves = (
            {int(number): bytes.fromhex(value) for number, value in step[part].items()}
            for part in ("hashes", "leaves")
        )
        if step["result"] == "ok":
            tree.offer(hashes, leaves)
        else:
            with pytest.raises(RESULTS[step["result"]]) as caught:
                tree.offer(hashes, leaves)
            assert type(caught.value) is RESULTS[step["result"]]
        assert sorted(tree.known()) == step["known_after"]


def test_a_chain_goes_from_the_bottom_to_the_top() -> None:
    assert uncle_chain(10, 0) == [16, 8, 4, 2]
    assert uncle_chain(1, 0) == []


@pytest.mark.parametrize(("count", "padded"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (2**19 + 1, 2**20)])
def test_leaves_are_padded_to_a_power_of_two(count: int, padded: int) -> None:
    assert padded_leaf_count(count) == padded


def test_there_is_no_tree_without_leaves() -> None:
    with pytest.raises(ValueError, match="at least one leaf"):
        padded_leaf_count(0)
    with pytest.raises(ValueError, match="at least one leaf"):
        PartialTree(0)
    with pytest.raises(ValueError, match="at least one leaf"):
        build_tree([])


@pytest.mark.parametrize("leaf", [-1, 16, 1000])
def test_a_leaf_outside_the_tree_is_refused(leaf: int) -> None:
    tree = PartialTree(10)
    with pytest.raises(ValueError, match="no leaf"):
        tree.needed(leaf)
    with pytest.raises(ValueError, match="no leaf"):
        uncle_chain(10, leaf)
    tree.offer(leaves=dict(enumerate(build_tree(leaves_of(10))[15:])))
    assert tree.leaf(leaf) is None
    with pytest.raises(NodeIndexError):
        tree.offer(leaves={leaf: bytes(32)})


@pytest.mark.seed("S-001")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_of_another_length_is_refused(size: int) -> None:
    tree = PartialTree(2)
    with pytest.raises(BadHashError):
        tree.offer({1: bytes(size), 2: bytes(32)})
    with pytest.raises(BadHashError):
        tree.offer(leaves={0: bytes(size), 1: bytes(32)})
    with pytest.raises(BadHashError):
        tree.set_root(bytes(size))
    assert tree.known() == set()
    with pytest.raises(ValueError, match="32 bytes"):
        build_tree([bytes(32), bytes(size)])


def test_a_second_root_is_refused() -> None:
    tree = PartialTree(4)
    tree.set_root(bytes(32))
    tree.set_root(bytes(32))
    with pytest.raises(BadHashError):
        tree.set_root(b"\x01" * 32)
    assert tree.node(0) == bytes(32)


def test_padding_leaves_are_numbered_as_leaves() -> None:
    assert build_tree(leaves_of(3))[6] == empty_leaf(3)


@given(st.integers(1, 70), st.data())
def test_any_leaf_is_proven_by_its_chain_and_by_nothing_less(count: int, data: st.DataObject) -> None:
    nodes = build_tree(leaves_of(count))
    leaf = data.draw(st.integers(0, count - 1))
    tree = PartialTree(count)
    tree.set_root(nodes[0])
    wanted = tree.needed(leaf)
    offered = {index: nodes[index] for index in wanted}
    if wanted:
        flipped = dict(offered)
        index = data.draw(st.sampled_from(sorted(wanted)))
        flipped[index] = bytes([flipped[index][0] ^ 1]) + flipped[index][1:]
        with pytest.raises(BadHashError):
            tree.offer(flipped)
        del flipped[index]
        if index != leaf_index(count, leaf) or len(flipped) == 1:
            with pytest.raises(NotEnoughHashesError):
                tree.offer(flipped)
        assert tree.known() == {0}
    tree.offer(offered)
    assert tree.leaf(leaf) == nodes[leaf_index(count, leaf)]
    assert not tree.needed(leaf)
    assert all(tree.node(i) == nodes[i] for i in tree.known())


@given(st.integers(1, 40), st.data())
def test_known_nodes_are_those_of_the_whole_tree_whatever_is_offered(count: int, data: st.DataObject) -> None:
    nodes = build_tree(leaves_of(count))
    tree = PartialTree(count)
    tree.set_root(nodes[0])
    indexes = st.integers(-1, len(nodes))
    values = st.sampled_from([*nodes, bytes(32)])
    for _ in range(data.draw(st.integers(1, 4))):
        before = tree.known()
        right = data.draw(st.sets(indexes, max_size=len(nodes)))
        offered = {index: nodes[index] for index in right if 0 <= index < len(nodes)}
        offered |= data.draw(st.dictionaries(indexes, values, max_size=1))
        try:
            tree.offer(offered)
        except IntegrityError:
            assert tree.known() == before
        else:
            assert tree.known() >= before | offered.keys()
        assert all(tree.node(i) == nodes[i] for i in tree.known())


def test_levels_lead_from_the_leaves_to_the_root() -> None:
    leaves = leaves_of(5)
    levels = tree_levels(leaves)
    assert [len(level) // 32 for level in levels] == [8, 4, 2, 1]
    assert levels[0].startswith(b"".join(leaves))
    assert b"".join(reversed(levels)) == b"".join(build_tree(leaves))


def test_many_leaves_are_proven_at_once_in_little_time() -> None:
    count = 8192
    leaves = leaves_of(count)
    tree = PartialTree(count)
    tree.set_root(root_of_leaves(leaves))
    begin = time.perf_counter()
    tree.offer(leaves=dict(enumerate(leaves)))
    elapsed = time.perf_counter() - begin
    assert len(tree.known()) == 2 * count - 1
    assert elapsed < 2  # seconds; about a hundredth of it is used where the kernel is native


@given(st.integers(1, 70))
def test_a_joined_tree_holds_the_same_nodes(count: int) -> None:
    nodes, joined = build_tree(leaves_of(count)), build_joined_tree(leaves_of(count))
    assert list(joined) == nodes
    assert len(joined) == len(nodes)
    assert (joined[0], joined[-1], joined[1:5]) == (nodes[0], nodes[-1], nodes[1:5])
    assert joined.joined == b"".join(nodes)
    with pytest.raises(IndexError):
        joined[len(nodes)]


def test_joined_hashes_are_whole_ones() -> None:
    with pytest.raises(ValueError, match="33 bytes"):
        JoinedHashes(bytes(33))
