"""Base32: one text for any bytes, and no other text for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@pytest.mark.parametrize("case", VECTORS["base32_encode"], ids=lambda case: case["b32"] or "empty")
def test_text_and_bytes_are_those_of_the_reference(case: dict[str, Any]) -> None:
    assert base32.encode(bytes.fromhex(case["hex"])) == case["b32"]
    assert base32.decode(case["b32"]) == bytes.fromhex(case["hex"])


@pytest.mark.parametrize("case", VECTORS["base32_reject"], ids=lambda case: case["why"])
def test_text_that_no_encoder_makes_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="base32"):
        base32.decode(case["text"])


@pytest.mark.seed("S-001")
@pytest.mark.parametrize(("size", "characters"), [(16, 26), (20, 32), (32, 52)])
def test_a_hash_has_52_characters(size: int, characters: int) -> None:
    assert len(base32.encode(bytes(size))) == characters


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data: bytes) -> None:
    text = base32.encode(data)
    assert base32.decode(text) == data
    assert len(text) == -(-8 * len(data) // 5)
    assert base32.encode(memoryview(data)) == text


@given(st.text(st.sampled_from(ALPHABET + "A018=\nſé"), max_size=40) | st.text(max_size=10))
def test_decoding_accepts_only_what_encodes_to_the_same_text(text: str) -> None:
    try:
        data = base32.decode(text)
    except ValueError:
        return
    assert base32.encode(data) == text
