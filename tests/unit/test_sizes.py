"""Sizes as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.node.sizes import parse_size


@pytest.mark.seed("X-11")
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("123", 123),
        ("5B", 5),
        ("10G", 10**10),
        ("5 MB", 5 * 10**6),
        ("5mB", 5 * 10**6),
        ("78Gb", 78 * 10**9),
        ("1k", 1000),
        ("1Ki", 1024),
        ("500Gi", 500 << 30),
        ("2 GiB", 2 << 30),
        ("3T", 3 * 10**12),
        (" 7M\n", 7 * 10**6),
    ],
)
def test_a_size_is_digits_a_power_and_b_in_either_case(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.seed("X-11")
@pytest.mark.parametrize(
    "text", ["", "bogus", "5X", "-1", "1.5G", "G", "5iB", "5 M B", "1_000", "٣", "5Kii", "1e3"]
)
def test_what_is_no_size_is_refused_and_never_means_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_size(text) >= 0
