"""Where the parts of a share lie, in both versions."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import CorruptShareError, IntegrityError
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_layout import (
    HEADER_SIZE_MAX,
    IncompatibleShareError,
    ParsedHeader,
    ShareLayout,
    parse_header,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "immutable.json").read_text())


def offsets_of(header: ParsedHeader) -> list[int]:
    return [
        header.data,
        header.plaintext_hashes,
        header.crypttext_hashes,
        header.block_hashes,
        header.share_hashes,
        header.extension,
    ]


def reference_plan(case: dict[str, Any]) -> Segmentation:
    """Return the sizes without the limit that Holdfast puts on its own trees."""
    size, needed = case["size"], case["k"]
    segment_size = -(-min(case["max_segment_size"], size) // needed) * needed
    return Segmentation(size, needed, case["n"], segment_size)


@pytest.mark.parametrize(
    "case", VECTORS["layout"], ids=lambda case: f"{case['k']}-{case['n']}-{case['size']}"
)
def test_layouts_are_those_of_the_reference(case: dict[str, Any]) -> None:
    layout = ShareLayout.plan(reference_plan(case), case["ueb_length"])
    assert layout.version == case["layout_version"]
    assert offsets_of(layout) == case["offsets"]
    assert layout.share_length == case["share_length"]
    assert layout.header().hex() == case["header_hex"]
    assert offsets_of(parse_header(layout.header())) == case["offsets"]


def test_version_2_begins_where_a_field_needs_33_bits() -> None:
    sizes = {case["size"]: case["layout_version"] for case in VECTORS["layout"] if case["n"] == 1}
    assert sizes[4_294_180_889] == 1
    assert sizes[4_294_180_890] == 2


@given(
    st.integers(1, 10**6),
    st.integers(1, 256),
    st.integers(1, 256),
    st.integers(1, 10**5),
    st.integers(1, 999),
    st.sampled_from([None, 1, 2]),
)
def test_a_written_header_is_read_as_it_was_meant(
    size: int, needed: int, total: int, segment_size_max: int, extension: int, version: int | None
) -> None:
    plan = Segmentation.plan(size, min(needed, total), total, segment_size_max)
    layout = ShareLayout.plan(plan, extension, version=version)
    parsed = parse_header(layout.header().ljust(HEADER_SIZE_MAX, b"x"))
    assert parsed.version == layout.version == (version or 1)
    assert offsets_of(parsed) == offsets_of(layout) == sorted(offsets_of(layout))
    assert parsed.header_size == len(layout.header()) == layout.data == {1: 36, 2: 68}[layout.version]
    assert parsed.field_size == layout.field_size == {1: 4, 2: 8}[layout.version]
    assert layout.share_length == layout.extension + layout.field_size + extension


def header_1(*offsets: int) -> bytes:
    return struct.pack(">9L", 1, 0, 0, *offsets)


def test_the_order_of_the_parts_gaps_and_the_size_fields_do_not_matter_to_a_reader() -> None:
    parsed = parse_header(header_1(9000, 5, 7000, 100, 100 + 32 * 3, 100 + 32 * 3 + 34 * 2))
    assert offsets_of(parsed) == [9000, 5, 7000, 100, 196, 264]


IMPOSSIBLE_HEADERS = {
    "empty": b"",
    "3 bytes": b"\0\0\1",
    "version 1 only": b"\0\0\0\1",
    "version 1 short": header_1(36, 70, 294, 518, 742, 912)[:-1],
    "version 2 short": b"\0\0\0\2" + bytes(63),
    "chain backwards": header_1(36, 70, 294, 518, 742, 742 - 34),
    "chain ragged": header_1(36, 70, 294, 518, 742, 911),
    "tree backwards": header_1(36, 70, 294, 742 + 32, 742, 912),
    "tree ragged": header_1(36, 70, 294, 517, 742, 912),
}


@pytest.mark.parametrize("data", IMPOSSIBLE_HEADERS.values(), ids=IMPOSSIBLE_HEADERS)
def test_an_impossible_header_is_corruption(data: bytes) -> None:
    with pytest.raises(CorruptShareError):
        parse_header(data)


@pytest.mark.parametrize("version", [0, 3, 0xFFFFFFFF])
def test_another_version_is_no_corruption(version: int) -> None:
    with pytest.raises(IncompatibleShareError) as caught:
        parse_header(struct.pack(">L", version))
    assert not isinstance(caught.value, CorruptShareError)


@given(st.sampled_from([b"", b"\0\0\0\1", b"\0\0\0\2"]), st.binary(max_size=70))
def test_arbitrary_bytes_give_a_header_or_a_typed_error(start: bytes, rest: bytes) -> None:
    try:
        parsed = parse_header(start + rest)
    except IntegrityError:
        return
    assert (
        (parsed.extension - parsed.share_hashes) % 34 == (parsed.share_hashes - parsed.block_hashes) % 32 == 0
    )
