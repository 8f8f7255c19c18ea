"""A request body that is made while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class StreamedBody(Protocol):
    """Made anew each time its pieces are asked for."""

    @property
    def length(self) -> int | None:
        """Bytes of all pieces together; None for a body in chunked coding, whose pieces are coded already."""
        ...

    def pieces(self) -> AsyncIterator[bytes | bytearray | memoryview]:
        """Give the pieces in order. Each may change once the next is asked for."""
        ...


class ChunkedBody:
    """A body of unknown length, in chunked coding. It can be sent once."""

    length: None = None

    def __init__(self, data: AsyncIterator[bytes]) -> None:
        self._data = data

    async def pieces(self) -> AsyncIterator[bytes | bytearray | memoryview]:
        async for piece in self._data:
            if piece:
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"
