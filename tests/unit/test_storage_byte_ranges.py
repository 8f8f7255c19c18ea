"""What has been written of an upload."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.storage import ByteRange
from holdfast.servers.storage.byte_ranges import ByteRanges

SIZE = 40
RANGES = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair)))


def positions(ranges: list[ByteRange]) -> set[int]:
    return {position for part in ranges for position in range(part.begin, part.end)}


@given(st.lists(RANGES, max_size=12), RANGES)
def test_a_set_of_ranges_is_a_set_of_positions(added: list[tuple[int, int]], window: tuple[int, int]) -> None:
    ranges, model = ByteRanges(), set[int]()
    for begin, end in added:
        ranges.add(begin, end)
        model |= set(range(begin, end))

    inside = set(range(*window))
    assert positions(list(ranges)) == model
    assert positions(ranges.inside(*window)) == model & inside
    assert positions(ranges.missing(*window)) == inside - model
    assert ranges.covers(*window) == (inside <= model)


@given(st.lists(RANGES, max_size=12))
def test_ranges_are_ascending_and_neither_overlap_nor_touch(added: list[tuple[int, int]]) -> None:
    ranges = ByteRanges()
    for begin, end in added:
        ranges.add(begin, end)

    parts = list(ranges)
    assert all(part.begin < part.end for part in parts)
    assert all(first.end < second.begin for first, second in itertools.pairwise(parts))
