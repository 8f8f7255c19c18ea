"""Bundles are proven as they are read: whatever is altered, left out, added or moved is noticed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.formats import deterministic_cbor
from holdfast.formats.vdrive.bundle import (
    BadBundleError,
    BundleHeader,
    BundleReader,
    encode_end,
    encode_entry,
    encode_header,
)
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.growing_root import GrowingRoot
from holdfast.formats.vdrive.head import first_head, next_head, sign_head
from holdfast.formats.vdrive.tree import EMPTY, root_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())["bundle"]
KEYS = WriteKeys(bytes.fromhex(VECTORS["write_key_hex"]))
INDEX = KEYS.read.index
BUNDLE = bytes.fromhex(VECTORS["bundle_hex"])
HASHES = st.binary(min_size=32, max_size=32)


def read(data: bytes, index: bytes = INDEX, pieces: int = 1 << 20) -> tuple[BundleReader, list[SealedEntry]]:
    reader = BundleReader(index)
    entries: list[SealedEntry] = []
    for at in range(0, len(data), pieces):
        entries += reader.feed(data[at : at + pieces])
    reader.finish()
    return reader, entries


def joined(header: BundleHeader, entries: Sequence[SealedEntry], count: int | None = None) -> bytes:
    count = len(entries) if count is None else count
    return b"".join((encode_header(header), *map(encode_entry, entries), encode_end(count)))


READER, ENTRIES = read(BUNDLE)
assert READER.header is not None
HEADER = READER.header


@pytest.mark.parametrize("pieces", [1, 7, 1000, 1 << 20])
def test_the_bundle_of_the_reference_is_read_in_any_pieces(pieces: int) -> None:
    reader, entries = read(BUNDLE, pieces=pieces)
    assert reader.head is not None
    assert (reader.head.version, reader.head.count, len(entries)) == (2, 3, 3)
    assert reader.header == HEADER
    assert [list(map(bytes.hex, head)) for head in (*HEADER.tail, HEADER.head)] == VECTORS["heads_hex"]
    assert (HEADER.refresh_id, HEADER.verify_key) == (KEYS.read.refresh_id, KEYS.verify_key)


def test_the_bundle_of_the_reference_is_written() -> None:
    assert joined(HEADER, ENTRIES) == BUNDLE


def test_an_empty_directory_has_a_bundle() -> None:
    header = replace(HEADER, head=first_head(KEYS), tail=())
    reader, entries = read(joined(header, ()))
    assert (reader.header, entries) == (header, [])


def test_a_bundle_that_is_cut_anywhere_is_noticed() -> None:
    for size in range(len(BUNDLE)):
        with pytest.raises(BadBundleError):
            read(BUNDLE[:size])
    with pytest.raises(BadBundleError, match="follow"):
        read(BUNDLE + b"\x00")


def test_flipped_bits_are_noticed_but_in_what_vouches_for_nothing() -> None:
    tail_signature = BUNDLE.index(HEADER.tail[0].signature)
    other_signature = BUNDLE.index(HEADER.tail[1].signature)
    free = {*range(tail_signature, tail_signature + 64), *range(other_signature, other_signature + 64)}
    time = BUNDLE.index(deterministic_cbor.encode({9: HEADER.time})[1:])  # nobody signs when it was made
    free |= set(range(time + 1, time + 6))
    for at in set(range(len(BUNDLE))) - free:
        altered = bytearray(BUNDLE)
        altered[at] ^= 1 << (at % 8)
        with pytest.raises(BadBundleError):
            read(bytes(altered))


@pytest.mark.parametrize(
    "entries",
    [
        ENTRIES[1:],
        ENTRIES[:-1],
        ENTRIES[::-1],
        [*ENTRIES, ENTRIES[-1]],
        [ENTRIES[0], *ENTRIES],
        [*ENTRIES[:-1], ENTRIES[-1]._replace(version=ENTRIES[-1].version % 2 + 1)],
        [*ENTRIES[:-1], ENTRIES[-1]._replace(version=3)],
        [*ENTRIES[:-1], ENTRIES[-1]._replace(version=0)],
        [*ENTRIES[:-1], ENTRIES[-1]._replace(write=bytes(33))],
        [*ENTRIES[:-1], ENTRIES[-1]._replace(read=b"")],
        [ENTRIES[0]._replace(slot=bytes(31)), *ENTRIES[1:]],
    ],
)
def test_other_entries_are_noticed(entries: list[SealedEntry]) -> None:
    with pytest.raises(BadBundleError):
        read(joined(HEADER, entries))


@pytest.mark.parametrize("count", [0, 2, 4, -1, True])
def test_another_count_at_the_end_is_noticed(count: int) -> None:
    with pytest.raises(BadBundleError):
        read(joined(HEADER, ENTRIES, count))


OTHER = WriteKeys(b"\x09" * 32)


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, index=bytes(32)),
        replace(HEADER, index=OTHER.read.index),
        replace(HEADER, refresh_id=bytes(32)),
        replace(HEADER, verify_key=OTHER.verify_key),
        replace(HEADER, commitment=bytes(32)),
        replace(HEADER, commitment=b""),
        replace(HEADER, head=HEADER.tail[1]),
        replace(HEADER, head=first_head(OTHER)),
        replace(HEADER, head=HEADER.head._replace(signature=bytes(64))),
        replace(HEADER, head=HEADER.head._replace(signature=b"")),
        replace(HEADER, tail=HEADER.tail[::-1]),
        replace(HEADER, tail=HEADER.tail[:1]),
        replace(HEADER, tail=(first_head(OTHER), HEADER.tail[1])),
        replace(HEADER, tail=(*HEADER.tail, HEADER.head)),
        replace(HEADER, tail=(HEADER.tail[0],) * 1001),
        replace(HEADER, time=-1),
    ],
)
def test_a_header_whose_parts_do_not_fit_together_is_refused(header: BundleHeader) -> None:
    with pytest.raises(BadBundleError):
        read(joined(header, ENTRIES))


def test_a_tail_that_leaves_out_versions_is_refused() -> None:
    assert READER.head is not None
    header = replace(HEADER, head=sign_head(KEYS, replace(READER.head, version=7)))
    with pytest.raises(BadBundleError, match="follow one another"):
        read(joined(header, ENTRIES))


@pytest.mark.parametrize(
    "end", ["b802010265656e6403", "a201 78 03 656e64 02 03", "a203656e640203", "a202 03 01 63 656e64"]
)
def test_another_encoding_of_the_end_is_refused(end: str) -> None:
    whole = joined(HEADER, ENTRIES)
    usual = encode_end(3)
    assert read(whole.removesuffix(usual) + usual)
    with pytest.raises(BadBundleError):
        read(whole.removesuffix(usual) + bytes.fromhex(end))


def test_an_entry_in_another_encoding_is_refused() -> None:
    parts = [encode_header(HEADER), *map(encode_entry, ENTRIES), encode_end(3)]
    parts[1] = b"\x98\x06" + parts[1][1:]
    with pytest.raises(BadBundleError, match="deterministic"):
        read(b"".join(parts))


def test_a_tail_may_begin_anywhere() -> None:
    for tail in ((), HEADER.tail[1:]):
        reader, _ = read(joined(replace(HEADER, tail=tail), ENTRIES))
        assert reader.header is not None
        assert reader.header.tail == tail


def test_a_bundle_of_another_directory_than_expected_is_refused() -> None:
    with pytest.raises(BadBundleError, match="another directory"):
        read(BUNDLE, index=OTHER.read.index)


def test_an_item_without_end_is_refused_before_it_fills_the_memory() -> None:
    reader = BundleReader(INDEX)
    with pytest.raises(BadBundleError, match="too long"):
        for _ in range(100):
            reader.feed(b"\x5a\xff\xff\xff\xff" + bytes(1 << 16))


@given(st.binary(max_size=100))
def test_bytes_that_are_no_bundle_are_refused(data: bytes) -> None:
    with pytest.raises(BadBundleError):
        read(data)


@given(
    HASHES,
    st.lists(st.tuples(st.integers(0, 31), HASHES), max_size=12, unique_by=lambda pair: pair[1]),
    st.data(),
)
def test_a_root_grows_to_that_of_the_whole_tree(
    base: bytes, parts: list[tuple[int, bytes]], draw: st.DataObject
) -> None:
    slots = sorted({base[:shared] + other[shared:] for shared, other in parts})
    cut = draw.draw(st.integers(0, len(slots)))
    root = GrowingRoot()
    root.add(slots[:cut], slots[:cut])
    root.add(slots[cut:], slots[cut:])
    assert root.count == len(slots)
    assert root.value() == root_of([(slot, slot) for slot in slots])


def test_a_root_does_not_grow_backwards() -> None:
    root = GrowingRoot()
    root.add([b"\x02" * 32], [bytes(32)])
    for slot in (b"\x01" * 32, b"\x02" * 32):
        with pytest.raises(ValueError, match="ascend"):
            root.add([slot], [bytes(32)])
    assert GrowingRoot().value() == EMPTY


def test_a_long_tail_is_read() -> None:
    heads = [first_head(KEYS)]
    for number in range(1001):
        follower = next_head(
            heads[-1].head, root=EMPTY, count=0, operations=b"\x80", time=number, nonce=bytes(16)
        )
        heads.append(sign_head(KEYS, follower))
    header = replace(HEADER, head=heads[-1], tail=tuple(heads[-1001:-1]))
    reader, _ = read(joined(header, ()), pieces=1 << 16)
    assert reader.header == header
