"""What the control interface asks of the HTTP engine: streamed answers of known length, and
word of clients that go away.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from holdfast.wire.http import Request, Response
from holdfast.wire.server import serve_local

Answer = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def served(
    handler: Answer, place: Path
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(place / "s"))
    async with serve_local(handler, bound):
        reader, writer = await asyncio.open_unix_connection(str(place / "s"))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            yield reader, writer
        finally:
            writer.close()


class Pieces:
    """Gives these pieces, raises what is no piece, and remembers that it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed.set()


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((b"abc", b"", b"defg"), b"abcdefg"),
        ((b"abc",), None),
        ((b"abcde", b"fghi"), None),
        ((b"abc", ValueError("oh"), b"defg"), None),
    ],
)
async def test_a_stream_of_known_length_is_whole_or_the_connection_ends(
    tmp_path: Path, pieces: tuple[bytes | Exception, ...], body: bytes | None
) -> None:
    stream = Pieces(*pieces)

    async def handler(request: Request) -> Response:
        return Response(200, (), stream, length=7)

    async with served(handler, tmp_path) as (reader, _), asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 7" in head.lower()
        assert b"chunked" not in head.lower()
        if body is not None:
            assert await reader.readexactly(7) == body
        else:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(7)
        await stream.closed.wait()


async def test_a_chunked_stream_that_fails_ends_the_connection(tmp_path: Path) -> None:
    stream = Pieces(b"abc", ValueError("oh"))

    async def handler(request: Request) -> Response:
        return Response(200, (), stream)

    async with served(handler, tmp_path) as (reader, _), asyncio.timeout(5):
        assert await reader.readuntil(b"abc\r\n")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        await stream.closed.wait()


async def test_a_handler_hears_that_its_client_went_away(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(request: Request) -> Response:
        request.when_gone(gone.set)
        await asyncio.sleep(30)
        return Response(200)

    async with served(handler, tmp_path) as (_, writer), asyncio.timeout(5):
        await asyncio.sleep(0.05)
        assert not gone.is_set()
        writer.close()
        await gone.wait()


async def test_a_client_that_stays_is_not_said_to_be_gone(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(request: Request) -> Response:
        request.when_gone(gone.set)
        return Response(200, (), b"yes")

    async with served(handler, tmp_path) as (reader, writer), asyncio.timeout(5):
        assert (await reader.readuntil(b"yes")).startswith(b"HTTP/1.1 200")
        writer.close()
        await asyncio.sleep(0.05)
        assert not gone.is_set()


async def test_the_user_behind_a_unix_socket_is_known(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, (), str(request.peer_user).encode())

    async with served(handler, tmp_path) as (reader, _), asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(10) == str(os.getuid()).encode()
