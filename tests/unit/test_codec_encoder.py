"""The encoding side of the erasure codecs."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import zfec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import codec, kernel
from holdfast.crypto.codec import CODECS, CrsDecoder, CrsEncoder, RepEncoder, get_decoder_by_name

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/erasure.json").read_text())
PARAMS_GRID = [
    (size * k, k, n)
    for k, n in ((1, 1), (1, 10), (3, 10), (5, 5), (25, 100), (255, 256))
    for size in (1, 7, 1000)
]

native_only = pytest.mark.skipif(
    kernel.implementation() == "python",
    reason="without the native kernel, sums of products take memory of their own",
)


def _encoder(data_size: int, needed: int, total: int) -> CrsEncoder:
    encoder = CrsEncoder()
    encoder.set_params(data_size, needed, total)
    return encoder


def _data(size: int) -> bytes:
    return hashlib.shake_128(b"codec").digest(size)


def _slices(data: bytes, count: int) -> list[bytes]:
    size = len(data) // count
    return [data[start : start + size] for start in range(0, len(data), size)]


def _peak(call: Callable[[], object]) -> int:
    """Return the most bytes that ``call`` held at once, its result included."""
    call()  # tables are made the first time
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        del result
        tracemalloc.stop()


@pytest.mark.seed("S-116")
@pytest.mark.parametrize(("data_size", "needed", "total"), PARAMS_GRID)
def test_parameters_make_that_many_blocks_and_any_needed_ones_suffice(
    data_size: int, needed: int, total: int
) -> None:
    encoder, data = _encoder(data_size, needed, total), _data(data_size)
    blocks, numbers = encoder.encode_now(_slices(data, needed))
    assert len(blocks) == total
    decoder = CrsDecoder()
    decoder.set_serialized_params(encoder.get_serialized_params())
    few = list(combinations(numbers, needed)) if total <= 8 else [numbers[-needed:], numbers[:needed]]
    for chosen in few:
        assert b"".join(decoder.decode_now([blocks[j] for j in chosen], chosen)) == data


@pytest.mark.seed("S-117")
def test_one_encoder_serves_many_threads_at_once() -> None:
    encoder = _encoder(30_000, 3, 10)
    inputs = [_data(30_000 + i)[i:] for i in range(16)]
    expected = [_encoder(30_000, 3, 10).encode_proposal_now(data) for data in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encoder.encode_proposal_now, inputs)) == expected


@pytest.mark.seed("S-118")
def test_five_of_five_is_a_plain_split() -> None:
    data = _data(1000)
    assert _encoder(1000, 5, 5).encode_proposal_now(data) == (_slices(data, 5), [0, 1, 2, 3, 4])


@pytest.mark.seed("S-119")
def test_one_of_ten_is_ten_copies() -> None:
    data = _data(1000)
    assert _encoder(1000, 1, 10).encode_now([data]) == ([data] * 10, list(range(10)))


@pytest.mark.seed("S-120")
@pytest.mark.parametrize("data_size", [29, 31, 0, -30, (1 << 40) + 2])
def test_data_size_is_a_multiple_of_the_shares_needed(data_size: int) -> None:
    _encoder(30, 3, 10)
    with pytest.raises(ValueError, match="data_size"):
        CrsEncoder().set_params(data_size, 3, 10)


@pytest.mark.seed("S-121")
def test_numbers_of_shares_have_limits() -> None:
    _encoder(10, 10, 10)
    _encoder(256, 256, 256)
    for needed, total in ((11, 10), (0, 10), (-1, 10), (1, 257), (257, 257)):
        with pytest.raises(ValueError, match="required_shares"):
            CrsEncoder().set_params(257 * 11 * 10, needed, total)


@native_only
@pytest.mark.seed("S-122")
@pytest.mark.parametrize("data_size", [3 << 10, 3 << 15, 3 << 18])
def test_blocks_take_total_over_needed_times_the_data_and_memory_grows_with_it(data_size: int) -> None:
    encoder, pieces = _encoder(data_size, 3, 10), _slices(_data(data_size), 3)
    blocks, _ = encoder.encode_now(pieces)
    assert sum(map(len, blocks)) == data_size * 10 // 3
    assert 0 <= _peak(lambda: encoder.encode_now(pieces)) - data_size * 7 // 3 < 4000


@pytest.mark.seed("S-123")
@pytest.mark.parametrize("kind", [CrsEncoder, RepEncoder])
def test_parameters_come_first(kind: type[CrsEncoder | RepEncoder]) -> None:
    calls: list[Callable[[CrsEncoder | RepEncoder], object]] = [
        lambda e: e.get_encoder_type(),
        lambda e: e.get_serialized_params(),
        lambda e: e.get_block_size(),
        lambda e: e.encode_now([b"abc"]),
        lambda e: e.encode_proposal_now(b"abc"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="set_params"):
            call(kind())


@pytest.mark.seed("S-124", "S-125")
def test_each_codec_states_the_name_it_is_found_by() -> None:
    assert set(CODECS) == {"crs", "rep"}
    for name, (encoder_type, decoder_type) in CODECS.items():
        assert re.fullmatch(r"[a-z]{1,8}", name)
        encoder = codec.get_encoder_by_name(name)
        encoder.set_params(10, 1, 10)
        assert encoder.get_encoder_type() == name
        assert type(encoder) is encoder_type
        assert type(get_decoder_by_name(name)) is decoder_type


@pytest.mark.seed("S-125")
@pytest.mark.parametrize("find", [codec.get_encoder_by_name, codec.get_decoder_by_name])
def test_an_unknown_codec_is_refused(find: Callable[[str], object]) -> None:
    for name in ("", "CRS", "xor"):
        with pytest.raises(codec.UnknownCodecError):
            find(name)


@pytest.mark.seed("S-126", "S-127")
@pytest.mark.parametrize(("data_size", "needed", "total"), [*PARAMS_GRID, (1 << 40, 256, 256)])
def test_parameters_fit_into_an_address_and_prepare_a_decoder(
    data_size: int, needed: int, total: int
) -> None:
    params = _encoder(data_size, needed, total).get_serialized_params()
    assert params == f"{data_size}-{needed}-{total}"
    assert re.fullmatch(r"[0-9a-f-]{1,48}", params)
    decoder = CrsDecoder()
    decoder.set_serialized_params(params)
    assert decoder.get_needed_shares() == needed


@pytest.mark.seed("S-130")
@pytest.mark.parametrize(("data_size", "needed", "total"), PARAMS_GRID)
def test_block_size_is_the_size_of_each_block(data_size: int, needed: int, total: int) -> None:
    encoder = _encoder(data_size, needed, total)
    blocks, _ = encoder.encode_proposal_now(_data(data_size))
    assert {len(block) for block in blocks} == {encoder.get_block_size()} == {data_size // needed}


@pytest.mark.seed("S-131", "S-137")
def test_one_buffer_or_its_slices_give_the_same() -> None:
    data = _data(300)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert _encoder(300, 3, 10).encode_proposal_now(buffer) == _encoder(300, 3, 10).encode_now(
            _slices(data, 3)
        )
    for size in (299, 301, 0):
        with pytest.raises(ValueError, match="300 bytes"):
            _encoder(300, 3, 10).encode_proposal_now(_data(size))


@pytest.mark.seed("S-131")
def test_one_buffer_is_cut_without_copying_it() -> None:
    data = bytearray(_data(300))
    seen: list[memoryview] = []

    def look(rows: bytes, pieces: Sequence[memoryview]) -> list[bytes]:
        seen.extend(pieces)
        return [b""] * 7

    with patch("holdfast.crypto.codec.products", look):
        _encoder(300, 3, 10).encode_proposal_now(data)
    assert all(piece.obj is data for piece in seen)


@pytest.mark.seed("S-132", "S-133", "S-143")
def test_two_lists_of_one_length_come_back() -> None:
    encoder = _encoder(300, 3, 10)
    for ids, count in ((None, 10), ([9], 1), ([], 0), ([4, 0, 7], 3)):
        result = encoder.encode_proposal_now(_data(300), ids)
        assert [type(part) for part in result] == [list, list]
        blocks, numbers = result
        assert len(blocks) == len(numbers) == count
        assert all(type(block) is bytes for block in blocks)
        assert numbers == (list(range(10)) if ids is None else ids)


@pytest.mark.seed("S-134")
@pytest.mark.parametrize("vector", VECTORS["encode"], ids=lambda v: f"{v['k']}-of-{v['n']}-{v['block_size']}")
def test_blocks_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    k, n = vector["k"], vector["n"]
    blocks, _ = _encoder(k * vector["block_size"], k, n).encode_now(
        [bytes.fromhex(piece) for piece in vector["data_blocks_hex"]]
    )
    assert [block.hex() for block in blocks] == vector["data_blocks_hex"] + vector["check_blocks_hex"]


@pytest.mark.seed("S-134")
@pytest.mark.parametrize(
    "vector", VECTORS["encode_big"], ids=lambda v: f"{v['k']}-of-{v['n']}-{v['block_size']}"
)
def test_big_blocks_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    k, n, size = vector["k"], vector["n"], vector["k"] * vector["block_size"]
    stream = (hashlib.sha256(b"%s:%d" % (vector["seed"].encode(), i)).digest() for i in range(size // 32 + 1))
    data = b"".join(stream)[:size]
    assert hashlib.sha256(data).hexdigest() == vector["data_sha256"]
    blocks, _ = _encoder(size, k, n).encode_proposal_now(data, range(k, n))
    assert [hashlib.sha256(block).hexdigest() for block in blocks] == vector["check_blocks_sha256"]


@pytest.mark.seed("S-134")
@given(st.data())
def test_blocks_are_those_of_zfec(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 256))
    k = data.draw(st.integers(1, n))
    pieces = _slices(_data(k * data.draw(st.integers(1, 70))), k)
    blocks, _ = _encoder(len(pieces[0]) * k, k, n).encode_now(pieces)
    assert blocks == zfec.Encoder(k, n).encode(pieces)


@pytest.mark.seed("S-135")
def test_calls_between_calls_change_nothing() -> None:
    encoder, a, b = _encoder(300, 3, 10), _data(300), bytes(300)
    first = encoder.encode_proposal_now(a)
    encoder.encode_proposal_now(b, [8])
    assert encoder.encode_proposal_now(a) == first


@pytest.mark.seed("S-136", "S-144")
def test_pieces_have_one_size_and_add_up_to_the_data() -> None:
    encoder = _encoder(300, 3, 10)
    piece = bytes(100)
    for pieces in (
        [],
        [piece] * 2,
        [piece] * 4,
        [piece, piece, bytes(99)],  # unpadded
        [piece, bytes(99), bytes(101)],
        [bytes(101)] * 3,
    ):
        with pytest.raises(ValueError, match=r"piece"):
            encoder.encode_now(pieces)


@pytest.mark.seed("S-136")
def test_a_tail_of_one_byte_is_padded_by_the_caller() -> None:
    encoder = _encoder(3, 3, 10)
    with pytest.raises(ValueError, match="pad"):
        encoder.encode_now([b"x", b"", b""])
    blocks, _ = encoder.encode_now([b"x", b"\0", b"\0"])
    assert blocks[:3] == [b"x", b"\0", b"\0"]


@pytest.mark.seed("S-138")
def test_what_is_encoded_is_called_pieces() -> None:
    assert list(inspect.signature(CrsEncoder.encode_now).parameters) == [
        "self",
        "pieces",
        "desired_share_ids",
    ]
    assert _encoder(3, 3, 3).encode_now(pieces=[b"a", b"b", b"c"])[0] == [b"a", b"b", b"c"]


@pytest.mark.seed("S-139")
@given(st.lists(st.integers(0, 9), unique=True))
def test_only_the_desired_shares_are_made_in_the_order_asked_for(ids: list[int]) -> None:
    encoder, data = _encoder(300, 3, 10), _data(300)
    everything, _ = encoder.encode_proposal_now(data)
    assert encoder.encode_proposal_now(data, ids) == ([everything[j] for j in ids], ids)


@pytest.mark.seed("S-139")
@pytest.mark.parametrize("ids", [[10], [-1], [0, 256], [3, 3]])
def test_share_numbers_are_different_and_in_range(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="share number"):
        _encoder(300, 3, 10).encode_proposal_now(_data(300), ids)


@pytest.mark.seed("S-140")
def test_fewer_shares_take_fewer_products() -> None:
    encoder, pieces = _encoder(300, 3, 10), _slices(_data(300), 3)
    counts = []
    for ids in (list(range(10)), [3, 9], [0, 5], [0, 1, 2]):
        with patch("holdfast.crypto.codec.products", wraps=kernel.products) as products:
            encoder.encode_now(pieces, ids)
        counts.append(sum(len(call.args[0]) for call in products.call_args_list))
    assert counts == [7 * 3, 2 * 3, 1 * 3, 0]


@native_only
@pytest.mark.seed("S-140")
@pytest.mark.parametrize(("ids", "made"), [(range(10), 7), ([3, 9], 2), ([0, 5], 1), ([0, 1, 2], 0)])
def test_fewer_shares_take_less_memory(ids: Sequence[int], made: int) -> None:
    encoder, pieces = _encoder(3 << 16, 3, 10), _slices(_data(3 << 16), 3)
    assert 0 <= _peak(lambda: encoder.encode_now(pieces, ids)) - made * (1 << 16) < 4000


@native_only
@pytest.mark.seed("S-142")
def test_encoding_allocates_the_check_blocks_and_little_else() -> None:
    size = (1 << 20) // 3 * 3
    encoder, pieces = _encoder(size, 3, 10), _slices(_data(size), 3)
    check_blocks = 7 * size // 3
    assert check_blocks <= _peak(lambda: encoder.encode_now(pieces)) <= check_blocks * 1.1 + 10_000


def test_copies_need_one_share_only() -> None:
    encoder = RepEncoder()
    with pytest.raises(ValueError, match="copy"):
        encoder.set_params(10, 2, 10)
    encoder.set_params(10, 1, 4)
    data = _data(10)
    assert encoder.encode_now([data], [3, 1]) == ([data, data], [3, 1])
    assert encoder.encode_proposal_now(data) == ([data] * 4, [0, 1, 2, 3])
    assert (encoder.get_block_size(), encoder.get_serialized_params()) == (10, "10-1-4")
