"""Heads that come over one connection again and again."""

from __future__ import annotations

import pytest

from holdfast.wire.heads import HEAD_REPEATED_MAX, HeadReader, MalformedHeadError

REQUEST = b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n"
OTHER = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_each_head_says_what_it_says_however_often_it_comes() -> None:
    reader = HeadReader(answers=False)
    for _ in range(2):
        for _ in range(3):
            head, parser = reader.read(REQUEST)
            assert (head.method, head.target, head.body_length, head.keep_alive) == ("POST", "/a?b", 7, True)
            assert head.headers == [("host", "h"), ("content-length", "7")]
            assert parser is None
        head, _ = reader.read(OTHER)
        assert (head.method, head.target, head.body_length, head.keep_alive) == ("GET", "/a", 0, False)


def test_each_chunked_body_has_a_parser_of_its_own() -> None:
    reader = HeadReader(answers=False)
    for _ in range(3):
        head, parser = reader.read(CHUNKED)
        assert head.chunked
        assert parser is not None
        assert (parser.parse_body(b"3\r\nabc\r\n0\r\n\r\n"), parser.body_done) == (b"abc", True)


def test_what_is_no_head_is_refused_every_time() -> None:
    reader = HeadReader(answers=False)
    reader.read(REQUEST)
    for _ in range(2):
        with pytest.raises(MalformedHeadError):
            reader.read(b"nonsense\r\n\r\n")
    assert reader.read(REQUEST)[0].method == "POST"


def test_a_long_head_is_not_kept() -> None:
    reader = HeadReader(answers=True)
    long = b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_REPEATED_MAX + b"\r\nContent-Length: 1\r\n\r\n"
    first, _ = reader.read(long)
    second, _ = reader.read(long)
    assert first == second
    assert first is not second
