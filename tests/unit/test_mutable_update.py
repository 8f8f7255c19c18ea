"""When bytes of a mutable file are replaced in place, and what that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InputError
from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets, Section
from holdfast.formats.mutable_segmentation import MutableFormat, MutableSegmentation
from holdfast.planning.mutable_update import FullRewrite, InPlaceUpdate, plan_update
from holdfast.planning.server_map import Place, ServerMap


def version(
    size: int, sequence: int = 1, segment_size: int = 12, file_format: MutableFormat = "MDMF"
) -> MutableHeader:
    if file_format == "SDMF":
        return MutableHeader(
            sequence, b"r" * 32, b"s" * 16, MutableSegmentation.plan(file_format, size, 3, 5)
        )
    return MutableHeader(sequence, b"r" * 32, b"", MutableSegmentation(file_format, size, 3, 5, segment_size))


def offsets(header: MutableHeader) -> MutableOffsets:
    return MutableOffsets.plan(
        header.segmentation, public_key_size=294, signature_size=256, private_key_size=1217
    )


def complete(header: MutableHeader) -> ServerMap:
    found = ServerMap()
    for number in range(header.shares_total):
        found.add(Place(f"s{number}", number), header, offsets(header))
    return found


def in_place(header: MutableHeader, offset: int, length: int) -> InPlaceUpdate:
    plan = plan_update(complete(header), header, offset, length)
    assert isinstance(plan, InPlaceUpdate)
    return plan


@given(st.integers(1, 80), st.integers(0, 80), st.integers(1, 80))
def test_the_new_segments_are_those_of_the_changed_file(size: int, offset: int, length: int) -> None:
    offset = min(offset, size)
    header = version(size)
    old, new = bytes(range(size)), bytes(255 - i for i in range(length))
    plan = in_place(header, offset, length)
    after = old[:offset] + new + old[offset + length :]
    pieces = plan.plaintexts(new, {i: old[12 * i : 12 * i + 12] for i in plan.old_segments})
    assert pieces == [after[12 * i : 12 * i + 12] for i in plan.segments]
    assert plan.new.size == len(after)
    unchanged = set(range(plan.new.segment_count)) - set(plan.segments)
    assert all(after[12 * i : 12 * i + 12] == old[12 * i : 12 * i + 12] for i in unchanged)
    assert len(plan.old_segments) <= 2
    assert all(segment < header.segmentation.segment_count for segment in plan.old_segments)


def test_the_encoding_and_the_size_are_those_of_the_version() -> None:
    """The reference takes what it remembers, or its own defaults, and so ruins the file."""
    plan = in_place(version(30, segment_size=6), 28, 10)
    assert plan.new == MutableSegmentation("MDMF", 38, 3, 5, 6)
    assert in_place(version(30), 5, 3).new == plan.old.__class__("MDMF", 30, 3, 5, 12)


def test_appending_at_the_end_of_a_segment_needs_no_old_one() -> None:
    """The reference asks for a segment that does not exist."""
    plan = in_place(version(24), 24, 5)
    assert (plan.segments, plan.old_segments) == (range(2, 3), ())


def test_appending_within_a_segment_needs_the_last() -> None:
    plan = in_place(version(26), 26, 20)
    assert (plan.segments, plan.old_segments) == (range(2, 4), (2,))


def test_whole_segments_need_no_old_one() -> None:
    plan = in_place(version(60), 12, 24)
    assert (plan.segments, plan.old_segments) == (range(1, 3), ())


def rewrite_reason(found: ServerMap, header: MutableHeader) -> str:
    plan = plan_update(found, header, 0, 5)
    assert isinstance(plan, FullRewrite)
    return plan.reason


def test_whatever_is_not_as_it_should_be_leads_to_a_full_rewrite() -> None:
    header = version(30)
    missing = complete(header)
    missing.forget(Place("s2", 2))
    assert "missing" in rewrite_reason(missing, header)
    copy = complete(header)
    copy.forget(Place("s2", 2))
    copy.add(Place("s2", 1), header, offsets(header))
    assert "missing" in rewrite_reason(copy, header)
    other = complete(header)
    other.add(Place("s9", 2), version(30, 0), offsets(header))
    assert "other versions" in rewrite_reason(other, header)
    bad = complete(header)
    bad.mark_bad(Place("s9", 2), b"")
    assert "bad" in rewrite_reason(bad, header)
    moved = complete(header)
    data = Section(2200, 2200 + header.segmentation.data_size)
    moved.add(Place("s1", 1), header, replace(offsets(header), data=data))
    assert "usual place" in rewrite_reason(moved, header)
    assert "empty" in rewrite_reason(complete(version(0)), version(0))
    sdmf = version(30, file_format="SDMF")
    assert "SDMF" in rewrite_reason(complete(sdmf), sdmf)


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
def test_bytes_beyond_the_end_are_refused(file_format: MutableFormat) -> None:
    """The reference appends them in SDMF, without the gap."""
    header = version(30, file_format=file_format)
    for offset, length in ((31, 1), (-1, 1), (0, 0)):
        with pytest.raises(InputError):
            plan_update(complete(header), header, offset, length)
    plan_update(complete(header), header, 30, 1)


def test_a_file_too_large_to_be_stored_is_refused() -> None:
    header = version(2**64 - 13)
    with pytest.raises(InputError, match="size"):
        plan_update(complete(header), header, header.size, 100)
