"""What a client asks is what the introducer understands; other queries and headers are refused."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocol.introducer_calls import (
    AnnouncementsQuery,
    announcements_query,
    authorization_value,
    own_query,
    parse_announcements_query,
    parse_own_query,
    presented_swissnum,
)

EPOCH = bytes(range(16))
QUERIES = st.builds(
    AnnouncementsQuery,
    st.frozensets(st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True), max_size=4),
    st.integers(0, 2**63 - 1),
    st.just(b"") | st.binary(min_size=16, max_size=16),
    st.integers(0, 55_000).map(lambda milliseconds: milliseconds / 1000),
    st.integers(1, 500),
)


@given(QUERIES)
def test_what_is_asked_is_understood(query: AnnouncementsQuery) -> None:
    text = announcements_query(query.services, query.since, query.epoch, query.wait_s, query.limit)
    assert parse_announcements_query(text) == query


def test_the_epoch_travels_in_hexadecimal_and_the_wait_in_seconds() -> None:
    assert announcements_query(["vdrive", "storage"], 12, EPOCH, 55.0, 100) == (
        "service=storage&service=vdrive&since=12&epoch=000102030405060708090a0b0c0d0e0f&wait=55&limit=100"
    )
    assert announcements_query([], 0, b"", 0.25) == "since=0&wait=0.25&limit=500"


def test_what_is_left_out_has_a_default() -> None:
    assert parse_announcements_query("") == AnnouncementsQuery(frozenset(), 0, b"", 0.0, 500)
    assert parse_announcements_query("epoch=&service=node") == AnnouncementsQuery(frozenset(("node",)))


@pytest.mark.parametrize(
    "query",
    [
        "since=-1",
        "since=9223372036854775808",
        "since=1&since=1",
        "since=1e3",
        "since= 1",
        "since=%D9%A1",  # a digit of another script
        "since=",
        "since",
        "wait=56",
        "wait=55.001",
        "wait=nan",
        "wait=-1",
        "wait=1.2345",
        "limit=0",
        "limit=501",
        "epoch=00",
        "epoch=" + "0g" * 16,
        "epoch=" + "AA" * 16,
        "service=",
        "service=Storage",
        "service=storage%0A",
        "service=" + "s" * 33,
        "colour=red",
        "since=%FF",
        "&".join(["service=storage"] * 65),
    ],
)
def test_other_queries_are_refused(query: str) -> None:
    with pytest.raises(ValueError):
        parse_announcements_query(query)


@pytest.mark.parametrize(
    "arguments",
    [
        (["Storage"], 0, b"", 0.0, 500),
        ([], -1, b"", 0.0, 500),
        ([], 0, b"short", 0.0, 500),
        ([], 0, b"", 56.0, 500),
        ([], 0, b"", math.nan, 500),
        ([], 0, b"", 0.0, 501),
    ],
)
def test_what_would_be_refused_is_not_asked(arguments: tuple[list[str], int, bytes, float, int]) -> None:
    with pytest.raises(ValueError):
        announcements_query(*arguments)


@given(st.text(max_size=60))
def test_no_query_does_worse_than_a_value_error(text: str) -> None:
    for query in (text, f"since={text}", f"service={text}", f"epoch={text}", f"wait={text}", f"limit={text}"):
        for parse in (parse_announcements_query, parse_own_query):
            with contextlib.suppress(ValueError):
                parse(query)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_asked_for_in_its_text_form(key: bytes) -> None:
    assert own_query(key).startswith("key=v0-")
    assert parse_own_query(own_query(key)) == key


@pytest.mark.parametrize("query", ["", "key=", "key=v0-aa", own_query(bytes(32)) + "&since=0", "since=0"])
def test_only_one_key_can_be_asked_for(query: str) -> None:
    with pytest.raises(ValueError):
        parse_own_query(query)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60))
def test_a_swissnum_is_presented_as_it_is(swissnum: str) -> None:
    assert authorization_value(swissnum) == f"Holdfast {swissnum}"
    assert presented_swissnum(authorization_value(swissnum)) == swissnum


def test_the_name_of_the_scheme_may_be_spelled_anyhow() -> None:
    assert presented_swissnum("hOLDFAST  abc") == "abc"


@pytest.mark.parametrize(
    "value",
    [None, "", "Holdfast", "Holdfast ", "abc", "Basic abc", "Holdfast a b", "Holdfast a\n", "Holdfast é"],
)
def test_another_header_presents_nothing(value: str | None) -> None:
    assert presented_swissnum(value) is None


@pytest.mark.parametrize("swissnum", ["", "two words", "line\r\nfeed", "é"])
def test_a_swissnum_that_would_break_the_header_is_not_sent(swissnum: str) -> None:
    with pytest.raises(ValueError) as caught:
        authorization_value(swissnum)
    assert not swissnum or swissnum not in str(caught.value)
