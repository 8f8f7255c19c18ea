"""From a file of the grid to whatever takes its bytes, in little memory: they are handed on as they come.

Source: docs/spec/cli.md, section 5.3; docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.grid.sources import StreamSource
from holdfast.interfaces.transfer import AsyncUploadable
from holdfast.interfaces.types import Buffer

T = TypeVar("T")


async def downloaded(
    node: ImmutableFileNode | MutableFileNode, offset: int = 0, size: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file, or of a range of it. To leave off early, close it (``aclosing``)."""
    relay = _Relay()

    async def download() -> None:
        try:
            await node.download(relay, offset=offset, size=size)
        except Exception:
            await relay.close()
            raise

    task = asyncio.create_task(download())
    try:
        async for piece in relay.pieces():
            yield piece
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def relayed(
    node: ImmutableFileNode | MutableFileNode, store: Callable[[AsyncUploadable], Awaitable[T]]
) -> T:
    """Store what is downloaded of a file."""
    async with aclosing(downloaded(node)) as pieces:
        return await store(StreamSource(pieces))


class _Relay:
    """A target whose bytes are given out, a few pieces later."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(4)

    async def pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._queue.get():
            yield piece

    def register_canceller(self, cb: Callable[[], None]) -> None:
        """Whoever relays cancels the task."""

    def open(self, size: int) -> None:
        """Nothing to prepare."""

    async def write(self, data: Buffer) -> None:
        if len(data):
            await self._queue.put(bytes(data))

    async def close(self) -> None:
        await self._queue.put(b"")

    def fail(self, why: BaseException) -> None:
        """Whoever waits for the task learns of it."""

    def finish(self) -> None:
        """There is nothing to return."""
