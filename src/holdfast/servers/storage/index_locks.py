"""Operations on one storage index happen one after another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from holdfast.interfaces.types import StorageIndex


class IndexLocks:
    """A lock per storage index, which exists only while somebody holds it. Those who wait get it in turn."""

    def __init__(self, make_ready: Callable[[StorageIndex], Awaitable[None]]) -> None:
        """``make_ready`` brings files and catalog of an index up to date, for whoever holds it."""
        self._make_ready = make_ready
        self._waiting: dict[StorageIndex, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def hold(self, index: StorageIndex) -> AsyncIterator[None]:
        """Be alone with ``index`` inside the block, and find all of it in files and catalog."""
        async with self.hold_as_it_is(index):
            await self._make_ready(index)
            yield

    @asynccontextmanager
    async def hold_as_it_is(self, index: StorageIndex) -> AsyncIterator[None]:
        """Be alone with ``index`` inside the block. Some of its shares may wait for their files."""
        if not self.take(index):
            await self._wait(index)
        try:
            yield
        finally:
            self.release(index)

    def take(self, index: StorageIndex) -> bool:
        """Hold ``index`` until ``release``, if nobody else does."""
        if index in self._waiting:
            return False
        self._waiting[index] = deque()
        return True

    def release(self, index: StorageIndex) -> None:
        """Let go of an index that was taken."""
        waiting = self._waiting[index]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[index]

    async def _wait(self, index: StorageIndex) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[index].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(index)  # it was handed over at the same moment
            raise
