"""The URI extension block: written in one way, read without trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.immutable_hashes import ueb_hash
from holdfast.errors import BadFileError, CorruptShareError
from holdfast.formats import extension_block
from holdfast.formats.extension_block import (
    EXTENSION_SIZE_MAX,
    EXTENSION_SIZE_READ_MAX,
    SEGMENT_MEMORY_MAX,
    ExtensionBlock,
    check_redundant,
    is_usual,
    pack,
    packed_length,
    stated_segmentation,
    unpack,
    verified_extension_block,
)
from holdfast.formats.segmentation import Segmentation
from holdfast.interfaces.types import MAX_UEB, MAX_UEB_READ

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "immutable.json").read_text())
EXAMPLE = bytes.fromhex(VECTORS["worked_example"]["ueb_hex"])
PLAN = Segmentation.plan(100, 3, 10, 40)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
KEYS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=12)
KEYS_OF_TODAY = [
    "codec_name",
    "codec_params",
    "crypttext_hash",
    "crypttext_root_hash",
    "needed_shares",
    "num_segments",
    "segment_size",
    "share_root_hash",
    "size",
    "tail_codec_params",
    "total_shares",
]


def verified(data: bytes, **changed: Any) -> ExtensionBlock:
    """Take ``data`` as authentic, for the file of the worked example."""
    known = {"shares_needed": 3, "shares_total": 10, "size": 100, **changed}
    return verified_extension_block(data, ueb_hash(data), **known)


def altered(**changes: bytes | None) -> bytes:
    """Return the example with some values changed, or left out if None."""
    mapping = {**unpack(EXAMPLE), **changes}
    return pack({key: value for key, value in mapping.items() if value is not None})


@pytest.mark.seed("S-039", "S-042")
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_blocks_are_those_of_the_reference(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["ueb_hex"])
    plan = Segmentation.plan(case["size"], case["k"], case["n"], case["max_segment_size"])
    block = verified_extension_block(
        data, bytes.fromhex(case["ueb_hash_hex"]), case["k"], case["n"], case["size"]
    )
    assert block.segment_size == plan.segment_size
    assert stated_segmentation(block) == plan
    check_redundant(block, plan)
    assert block.crypttext_hash is not None
    again = ExtensionBlock.for_file(
        plan, block.crypttext_hash, block.crypttext_root_hash, block.share_root_hash
    )
    assert again.to_bytes() == block.to_bytes() == data
    assert packed_length(plan) == len(data)


@pytest.mark.seed("S-039")
def test_a_block_has_just_the_keys_of_today() -> None:
    block = ExtensionBlock.for_file(PLAN, bytes(32), bytes(32), bytes(32))
    assert list(unpack(block.to_bytes())) == KEYS_OF_TODAY


@pytest.mark.seed("S-040")
@given(st.dictionaries(KEYS, st.binary(max_size=40), max_size=12))
def test_any_dictionary_comes_back(mapping: dict[str, bytes]) -> None:
    assert unpack(pack(mapping)) == mapping


@pytest.mark.seed("S-042")
@given(st.dictionaries(KEYS, st.binary(max_size=20), max_size=8), st.randoms())
def test_the_order_of_the_dictionary_makes_no_difference(mapping: dict[str, bytes], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert pack(dict(items)) == pack(mapping)
    assert list(unpack(pack(mapping))) == sorted(mapping)


@pytest.mark.seed("S-042")
def test_a_key_is_followed_by_a_colon_and_a_netstring() -> None:
    assert pack({"size": b"3", "a-B_c": b"", "Zz": b"x:1,"}) == b"Zz:4:x:1,,a-B_c:0:,size:1:3,"


KEY_TWICE = [b"a:1:x,a:1:y,", b"a:1:x,a:1:x,"]
TRAILING = [b"a:1:x,b", b"a:1:x,,", b"a:1:x,\n", b" a:1:x,"]
WRONG_VALUE = [b"a:1:x", b"a:2:x,", b"a:1:xy", b"a:x:x,", b"a::x,", b"a:", b"a", b"a:-1:,", b"a:01:x,"]


@pytest.mark.seed("S-040")
@pytest.mark.parametrize("data", KEY_TWICE + TRAILING + WRONG_VALUE, ids=repr)
def test_what_is_no_dictionary_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"extension block|netstring"):
        unpack(data)


def test_keys_may_come_in_any_order_on_reading() -> None:
    assert unpack(b"b:1:x,a:1:y,") == {"b": b"x", "a": b"y"}


@pytest.mark.seed("S-041")
@pytest.mark.parametrize("key", ["", "a1", "a b", "a\n", "é", "a:", "a.b", "\u017f", "a\0"], ids=repr)
def test_keys_are_letters_underscore_and_hyphen(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        pack({key: b"x"})
    with pytest.raises(ValueError, match=r"key|netstring"):
        unpack(key.encode() + b":1:x,")


@given(st.binary(max_size=60) | st.lists(st.sampled_from([b"a:", b"b:", b"1:", b"x", b","])).map(b"".join))
def test_arbitrary_bytes_give_a_dictionary_or_a_value_error(data: bytes) -> None:
    try:
        mapping = unpack(data)
    except ValueError:
        return
    assert sorted(pack(mapping)) == sorted(data)


@pytest.mark.seed("S-009")
@given(st.integers(1, 10**12), st.integers(1, 256), st.integers(0, 255), st.integers(1, 1 << 26))
def test_what_writers_make_is_usual(size: int, k: int, more: int, segment_size: int) -> None:
    plan = Segmentation.plan(size, k, min(k + more, 256), segment_size)
    assert is_usual(ExtensionBlock.for_file(plan, b"," * 32, b"\n" * 32, b":" * 32).to_bytes())


@given(st.integers(0, len(EXAMPLE) - 1), st.binary(max_size=2), st.integers(0, 2))
def test_what_is_usual_parses(place: int, put: bytes, taken: int) -> None:
    data = EXAMPLE[:place] + put + EXAMPLE[place + taken :]
    if is_usual(data):
        ExtensionBlock.from_bytes(data)


def test_writers_stay_within_1000_bytes_and_readers_take_1999() -> None:
    assert EXTENSION_SIZE_MAX == MAX_UEB == 1000
    assert EXTENSION_SIZE_READ_MAX == MAX_UEB_READ == 1999
    assert len(pack({"a": bytes(1000 - 7)})) == 1000
    with pytest.raises(ValueError, match="1000 bytes, not 1001"):
        pack({"a": bytes(1001 - 7)})

    filler = EXAMPLE + b"z:%d:%b," % (1999 - len(EXAMPLE) - 8, bytes(1999 - len(EXAMPLE) - 8))
    assert len(filler) == 1999
    assert verified(filler).segment_size == 42
    longer = EXAMPLE + b"z:%d:%b," % (2000 - len(EXAMPLE) - 8, bytes(2000 - len(EXAMPLE) - 8))
    assert len(longer) == 2000
    with pytest.raises(CorruptShareError):
        verified(longer)
    with pytest.raises(ValueError, match="1999"):
        unpack(longer)


@pytest.mark.seed("S-009")
def test_the_block_of_a_large_file_is_small() -> None:
    assert packed_length(Segmentation.plan(1 << 40, 3, 10, 1 << 20)) < 400
    assert packed_length(Segmentation.plan(2**63, 255, 256, 1 << 20)) < 400


@pytest.mark.seed("S-043")
@given(st.integers(0, len(EXAMPLE) * 8 - 1))
def test_one_flipped_bit_is_noticed_before_anything_is_parsed(bit: int) -> None:
    data = bytearray(EXAMPLE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension_block, "unpack", lambda data: pytest.fail("parsed before it was proven"))
        with pytest.raises(CorruptShareError):
            verified_extension_block(bytes(data), ueb_hash(EXAMPLE), 3, 10, 100)


@pytest.mark.seed("S-001", "S-039")
@pytest.mark.parametrize(
    "changes",
    [
        {"segment_size": None},
        {"crypttext_root_hash": None},
        {"share_root_hash": None},
        {"segment_size": b"0"},
        {"segment_size": b"41"},
        {"segment_size": b""},
        {"segment_size": b"-42"},
        {"segment_size": b"+42"},
        {"segment_size": b"4 2"},
        {"segment_size": b"4_2"},
        {"segment_size": b"42\n"},
        {"segment_size": "\u0664\u0662".encode()},
        {"segment_size": b"42" * 40},
        {"crypttext_root_hash": b""},
        {"crypttext_root_hash": bytes(31)},
        {"share_root_hash": bytes(33)},
    ],
    ids=repr,
)
def test_an_authentic_block_that_makes_no_sense_is_the_uploaders_fault(changes: dict[str, Any]) -> None:
    with pytest.raises(BadFileError):
        verified(altered(**changes))


def test_an_authentic_block_that_does_not_parse_is_the_uploaders_fault() -> None:
    for data in (b"", b"garbage", EXAMPLE[:-1], EXAMPLE + b"size:3:100,"):
        with pytest.raises(BadFileError):
            verified(data)


def test_a_segment_larger_than_the_reader_takes_is_refused_but_a_large_number_is_not() -> None:
    huge = altered(segment_size=b"%d" % (3 * SEGMENT_MEMORY_MAX))
    with pytest.raises(BadFileError, match="more than this reader takes"):
        verified(huge, size=4 * SEGMENT_MEMORY_MAX)
    assert verified(huge, size=100).segment_size == 3 * SEGMENT_MEMORY_MAX


@pytest.mark.seed("S-039")
def test_unknown_keys_and_those_of_old_files_are_ignored() -> None:
    block = verified(altered(plaintext_hash=bytes(32), plaintext_root_hash=bytes(32), future=b"?"))
    check_redundant(block, PLAN)


@pytest.mark.seed("S-039")
@pytest.mark.parametrize(
    "changes",
    [
        {"crypttext_hash": bytes(31)},
        {"codec_name": b"CRS"},
        {"codec_params": b"42-3-11"},
        {"codec_params": b"42-3"},
        {"codec_params": b"42-3-10-"},
        {"codec_params": b"42,3,10"},
        {"tail_codec_params": b"16-3-10"},
        {"num_segments": b"4"},
        {"num_segments": b""},
        {"size": b"101"},
        {"size": b"1-0-0"},
        {"needed_shares": b"4"},
        {"total_shares": b"11"},
    ],
    ids=repr,
)
def test_the_verifier_notices_what_readers_need_not_read(changes: dict[str, bytes]) -> None:
    block = verified(altered(**changes))
    with pytest.raises(BadFileError):
        check_redundant(block, PLAN)


def test_the_verifier_does_not_miss_redundant_keys() -> None:
    needed = ("segment_size", "crypttext_root_hash", "share_root_hash")
    block = verified(pack({key: unpack(EXAMPLE)[key] for key in needed}))
    check_redundant(block, PLAN)
    assert block.crypttext_hash is None
    with pytest.raises(BadFileError):
        stated_segmentation(block)


@pytest.mark.parametrize(
    "changes", [{"size": b"0"}, {"needed_shares": b"11"}, {"total_shares": b"257"}, {"needed_shares": b"4"}]
)
def test_stated_sizes_that_cannot_be_are_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(BadFileError):
        stated_segmentation(ExtensionBlock.from_bytes(altered(**changes)))
