"""Netstrings, read by offset and refused where ambiguous."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.netstring import netstring, split

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())


@pytest.mark.parametrize("case", VECTORS["netstring"], ids=lambda case: case["netstring_hex"][:40])
def test_netstrings_are_those_of_the_reference(case: dict[str, Any]) -> None:
    value, packed = bytes.fromhex(case["hex"]), bytes.fromhex(case["netstring_hex"])
    assert netstring(value) == packed
    assert split(packed) == (value, len(packed))


@given(st.lists(st.binary(max_size=50), max_size=8), st.binary(max_size=5))
def test_values_written_one_behind_the_other_come_back(values: list[bytes], before: bytes) -> None:
    packed = before + b"".join(map(netstring, values))
    found, offset = [], len(before)
    while offset < len(packed):
        value, offset = split(packed, offset)
        found.append(value)
    assert found == values
    assert offset == len(packed)


NO_LENGTH = [b"", b":,", b"5", b"5hello,", b"-1:,", b"+5:hello,", b" 5:hello,", b"5 :hello,"]
ODD_LENGTH = [b"05:hello,", b"00:,", b"1_0:0123456789,", "\u0665:hello,".encode(), b"9" * 30 + b":x,"]
WRONG_BODY = [b"5:hell,", b"5:hello", b"5:hello;", b"5:helloo,", b"99999999999999999999:x,"]


@pytest.mark.parametrize("data", NO_LENGTH + ODD_LENGTH + WRONG_BODY, ids=repr)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="netstring"):
        split(data)


@given(st.binary(max_size=12), st.integers(0, 14))
def test_arbitrary_bytes_give_a_netstring_or_a_value_error(data: bytes, offset: int) -> None:
    try:
        value, end = split(data, offset)
    except ValueError:
        return
    assert data[offset:end] == netstring(value)
