"""Header values that need more than a comparison."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.storage_errors import BadRangeError
from holdfast.servers.storage.negotiation import accepts_cbor, is_cbor, requested_range, sent_range

TEXT = st.text(st.characters(max_codepoint=255), max_size=40)
HEADERISH = st.text("bytes=-0123456789/*, q;.applicontr", max_size=30)


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ([], True),
        (["application/cbor"], True),
        ([""], True),
        (["*/*"], True),
        (["text/html", "application/cbor;q=0.1"], True),
        (["application/*;q=0.5, */*;q=0"], True),
        (["application/cbor;q=0, */*"], False),
        (["application/*;q=0, */*"], False),
        (["*/*;q=0"], False),
        (["application/cbor;q=nonsense"], False),
        (["application/cbor; profile=x"], False),
        (["text/html"], False),
        (["cbor"], False),
    ],
)
def test_the_most_specific_media_range_decides(values: list[str], accepted: bool) -> None:
    assert accepts_cbor(values) == accepted


@given(st.lists(TEXT | HEADERISH, max_size=3))
def test_no_accept_header_is_too_odd(values: list[str]) -> None:
    assert accepts_cbor(values) in (True, False)


def test_parameters_of_a_content_type_are_ignored() -> None:
    assert is_cbor(None)
    assert is_cbor("application/cbor")
    assert is_cbor("Application/CBOR ; charset=x")
    assert not is_cbor("application/json")
    assert not is_cbor("")


@given(st.integers(0, 2**65), st.integers(0, 2**65))
def test_one_closed_range_is_understood(first: int, more: int) -> None:
    last = first + more
    assert requested_range([f"bytes={first}-{last}"]) == (first, last + 1)
    assert sent_range([f"bytes {first}-{last}/*"]) == (first, last + 1, None)
    assert sent_range([f"bytes {first}-{last}/{last + 1}"]) == (first, last + 1, last + 1)


@given(TEXT | HEADERISH)
def test_anything_else_is_refused_as_a_range(value: str) -> None:
    for parse, prefix in ((requested_range, "bytes="), (sent_range, "bytes ")):
        try:
            result = parse([value])
        except BadRangeError:
            continue
        assert result is not None
        assert value.strip().startswith(f"{prefix}{result[0]}-{result[1] - 1}") or value.strip()[6:7] == "0"


def test_no_range_is_no_wish_but_no_content_range_is_a_fault() -> None:
    assert requested_range([]) is None
    with pytest.raises(BadRangeError):
        sent_range([])
