"""How versions of mutable files are cut, and where the parts of their shares lie."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import CorruptShareError
from holdfast.formats.mutable_layout import (
    HEADER_SIZE_MAX,
    MDMF_DATA_OFFSET,
    MutableHeader,
    MutableOffsets,
    Section,
    parse_mutable_header,
)
from holdfast.formats.mutable_segmentation import MutableFormat, MutableSegmentation

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mutable.json").read_text())
FILES: list[dict[str, Any]] = VECTORS["files"]
STEPS: list[dict[str, Any]] = [
    {**step, "format": history["format"], "k": history["k"], "n": history["n"], "key": history["key"]}
    for history in VECTORS["histories"]
    for step in history["steps"]
]
FORMATS: st.SearchStrategy[MutableFormat] = st.sampled_from(("SDMF", "MDMF"))
COUNTS = st.integers(1, 255).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


@st.composite
def segmentations(draw: st.DrawFn) -> MutableSegmentation:
    needed, total = draw(COUNTS)
    file_format: MutableFormat = draw(FORMATS)
    size = draw(st.integers(0, 10**6) | st.integers(0, 2**62))
    if file_format == "SDMF" or draw(st.booleans()):
        return MutableSegmentation.plan(file_format, size, needed, total)
    return MutableSegmentation(file_format, size, needed, total, needed * draw(st.integers(1, 10**5)))


def planned(plan: MutableSegmentation, public: int = 294, private: int = 1217) -> MutableOffsets:
    return MutableOffsets.plan(plan, public_key_size=public, signature_size=256, private_key_size=private)


def header_of(plan: MutableSegmentation, sequence: int = 7) -> MutableHeader:
    salt = b"s" * 16 if plan.format == "SDMF" else b""
    return MutableHeader(sequence, b"r" * 32, salt, plan)


def header_bytes(plan: MutableSegmentation) -> bytes:
    return header_of(plan).signed_prefix + planned(plan).to_bytes(plan.format)


# -- segmentation


@pytest.mark.parametrize("case", [*FILES, *STEPS], ids=lambda case: case.get("name", case.get("op")))
def test_segment_sizes_are_those_of_the_reference(case: dict[str, Any]) -> None:
    plan = MutableSegmentation.plan(case["format"], case["data_length"], case["k"], case["n"])
    if case["segment_size"] != 129 and "smallseg" not in case.get("name", ""):
        assert plan.segment_size == case["segment_size"]


@given(segmentations())
def test_records_follow_each_other_and_make_up_the_data(plan: MutableSegmentation) -> None:
    count = plan.segment_count
    for segment in {0, 1, count - 2, count - 1}:
        if not 0 <= segment < count:
            continue
        end = plan.record_offset(segment) + plan.record_length(segment)
        assert end == (plan.record_offset(segment + 1) if segment < count - 1 else plan.data_size)
        assert plan.record_length(segment) == plan.salt_size + plan.block_length(segment)
        assert 0 < plan.segment_length(segment) <= plan.block_length(segment) * plan.shares_needed
        assert (
            plan.block_length(segment) * plan.shares_needed - plan.segment_length(segment)
            < plan.shares_needed
        )
    assert plan.records_length(range(count)) == plan.data_size
    assert (count == 0) == (plan.size == 0) == (plan.data_size == 0)
    assert plan.salt_size == (16 if plan.format == "MDMF" else 0)


@given(segmentations(), st.integers(0, 2**63), st.integers(0, 2**63))
def test_segments_of_a_range_are_those_that_hold_its_bytes(
    plan: MutableSegmentation, offset: int, length: int
) -> None:
    offset %= plan.size + 2
    segments = plan.segments_of(offset, length)
    if length and offset < plan.size:
        end = min(offset + length, plan.size)
        assert segments[0] * plan.segment_size <= offset < (segments[0] + 1) * plan.segment_size
        assert segments[-1] * plan.segment_size < end <= (segments[-1] + 1) * plan.segment_size
    else:
        assert not segments


def test_small_and_empty_files() -> None:
    empty = MutableSegmentation.plan("SDMF", 0, 3, 10)
    assert (empty.segment_size, empty.segment_count, empty.data_size, empty.leaf_count) == (0, 0, 0, 1)
    assert empty.block_tree_size == 32
    empty = MutableSegmentation.plan("MDMF", 0, 3, 10)
    assert (empty.segment_size, empty.segment_count, empty.data_size) == (131073, 0, 0)
    two = MutableSegmentation.plan("MDMF", 131074, 3, 10)
    assert (two.segment_count, two.tail_size, two.tail_block_size) == (2, 1, 1)
    assert two.block_tree_size == 3 * 32


@pytest.mark.parametrize(
    ("file_format", "size", "needed", "total", "segment_size"),
    [
        ("SDMF", 10, 0, 3, 10),  # a division by zero, were it not refused
        ("SDMF", 10, 4, 3, 12),
        ("SDMF", 10, 1, 256, 10),
        ("SDMF", 10, 3, 10, 10),
        ("SDMF", 10, 3, 10, 15),
        ("SDMF", 10, 3, 10, 0),
        ("MDMF", 10, 3, 10, 0),
        ("MDMF", 0, 3, 10, 0),
        ("MDMF", 10, 3, 10, 131072),
        ("MDMF", 2**64, 1, 1, 131072),
        ("MDMF", -1, 1, 1, 131072),
        ("MDMF", 10, 1, 1, 2**64),
    ],
)
def test_impossible_sizes_are_refused(
    file_format: MutableFormat, size: int, needed: int, total: int, segment_size: int
) -> None:
    with pytest.raises(ValueError, match=r"shares_needed|64 bits|segment"):
        MutableSegmentation(file_format, size, needed, total, segment_size)


def test_segments_that_do_not_exist_have_no_length() -> None:
    plan = MutableSegmentation.plan("MDMF", 200000, 3, 10)
    for segment in (-1, 2):
        with pytest.raises(ValueError, match="no segment"):
            plan.record_length(segment)


# -- layout


@pytest.mark.parametrize("case", [*FILES, *STEPS], ids=lambda case: case.get("name", case.get("op")))
def test_headers_and_offsets_are_those_of_the_reference(case: dict[str, Any]) -> None:
    plan = MutableSegmentation(
        case["format"], case["data_length"], case["k"], case["n"], case["segment_size"]
    )
    salt = bytes.fromhex(case["salts"][0]) if case["format"] == "SDMF" else b""
    header = MutableHeader(case["seqnum"], bytes.fromhex(case["root_hash"]), salt, plan)
    assert header.signed_prefix.hex() == case["signed_prefix"]
    assert header.checkstring.hex() == case["checkstring"]
    key = VECTORS["keys"][case["key"]]
    public, private = (len(base64.b64decode(key[k])) for k in ("public_key_der", "private_key_der"))
    offsets = planned(plan, public, private)
    assert (offsets.end, offsets.signature.begin, offsets.chain.begin) == (
        case["offsets"]["end"],
        case["offsets"]["signature"],
        case["offsets"]["share_hash_chain"],
    )
    assert offsets.data.begin == case["offsets"]["share_data"]
    data = header.signed_prefix + offsets.to_bytes(plan.format)
    assert parse_mutable_header(data, case["n"] - 1) == (header, offsets)
    for share in case.get("shares", {}).values():
        assert base64.b64decode(share).startswith(data)


@given(segmentations(), st.integers(0, 2**64 - 1), st.data())
def test_a_written_header_is_read_as_it_was_meant(
    plan: MutableSegmentation, sequence: int, data: st.DataObject
) -> None:
    header = header_of(plan, sequence)
    offsets = planned(plan, data.draw(st.integers(1, 300)), data.draw(st.integers(1, 1200)))
    number = data.draw(st.integers(0, plan.shares_total - 1))
    written = header.signed_prefix + offsets.to_bytes(plan.format)
    assert parse_mutable_header(written.ljust(HEADER_SIZE_MAX, b"x"), number) == (header, offsets)
    sections = [offsets.public_key, offsets.signature, offsets.chain, offsets.block_tree, offsets.data]
    for before in (*sections, offsets.private_key):
        assert before.size >= 0
        assert before.begin >= len(written)
    if plan.format == "MDMF":
        assert offsets.data.begin == MDMF_DATA_OFFSET


@given(st.binary(max_size=130), st.integers(0, 300))
def test_any_bytes_are_a_header_or_a_corrupt_share(data: bytes, number: int) -> None:
    try:
        header, _ = parse_mutable_header(data, number)
    except CorruptShareError:
        return
    assert data.startswith(header.signed_prefix)


@given(
    segmentations().map(header_bytes),
    st.lists(st.tuples(st.integers(0, 122), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_header_with_changed_bytes_makes_sense_or_is_corrupt(
    header: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(header)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        parsed, offsets = parse_mutable_header(data, 0)
    except CorruptShareError:
        return
    plan = parsed.segmentation
    assert bytes(data) == parsed.signed_prefix + offsets.to_bytes(plan.format)
    assert offsets.data.size == plan.data_size
    assert offsets.block_tree.size == plan.block_tree_size
    assert offsets.public_key.size <= 2200
    assert offsets.private_key.size <= 16384


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
def test_a_header_cut_short_is_corrupt(file_format: MutableFormat) -> None:
    whole = header_bytes(MutableSegmentation.plan(file_format, 100, 3, 10))
    for size in range(len(whole)):
        with pytest.raises(CorruptShareError, match=r"short|empty"):
            parse_mutable_header(whole[:size], 0)


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
def test_share_numbers_lie_below_the_number_of_shares(file_format: MutableFormat) -> None:
    whole = header_bytes(MutableSegmentation.plan(file_format, 100, 3, 10))
    for number in (-1, 10, 255):
        with pytest.raises(CorruptShareError, match="share number"):
            parse_mutable_header(whole, number)


def test_an_unknown_version_is_corrupt() -> None:
    whole = header_bytes(MutableSegmentation.plan("MDMF", 100, 3, 10))
    for version in range(2, 256):
        with pytest.raises(CorruptShareError, match="not known"):
            parse_mutable_header(bytes([version]) + whole[1:], 0)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (41, 0),  # k
        (42, 2),  # N below k
        (50, 2),  # segment size no multiple of k
    ],
)
def test_headers_that_would_mislead_a_decoder_are_corrupt(place: int, value: int) -> None:
    whole = bytearray(header_bytes(MutableSegmentation.plan("MDMF", 100, 3, 10)))
    whole[place] = value
    with pytest.raises(CorruptShareError):
        parse_mutable_header(whole, 0)


def test_keys_that_do_not_fit_before_the_data_are_refused() -> None:
    plan = MutableSegmentation.plan("MDMF", 100, 3, 255)
    longest = planned(plan, 294, 1219)
    assert longest.public_key.end <= MDMF_DATA_OFFSET
    with pytest.raises(ValueError, match="2167"):
        planned(plan, 294, 1219 + MDMF_DATA_OFFSET - longest.public_key.end + 1)


def test_a_share_too_large_for_its_offsets_is_refused() -> None:
    plan = MutableSegmentation.plan("MDMF", 2**64 - 1, 1, 1)
    with pytest.raises(ValueError, match="too large"):
        planned(plan).to_bytes("MDMF")


def test_a_section_is_taken_whole_or_not_at_all() -> None:
    assert Section(2, 4).of(b"abcd") == b"cd"
    with pytest.raises(CorruptShareError, match="short"):
        Section(2, 5).of(b"abcd")


@pytest.mark.parametrize(
    ("sequence", "root_hash", "salt"),
    [(2**64, b"r" * 32, b""), (1, b"r" * 31, b""), (1, b"r" * 32, b"s" * 16)],
)
def test_headers_that_cannot_be_stored_are_refused(sequence: int, root_hash: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match=r"64 bits|root hash|salt"):
        MutableHeader(sequence, root_hash, salt, MutableSegmentation.plan("MDMF", 1, 1, 1))


def test_the_better_version_has_the_higher_sequence_number_then_root_hash() -> None:
    plan = MutableSegmentation.plan("MDMF", 1, 1, 1)
    ranked = [
        MutableHeader(2, b"a" * 32, b"", plan),
        MutableHeader(2, b"b" * 32, b"", plan),
        MutableHeader(10, b"a" * 32, b"", plan),
    ]
    assert sorted([ranked[1], ranked[2], ranked[0]], key=lambda header: header.rank) == ranked


@pytest.mark.parametrize(
    ("field", "change"),
    [
        (59, 1),  # the private key begins behind a gap
        (67, 1),  # a chain of a ragged length
        (67, -34 * 28),  # a chain of more nodes than the tree has
        (75, -34 * 4 - 1),  # the chain would end before it begins
        (83, -257),  # the signature, likewise
        (91, 300),  # the public key reaches into the data
        (91, -294),  # there is no public key
        (99, 1),  # less data than the file has
        (99, -1),  # more
        (107, 1),  # more data, and a block hash tree that is too short
        (115, 1),  # a block hash tree that is too long
    ],
)
def test_offsets_of_mdmf_have_to_fit_the_sizes(field: int, change: int) -> None:
    whole = bytearray(header_bytes(MutableSegmentation.plan("MDMF", 100, 3, 10)))
    whole[field : field + 8] = (int.from_bytes(whole[field : field + 8], "big") + change).to_bytes(8, "big")
    with pytest.raises(CorruptShareError):
        parse_mutable_header(whole, 0)


@pytest.mark.parametrize(
    ("field", "size", "change"),
    [
        (75, 4, -294),  # there is no public key
        (75, 4, 300),  # the signature would end before it begins
        (79, 4, 1),  # a chain of a ragged length
        (83, 4, 1),  # likewise, and a block hash tree that is too short
        (87, 4, 1),  # less data than the file has, and a block hash tree that is too long
        (91, 8, 1),  # more data
        (91, 8, -1),  # less data
        (99, 8, -1217),  # there is no private key
        (99, 8, 2**60),  # a private key that would fill any memory
    ],
)
def test_offsets_of_sdmf_have_to_fit_the_sizes(field: int, size: int, change: int) -> None:
    whole = bytearray(header_bytes(MutableSegmentation.plan("SDMF", 100, 3, 10)))
    moved = int.from_bytes(whole[field : field + size], "big") + change
    whole[field : field + size] = moved.to_bytes(size, "big")
    with pytest.raises(CorruptShareError):
        parse_mutable_header(whole, 0)
