"""A client that sends whatever it is told to, byte by byte, so that a server's answers to
malformed requests can be tested. It checks no certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.wire.pinning import pinning_ssl_context

ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer; header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of this lower-case name, or None."""
        return next((value for key, value in self.headers if key == name), None)


class RawConnection:
    """One connection over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> RawConnection:
        """Connect to a server."""
        return cls(*await asyncio.open_connection(host, port, ssl=pinning_ssl_context()))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def send_head(self, method: str, path: str, headers: Sequence[tuple[str, str | bytes]]) -> None:
        """Send a request line and header lines, with ``Host`` in front and nothing added behind."""
        lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: test"]
        for name, value in headers:
            lines.append(name.encode() + b": " + (value.encode() if isinstance(value, str) else value))
        self.send(b"\r\n".join(lines) + b"\r\n\r\n")

    async def request(
        self, method: str, path: str, headers: Sequence[tuple[str, str | bytes]] = (), body: bytes = b""
    ) -> RawAnswer:
        """Send a whole request with its length, and return the answer."""
        self.send_head(method, path, [*headers, ("Content-Length", str(len(body)))])
        self.send(body)
        return await self.answer(head_only=method == "HEAD")

    async def answer(self, *, head_only: bool = False) -> RawAnswer:
        """Read one answer; ``head_only`` for that to a HEAD request."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            answer = RawAnswer(int(head[0].split()[1]), headers, b"")
            if head_only:
                return answer
            if answer.header("transfer-encoding") == "chunked":
                return RawAnswer(answer.status, headers, await self._chunked())
            body = await self.reader.readexactly(int(answer.header("content-length") or 0))
            return RawAnswer(answer.status, headers, body)

    async def _chunked(self) -> bytes:
        body = b""
        while True:
            size = int(await self.reader.readline(), 16)
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
            if size == 0:
                return body

    async def close(self) -> None:
        """End the connection at once."""
        self.writer.transport.abort()
