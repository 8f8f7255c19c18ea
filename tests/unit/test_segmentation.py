"""How a file is cut, for every size, by the formulas of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.merkle import padded_leaf_count
from holdfast.formats.segmentation import TREE_NODES_MAX, Segmentation
from holdfast.interfaces.types import MAX_HASH_LIST

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "immutable.json").read_text())
MIB = 1 << 20
GIB = 1 << 30


@st.composite
def plans(draw: st.DrawFn, size_max: int = 5000) -> Segmentation:
    total = draw(st.integers(1, 20))
    needed = draw(st.integers(1, total))
    return Segmentation.plan(
        draw(st.integers(1, size_max)), needed, total, draw(st.integers(1, size_max + 50))
    )


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_sizes_are_those_of_the_reference(case: dict[str, Any]) -> None:
    plan = Segmentation.plan(case["size"], case["k"], case["n"], case["max_segment_size"])
    assert plan.segment_size == case["segment_size"]
    assert plan.segment_count == case["num_segments"]
    assert plan.block_size == case["block_size"]
    assert plan.tail_block_size == case["tail_block_size"]


def test_rounding_goes_up_even_beyond_the_maximum_and_the_file() -> None:
    assert Segmentation.plan(58, 3, 10, MIB).segment_size == 60
    assert Segmentation.plan(MIB + 1, 3, 10, MIB).segment_size == MIB + 2
    assert Segmentation.plan(MIB + 1, 3, 10, MIB).segment_count == 1


@given(plans())
def test_segments_and_blocks_make_up_the_file_and_the_share(plan: Segmentation) -> None:
    segments = range(plan.segment_count)
    assert sum(map(plan.segment_length, segments)) == plan.size
    assert sum(map(plan.block_length, segments)) == plan.data_size
    assert plan.data_size == plan.block_offset(plan.segment_count - 1) + plan.tail_block_size
    assert all(plan.block_offset(s + 1) == plan.block_offset(s) + plan.block_length(s) for s in segments[:-1])
    assert plan.block_size * plan.shares_needed == plan.segment_size
    assert plan.tail_padded_size == plan.tail_block_size * plan.shares_needed
    assert plan.tail_size <= plan.tail_padded_size < plan.tail_size + plan.shares_needed


@given(plans(), st.integers(0, 6000), st.integers(0, 6000))
def test_a_range_takes_just_the_segments_that_hold_it(plan: Segmentation, offset: int, length: int) -> None:
    touched = {b // plan.segment_size for b in range(offset, min(offset + length, plan.size))}
    assert set(plan.segments_of(offset, length)) == touched


def test_a_negative_range_is_refused() -> None:
    plan = Segmentation.plan(100, 3, 10, 40)
    for offset, length in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            plan.segments_of(offset, length)


NO_FILE = [(0, 3, 10, 40), (-5, 3, 10, 40)]
NO_CODE = [(9, 0, 10, 40), (9, 4, 3, 40), (9, 3, 257, 40), (9, 257, 300, 40)]
NO_SEGMENTS = [(9, 3, 10, 0), (9, 3, 10, -1)]


@pytest.mark.parametrize(("size", "needed", "total", "segment_size_max"), NO_FILE + NO_CODE + NO_SEGMENTS)
def test_impossible_parameters_are_refused(size: int, needed: int, total: int, segment_size_max: int) -> None:
    with pytest.raises(ValueError, match=r"shares_needed|byte|segment"):
        Segmentation.plan(size, needed, total, segment_size_max)


@pytest.mark.parametrize("segment_size", [0, -3, 40, 1])
def test_a_segment_size_that_is_no_multiple_of_k_is_refused(segment_size: int) -> None:
    with pytest.raises(ValueError, match="multiple"):
        Segmentation(100, 3, 10, segment_size)


@pytest.mark.parametrize("size", [0, -1])
def test_no_file_of_others_is_empty(size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Segmentation(size, 3, 10, 42)


@pytest.mark.seed("S-010")
def test_segments_grow_where_a_tree_would_have_too_many_nodes() -> None:
    assert TREE_NODES_MAX == MAX_HASH_LIST == 2**20
    within = Segmentation.plan(512 * GIB, 4, 10, MIB)
    assert within.segment_size == MIB
    assert 2 * padded_leaf_count(within.segment_count) - 1 == TREE_NODES_MAX - 1
    beyond = Segmentation.plan(512 * GIB + 1, 4, 10, MIB)
    assert beyond.segment_size == 2 * MIB
    assert Segmentation.plan(2048 * GIB, 3, 10, MIB).segment_size == 4 * MIB + 2


@given(st.integers(1, 2**60), st.integers(1, 256), st.integers(1, 4 * MIB))
def test_no_planned_tree_has_too_many_nodes(size: int, needed: int, segment_size_max: int) -> None:
    plan = Segmentation.plan(size, needed, 256, segment_size_max)
    assert 2 * padded_leaf_count(plan.segment_count) - 1 <= TREE_NODES_MAX


@pytest.mark.seed("S-010")
def test_a_reader_takes_larger_trees_of_others() -> None:
    plan = Segmentation(2048 * GIB, 1, 3, MIB)
    assert plan.segment_count == 2**21
    last = plan.segments_of(plan.size - 1, 1)
    assert (last.start, len(last)) == (2**21 - 1, 1)
