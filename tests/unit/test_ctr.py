"""Counter mode: one key stream, entered at any byte."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.ctr import CtrCipher

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())
KEY = bytes(range(16))


@pytest.mark.parametrize(
    "case", VECTORS["aes_ctr"], ids=lambda case: f"{len(case['key_hex']) // 2}-{case['offset']}"
)
def test_the_stream_is_that_of_the_reference(case: dict[str, Any]) -> None:
    cipher = CtrCipher(bytes.fromhex(case["key_hex"]), case["offset"])
    assert cipher.update(bytes.fromhex(case["plaintext_hex"])).hex() == case["crypttext_hex"]


@given(st.binary(max_size=300), st.integers(0, 2**70), st.lists(st.integers(0, 300), max_size=4))
def test_any_cuts_give_the_same_bytes(data: bytes, offset: int, cuts: list[int]) -> None:
    whole = CtrCipher(KEY, offset).update(data)
    bounds = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    running, pieces = CtrCipher(KEY, offset), b""
    for begin, end in pairwise(bounds):
        piece = data[begin:end]
        assert CtrCipher(KEY, offset + begin).update(piece) == whole[begin:end]
        pieces += running.update(piece)
    assert pieces == whole
    assert CtrCipher(KEY, offset).update(whole) == data


@given(st.binary(max_size=100), st.integers(0, 40), st.integers(0, 3))
def test_a_buffer_is_filled_in_place(data: bytes, offset: int, spare: int) -> None:
    out = bytearray(b"\xff" * (len(data) + spare))
    CtrCipher(KEY, offset).update_into(memoryview(data), memoryview(out))
    assert out == CtrCipher(KEY, offset).update(data) + b"\xff" * spare


def test_a_buffer_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer"):
        CtrCipher(KEY).update_into(bytes(10), bytearray(9))


@pytest.mark.parametrize("size", [0, 15, 17, 24, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 or 32 bytes"):
        CtrCipher(bytes(size))


def test_a_position_before_the_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        CtrCipher(KEY, -1)
