"""Heads of HTTP/1.1 messages: parsed by httptools, bounded, and written.

Bodies of known length never pass through the parser; chunked bodies do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httptools

HEAD_SIZE_MAX = 64 * 1024  # bytes, all lines together
HEADER_COUNT_MAX = 200
HEAD_REPEATED_MAX = 2048  # bytes of a head that is remembered

REASONS = {
    100: "Continue",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


class MalformedHeadError(Exception):
    """The bytes are not the head of an HTTP/1.1 message, or exceed the limits."""


@dataclass(slots=True)
class Head:
    """What a head says.

    ``body_length`` is None for a chunked body and, in answers, for one that ends with the connection.
    """

    method: str = ""
    target: str = ""
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    keep_alive: bool = True
    chunked: bool = False
    body_length: int | None = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class HeadParser:
    """Parses one head; then, if the body is chunked, that body."""

    def __init__(self, *, answer: bool) -> None:
        self.head = Head()
        self.body_parts: list[bytes] = []
        self.body_done = False
        self._url = b""
        self._complete = False
        self._answer = answer
        self._parser: Any = (httptools.HttpResponseParser if answer else httptools.HttpRequestParser)(self)

    def parse_head(self, data: bytes) -> Head:
        """Return what ``data``, which ends in the empty line, says.

        Raises:
            MalformedHeadError: it is not a head of HTTP/1.1.
        """
        self._feed(data)
        if not self._complete:
            raise MalformedHeadError("the head is not complete")
        self._judge_body()
        return self.head

    def parse_body(self, data: bytes | memoryview) -> bytes:
        """Feed a piece of a chunked body; return the decoded bytes of it. Sets ``body_done`` at the end."""
        self._feed(data)
        decoded = b"".join(self.body_parts)
        self.body_parts.clear()
        return decoded

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise MalformedHeadError(str(error)) from None

    def _judge_body(self) -> None:
        head = self.head
        if len(head.headers) > HEADER_COUNT_MAX:
            raise MalformedHeadError("too many header lines")
        lengths = {value for key, value in head.headers if key == "content-length"}
        codings = [value.lower() for key, value in head.headers if key == "transfer-encoding"]
        if len(lengths) > 1 or (codings and lengths) or (codings and codings != ["chunked"]):
            raise MalformedHeadError("the length of the body is stated in more than one way")
        head.chunked = bool(codings)
        if lengths:
            text = lengths.pop()
            if not (text.isascii() and text.isdigit() and len(text) <= 19):
                raise MalformedHeadError("Content-Length is not a number")
            head.body_length = int(text)
        elif head.chunked or (self._answer and head.status not in (204, 304) and head.status >= 200):
            head.body_length = None

    # Callbacks of httptools; their names are its interface.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._complete = True
        self.head.keep_alive = self._parser.should_keep_alive()
        if self._answer:
            self.head.status = self._parser.get_status_code()
        else:
            self.head.method = self._parser.get_method().decode("latin-1")
            self.head.target = self._url.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body_parts.append(body)

    def on_message_complete(self) -> None:
        self.body_done = True


class HeadReader:
    """Reads the heads that come over one connection. What says the same as the last is not parsed again."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self._last = b""
        self._last_head = Head()

    def read(self, data: bytes) -> tuple[Head, HeadParser | None]:
        """Return what ``data``, which ends in the empty line, says; and what parses its body, if chunked.

        Raises:
            MalformedHeadError: it is not a head of HTTP/1.1.
        """
        if data == self._last:
            return self._last_head, None
        parser = HeadParser(answer=self._answers)
        head = parser.parse_head(data)
        if head.chunked:
            return head, parser
        if len(data) <= HEAD_REPEATED_MAX:
            self._last, self._last_head = data, head
        return head, None


def request_head(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    host: str,
    length: int | None,
    *,
    chunked: bool = False,
) -> bytes:
    """Return the head of a request; ``length`` None means no body, or one in chunked coding."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    return _joined(lines)


def answer_head(
    status: int, headers: Iterable[tuple[str, str]], length: int | None, *, keep_alive: bool
) -> bytes:
    """Return the head of an answer; ``length`` None means chunked."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is None:
        lines.append("Transfer-Encoding: chunked")
    elif status != 204:
        lines.append(f"Content-Length: {length}")
    if not keep_alive:
        lines.append("Connection: close")
    return _joined(lines)


def _joined(lines: list[str]) -> bytes:
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header line holds a line break")
    return (text + "\r\n\r\n").encode("latin-1")
