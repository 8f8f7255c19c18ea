"""What a server refuses to call complete, and what it must not refuse."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.crypto.netstring import netstring
from holdfast.errors import CorruptShareError
from holdfast.formats import layout_check
from holdfast.formats.extension_block import pack, unpack
from holdfast.formats.layout_check import check_layout
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_file import build_shares
from holdfast.formats.share_layout import ParsedHeader, parse_header
from holdfast.testing.generated_data import generated_data

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/immutable.json").read_text())
KEY = bytes(range(16))
PLAN = Segmentation.plan(1000, 3, 10, 100)
SHARES, EXTENSION = build_shares(KEY, generated_data("layout", 1000), PLAN)
SHARE = SHARES[4]
HEADER = parse_header(SHARE)
FIELDS = {
    "data": 3,
    "plaintext_hashes": 4,
    "crypttext_hashes": 5,
    "block_hashes": 6,
    "share_hashes": 7,
    "extension": 8,
}


def check(share: bytes, *, deep: bool = False) -> None:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= len(share)
        assert 0 <= length <= 2 << 20
        return share[offset : offset + length]

    check_layout(read, len(share), deep=deep)


def flipped(share: bytes, place: int, mask: int = 1) -> bytes:
    return share[:place] + bytes([share[place] ^ mask]) + share[place + 1 :]


def with_offset(share: bytes, name: str, value: int) -> bytes:
    place = 4 * FIELDS[name]
    return share[:place] + struct.pack(">L", value) + share[place + 4 :]


def widened(share: bytes, name: str, room: bytes) -> bytes:
    """Return the share with ``room`` in front of the part that the header names, and all offsets right."""
    header = parse_header(share)
    place = getattr(header, name)
    for later in list(FIELDS)[list(FIELDS).index(name) :]:
        share = with_offset(share, later, getattr(header, later) + len(room))
    return share[:place] + room + share[place:]


def with_extension(share: bytes, extension: bytes) -> bytes:
    header = parse_header(share)
    return share[: header.extension] + len(extension).to_bytes(header.field_size, "big") + extension


@pytest.mark.seed("S-046")
@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["name"]) for c in VECTORS["cases"] if c["size"] <= 400_000]
)
def test_every_share_of_the_vectors_passes(case: dict[str, Any]) -> None:
    plan = Segmentation.plan(case["size"], case["k"], case["n"], case["max_segment_size"])
    plaintext = generated_data(case["seed"], case["size"])
    shares, _ = build_shares(bytes.fromhex(case["key_hex"]), plaintext, plan, case["layout_version"])

    for share in shares:
        check(share)
    for share in (shares[0], shares[-1], *shares[1:-1:7]):
        check(share, deep=True)


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0", b"\0\0\0\3" + bytes(100), b"any bytes", bytes(500)])
def test_bytes_of_another_kind_are_none_of_its_business(data: bytes) -> None:
    check(data)
    check(data, deep=True)


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("name", FIELDS)
def test_an_offset_outside_the_share_is_refused(name: str) -> None:
    for value in (len(SHARE) + 1, 2**32 - 1):
        with pytest.raises(CorruptShareError):
            check(with_offset(SHARE, name, value))


@pytest.mark.parametrize("name", FIELDS)
def test_an_offset_within_the_header_is_refused(name: str) -> None:
    with pytest.raises(CorruptShareError):
        check(with_offset(SHARE, name, 35))


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("name", ["plaintext_hashes", "crypttext_hashes", "block_hashes", "share_hashes"])
def test_a_ragged_region_of_hashes_is_refused(name: str) -> None:
    value = getattr(HEADER, name)
    for other in (value - 1, value + 1):
        with pytest.raises(CorruptShareError):
            check(with_offset(SHARE, name, other))


@pytest.mark.seed("S-046", "S-009")
@pytest.mark.parametrize("size", [0, 1, 100, len(EXTENSION) - 1])
def test_a_truncated_extension_block_is_refused(size: int) -> None:
    with pytest.raises(CorruptShareError):
        check(SHARE[: len(SHARE) - len(EXTENSION) + size])
    with pytest.raises(CorruptShareError):
        check(with_extension(SHARE, EXTENSION[:size]))


def test_an_extension_block_cut_between_two_of_its_keys_is_refused() -> None:
    assert EXTENSION.endswith(b"total_shares:2:10,")
    with pytest.raises(CorruptShareError, match="cut short"):
        check(SHARE[: -len(b"total_shares:2:10,")])


@pytest.mark.seed("S-009")
def test_an_extension_block_of_1999_bytes_passes_and_one_of_2000_is_corruption() -> None:
    check(with_extension(SHARE, padded_extension(1999)), deep=True)
    with pytest.raises(CorruptShareError, match="too long"):
        check(with_extension(SHARE, padded_extension(2000)))


def padded_extension(size: int) -> bytes:
    """Return the block with one more key that brings it to ``size`` bytes; writers refuse to make it."""
    room = size - len(EXTENSION) - len(b"z:1000:,")
    extension = EXTENSION + b"z:" + netstring(bytes(room))
    assert len(extension) == size
    return extension


@pytest.mark.parametrize("key", ["segment_size", "crypttext_root_hash", "share_root_hash"])
def test_an_extension_block_without_what_readers_need_is_refused(key: str) -> None:
    mapping = unpack(EXTENSION)
    del mapping[key]
    with pytest.raises(CorruptShareError, match=key):
        check(with_extension(SHARE, pack(mapping)))


def test_bytes_behind_the_extension_block_do_not_matter() -> None:
    check(SHARE + b"more", deep=True)


@pytest.mark.parametrize("size", range(4, 36))
def test_a_share_shorter_than_its_header_is_refused(size: int) -> None:
    with pytest.raises(CorruptShareError):
        check(SHARE[:size])


def parts_of(header: ParsedHeader) -> dict[str, range]:
    return {
        "blocks": range(header.data, header.plaintext_hashes),
        "crypttext tree": range(header.crypttext_hashes, header.block_hashes),
        "block tree": range(header.block_hashes, header.share_hashes),
        "chain": range(header.share_hashes, header.extension),
    }


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("part", parts_of(HEADER))
def test_one_flipped_bit_anywhere_is_found_by_the_deep_check_alone(part: str) -> None:
    places = parts_of(HEADER)[part]
    for place in {*places[:: max(1, len(places) // 40)], places[-1]}:
        wrong = flipped(SHARE, place, 1 << place % 8)
        if part != "chain" or place % 34 > 1:
            check(wrong)
        with pytest.raises(CorruptShareError):
            check(wrong, deep=True)


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("key", ["share_root_hash", "crypttext_root_hash"])
def test_roots_other_than_those_of_the_extension_block_are_found(key: str) -> None:
    mapping = unpack(EXTENSION)
    mapping[key] = flipped(mapping[key], 0)
    wrong = with_extension(SHARE, pack(mapping))

    check(wrong)
    with pytest.raises(CorruptShareError):
        check(wrong, deep=True)


@pytest.mark.parametrize("name", ["block_hashes", "share_hashes"])
def test_a_tree_with_more_nodes_than_segments_need_is_found(name: str) -> None:
    wrong = widened(SHARE, name, bytes(32))

    check(wrong)
    with pytest.raises(CorruptShareError, match="31 nodes"):
        check(wrong, deep=True)


def test_a_share_without_room_for_its_blocks_is_found() -> None:
    wrong = with_offset(SHARE, "plaintext_hashes", HEADER.plaintext_hashes - 32)

    check(wrong)
    with pytest.raises(CorruptShareError, match="room"):
        check(wrong, deep=True)


def test_gaps_and_entries_beyond_need_do_not_matter() -> None:
    chain = SHARE[HEADER.share_hashes : HEADER.extension]

    check(widened(SHARE, "plaintext_hashes", b"gap"), deep=True)
    check(widened(SHARE, "extension", chain), deep=True)


def test_an_endless_chain_is_refused_unread() -> None:
    chain = SHARE[HEADER.share_hashes : HEADER.extension]

    with pytest.raises(CorruptShareError, match="entries"):
        check(widened(SHARE, "extension", chain * 20_000), deep=True)


def test_blocks_replaced_together_with_their_tree_are_found_by_the_chain() -> None:
    others, _ = build_shares(KEY, generated_data("other", 1000), PLAN)
    begin, end = HEADER.data, HEADER.share_hashes
    wrong = SHARE[:begin] + others[4][begin:end] + SHARE[end:]
    tree = slice(HEADER.crypttext_hashes, HEADER.block_hashes)
    wrong = wrong[: tree.start] + SHARE[tree] + wrong[tree.stop :]

    with pytest.raises(CorruptShareError, match="chain"):
        check(wrong, deep=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", b"1003"),
        ("size", b"0"),
        ("size", b"9" * 20),
        ("needed_shares", b"4"),
        ("total_shares", b"257"),
        ("total_shares", b""),
        ("num_segments", b"9"),
        ("segment_size", b"3"),
        ("segment_size", b"100"),
        ("segment_size", b"9" * 18),
        ("codec_params", b"102-3-11"),
        ("tail_codec_params", b"102-3-10"),
        ("codec_name", b"rs"),
    ],
)
def test_sizes_that_contradict_the_share_are_found(key: str, value: bytes) -> None:
    with pytest.raises(CorruptShareError):
        check(with_extension(SHARE, pack({**unpack(EXTENSION), key: value})), deep=True)


@pytest.mark.parametrize("key", ["size", "needed_shares", "total_shares"])
def test_the_deep_check_needs_the_sizes(key: str) -> None:
    mapping = unpack(EXTENSION)
    del mapping[key]
    with pytest.raises(CorruptShareError):
        check(with_extension(SHARE, pack(mapping)), deep=True)


@pytest.mark.parametrize(("piece", "nodes"), [(1, 2), (40, 2), (100, 4), (1 << 20, 1 << 12)])
def test_what_is_read_at_once_makes_no_difference(
    piece: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_check, "_PIECE", piece)
    monkeypatch.setattr(layout_check, "_NODES_AT_ONCE", nodes)

    check(SHARE, deep=True)
    for place in (HEADER.data, HEADER.plaintext_hashes - 1, HEADER.share_hashes - 1, HEADER.block_hashes):
        with pytest.raises(CorruptShareError):
            check(flipped(SHARE, place), deep=True)


def test_a_large_share_is_read_in_pieces() -> None:
    plan = Segmentation.plan(5 << 20, 2, 2, 8 << 20)
    shares, _ = build_shares(KEY, bytes(5 << 20), plan)

    check(shares[1], deep=True)
    with pytest.raises(CorruptShareError, match="blocks"):
        check(flipped(shares[1], 36 + (2 << 20)), deep=True)


def outcome(judge: Callable[[], None]) -> bool:
    try:
        judge()
    except CorruptShareError:
        return False
    return True


@given(st.sampled_from([b"\0\0\0\1", b"\0\0\0\2"]), st.binary(max_size=400))
def test_any_bytes_pass_or_are_refused(version: bytes, rest: bytes) -> None:
    outcome(lambda: check(version + rest, deep=True))


@given(
    st.lists(st.tuples(st.integers(0, len(SHARE) - 1), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, len(SHARE)),
)
@example([], len(SHARE))
def test_a_damaged_share_never_breaks_the_check(damage: list[tuple[int, bytes]], length: int) -> None:
    share = bytearray(SHARE)
    for place, data in damage:
        share[place : place + len(data)] = data
    wrong = bytes(share)[:length]
    shallow, deep = outcome(lambda: check(wrong)), outcome(lambda: check(wrong, deep=True))

    assert shallow or not deep
    if wrong == SHARE:
        assert deep
