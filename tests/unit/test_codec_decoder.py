"""The decoding side of the erasure codecs, and what leads from a file to its decoder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.codec import CODECS, CrsDecoder, CrsEncoder, RepDecoder, get_decoder_by_name
from holdfast.crypto.immutable_hashes import crypttext_segment_hash
from holdfast.crypto.kernel import SegmentDecoder
from holdfast.errors import BadFileError
from holdfast.formats.extension_block import ExtensionBlock, check_redundant
from holdfast.formats.segmentation import Segmentation

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/erasure.json").read_text())
HASH = bytes(32)


def _data(size: int) -> bytes:
    return hashlib.shake_128(b"codec").digest(size)


def _blocks(data: bytes, needed: int, total: int) -> list[bytes]:
    encoder = CrsEncoder()
    encoder.set_params(len(data), needed, total)
    return encoder.encode_proposal_now(data)[0]


def _decoder(params: str) -> CrsDecoder:
    decoder = CrsDecoder()
    decoder.set_serialized_params(params)
    return decoder


@pytest.mark.seed("S-145", "S-127")
@pytest.mark.parametrize(
    "params",
    [
        "",
        "30",
        "30-3",
        "30-3-10-1",
        "30-3-10 ",
        "30-3-10\n",
        "+30-3-10",
        "030-3-10",
        "1e-3-10",
        "30_0-3-10",
        "٣٠-3-10",
        "-30-3-10",
        "31-3-10",
        "0-3-10",
        "30-0-10",
        "30-11-10",
        "257-1-257",
        "30-3-" + "9" * 40,
        "9" * 43 + "-1-1",
        "9" * 5000 + "-1-1",
        f"{(1 << 40) + 1}-1-1",
    ],
)
def test_malformed_and_hostile_parameters_are_refused(params: str) -> None:
    with pytest.raises(ValueError, match=r"codec parameters|required_shares|data_size"):
        _decoder(params)


@pytest.mark.seed("S-145")
@given(st.integers(1, 256), st.integers(0, 255), st.integers(1, 1 << 30))
def test_parameters_of_any_encoder_are_taken(needed: int, more: int, block_size: int) -> None:
    encoder = CrsEncoder()
    encoder.set_params(needed * block_size, needed, min(needed + more, 256))
    assert _decoder(encoder.get_serialized_params()).get_needed_shares() == needed


@pytest.mark.seed("S-146")
@pytest.mark.parametrize("kind", [CrsDecoder, RepDecoder])
def test_parameters_come_before_everything(kind: type[CrsDecoder | RepDecoder]) -> None:
    decoder = kind()
    with pytest.raises(RuntimeError, match="set_serialized_params"):
        decoder.get_needed_shares()
    with pytest.raises(RuntimeError, match="set_serialized_params"):
        decoder.decode_now([b"a"], [0])
    decoder.set_serialized_params("10-1-4")
    assert decoder.get_needed_shares() == 1


@pytest.mark.seed("S-147")
@pytest.mark.parametrize(("needed", "total"), [(k, n) for n in range(1, 9) for k in range(1, n + 1)])
def test_every_set_of_shares_gives_the_data(needed: int, total: int) -> None:
    data = _data(needed * 5)
    blocks = _blocks(data, needed, total)
    decoder = _decoder(f"{len(data)}-{needed}-{total}")
    for numbers in combinations(range(total), needed):
        backwards = numbers[::-1]
        assert b"".join(decoder.decode_now([blocks[j] for j in backwards], backwards)) == data


@pytest.mark.seed("S-147")
def test_shares_come_in_any_order() -> None:
    data = _data(40)
    blocks = _blocks(data, 4, 9)
    for numbers in permutations((8, 1, 5, 3)):
        assert b"".join(_decoder("40-4-9").decode_now([blocks[j] for j in numbers], numbers)) == data


@pytest.mark.seed("S-147")
@given(st.data())
def test_sets_of_many_shares_give_the_data(draw: st.DataObject) -> None:
    total = draw.draw(st.integers(9, 256))
    needed = draw.draw(st.integers(1, total))
    data = _data(needed * draw.draw(st.integers(1, 40)))
    blocks = _blocks(data, needed, total)
    numbers = draw.draw(st.permutations(range(total)))[:needed]
    decoder = _decoder(f"{len(data)}-{needed}-{total}")
    assert b"".join(decoder.decode_now([blocks[j] for j in numbers], numbers)) == data


@pytest.mark.seed("S-147")
@pytest.mark.parametrize("vector", VECTORS["decode"], ids=lambda v: f"{v['k']}-of-{v['n']}-{v['block_size']}")
def test_data_is_that_of_the_vectors(vector: dict[str, Any]) -> None:
    k, n = vector["k"], vector["n"]
    decoder = _decoder(f"{k * vector['block_size']}-{k}-{n}")
    blocks = [bytes.fromhex(block) for block in vector["blocks_hex"]]
    assert b"".join(decoder.decode_now(blocks, vector["share_numbers"])).hex() == vector["data_hex"]


@pytest.mark.seed("S-148")
@pytest.mark.parametrize("sizes", [(10, 10, 9), (10, 11, 10), (9, 9, 9), (0, 0, 0)])
def test_shares_have_the_size_of_a_block(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        _decoder("30-3-10").decode_now([bytes(size) for size in sizes], [7, 8, 9])


@pytest.mark.seed("S-149")
def test_pieces_come_back_in_order_and_add_up() -> None:
    data = _data(30)
    blocks = _blocks(data, 3, 10)
    pieces = _decoder("30-3-10").decode_now([blocks[9], blocks[2], blocks[4]], [9, 2, 4])
    assert [bytes(piece) for piece in pieces] == [data[:10], data[10:20], data[20:]]


@pytest.mark.seed("S-150")
def test_primary_shares_are_returned_as_they_are_and_no_share_is_changed() -> None:
    shares = [memoryview(bytearray(block)) for block in _blocks(_data(30), 3, 10)]
    before = [bytes(share) for share in shares]
    pieces = _decoder("30-3-10").decode_now([shares[2], shares[0], shares[1]], [2, 0, 1])
    assert all(piece is share for piece, share in zip(pieces, shares[:3], strict=True))
    pieces = _decoder("30-3-10").decode_now([shares[8], shares[2], shares[9]], [8, 2, 9])
    assert pieces[2] is shares[2]
    assert [bytes(share) for share in shares] == before


@pytest.mark.seed("S-151")
@pytest.mark.parametrize("numbers", [[], [3, 4], [3, 4, 5, 6], [3, 4, 4], [3, 4, 10], [3, 4, -1]])
def test_exactly_the_needed_number_of_different_shares_is_taken(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="share"):
        _decoder("30-3-10").decode_now([bytes(10)] * len(numbers), numbers)
    with pytest.raises(ValueError, match="exactly 3"):
        _decoder("30-3-10").decode_now([bytes(10)] * 3, [3, 4])


@pytest.mark.seed("S-141")
def test_swapped_share_numbers_do_not_pass_the_hash_of_the_segment() -> None:
    data = _data(300)
    blocks = _blocks(data, 3, 10)
    for numbers in ([4, 7, 1], [7, 4, 1], [1, 4, 7], [4, 7, 2]):
        given = [blocks[j] for j in (4, 7, 1)]
        out = bytearray(300)
        segment_hash, _ = SegmentDecoder(None, 3).decode(given, numbers, 0, 300, out)
        right = numbers == [4, 7, 1]
        assert (segment_hash == crypttext_segment_hash(data)) is right
        assert (b"".join(_decoder("300-3-10").decode_now(given, numbers)) == data) is right


@pytest.mark.seed("S-128", "S-129")
def test_capability_and_extension_block_lead_to_the_decoder() -> None:
    data = _data(1000)
    plan = Segmentation.plan(len(data), 3, 10, 1 << 20)  # k, n and size are in the capability
    extension = ExtensionBlock.for_file(plan, HASH, HASH, HASH)
    stored = ExtensionBlock.from_bytes(extension.to_bytes())
    decoder = get_decoder_by_name(stored.others["codec_name"].decode())
    decoder.set_serialized_params(stored.others["tail_codec_params"].decode())

    blocks = _blocks(data.ljust(plan.tail_padded_size, b"\0"), 3, 10)
    assert b"".join(decoder.decode_now(blocks[7:], [7, 8, 9]))[: plan.size] == data


@pytest.mark.seed("S-129")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("codec_name", b"rep"),
        ("codec_params", b"1002-4-10"),
        ("tail_codec_params", b"1005-3-10"),
        ("total_shares", b"9"),
    ],
)
def test_an_extension_block_that_contradicts_the_capability_is_refused(key: str, value: bytes) -> None:
    plan = Segmentation.plan(1000, 3, 10, 1 << 20)
    extension = ExtensionBlock.for_file(plan, HASH, HASH, HASH)
    check_redundant(extension, plan)
    assert extension.others["codec_name"].decode() in CODECS
    with pytest.raises(BadFileError, match=key):
        check_redundant(replace(extension, others={**extension.others, key: value}), plan)


def test_any_copy_is_the_data() -> None:
    decoder = RepDecoder()
    with pytest.raises(ValueError, match="copy"):
        decoder.set_serialized_params("10-2-4")
    decoder.set_serialized_params("10-1-4")
    copy = _data(10)
    assert decoder.decode_now([copy], [3])[0] is copy
