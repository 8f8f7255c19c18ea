"""What passes between an HTTP engine and the code behind it: requests with a
streamed body, responses with bytes or a piece of a file.

This seam is all that a service knows of HTTP. The engine below it parses, limits
and times; the handler above it decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

Headers = tuple[tuple[str, str], ...]


class BodyTooLargeError(Exception):
    """The request body is longer than the handler is ready to take."""


class BodyBrokenError(Exception):
    """The connection ended, timed out or broke the protocol inside the body."""


class RequestBody(Protocol):
    """The body of one request, read at most once.

    What a handler leaves unread is discarded (or the connection is closed) by the engine.
    """

    @property
    def length(self) -> int | None:
        """Bytes announced by Content-Length; 0 without a body; None when chunked."""
        ...

    def chunks(self) -> AsyncIterator[memoryview]:
        """Yield successive pieces. Each is valid only until the next one is asked for.

        Raises:
            BodyBrokenError: the peer went away, was silent too long, or sent nonsense.
        """
        ...

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLargeError: more than ``limit`` bytes; nothing beyond is buffered.
            BodyBrokenError: as for ``chunks``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are lower case; repeated lines stay separate, in order."""

    method: str
    path: str  # as sent, percent-encoding untouched, without the query
    query: str  # without "?"; empty when there is none
    headers: Headers = field(repr=False)  # may hold secrets
    body: RequestBody = field(repr=False)
    peer: str = ""  # address of the client, without its port; empty on a Unix socket
    peer_user: int | None = None  # id of the user at the other end of a Unix socket, where the system tells
    when_gone: Callable[[Callable[[], object]], None] = field(default=lambda _: None, repr=False)
    """Takes what is called (once) if the client goes away before the handler has answered."""

    def header(self, name: str) -> str | None:
        """Return the first header of this lower-case name, or None."""
        return next((value for key, value in self.headers if key == name), None)

    def all_headers(self, name: str) -> list[str]:
        """Return the values of every header line of this lower-case name."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes ``[offset, offset + length)`` of an open file, closed by the engine once sent or dropped."""

    descriptor: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. The engine adds Content-Length and Connection.

    Attributes:
        body: an iterator is sent piece by piece as it yields; it is closed, with its ``aclose``, once it is
            sent or the peer has gone away. An exception it raises ends the connection.
        length: bytes an iterator gives, if known: sent as Content-Length, else the coding is chunked. With
            another number of bytes the connection ends, so that the peer notices.
    """

    status: int
    headers: Headers = ()
    body: bytes | FileRange | AsyncIterator[bytes] = b""
    length: int | None = None


Handler = Callable[[Request], Awaitable[Response]]
"""Answers one request. An exception it lets through becomes 500 and is logged as a defect."""
