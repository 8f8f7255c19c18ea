"""A bound on the buffers of all transfers of a client together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BufferStock:
    """Buffers that were used, for those who need one of the same size: fresh memory costs its first touch."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._idle: dict[int, list[bytearray]] = {}

    def take(self, size: int) -> bytearray:
        """Return a buffer of exactly ``size`` bytes, with whatever in it."""
        idle = self._idle.get(size)
        if not idle:
            return bytearray(size)
        self._left += size
        return idle.pop()

    def give_back(self, buffer: bytearray) -> None:
        """Keep ``buffer`` for later, if there is room for it. Nobody may use it any more."""
        if len(buffer) > self._left:
            self._idle.clear()
            self._left = self._total
        if len(buffer) <= self._left:
            self._left -= len(buffer)
            self._idle.setdefault(len(buffer), []).append(buffer)


class MemoryBudget:
    """Bytes that transfers may hold at once. Requests are served in the order they come.

    A request larger than the whole budget is granted when nothing else is held: it cannot wait for ever.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self.stock = BufferStock(total // 2)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size: int) -> None:
        """Return once ``size`` bytes may be used."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            else:
                self._waiting.remove((size, turn))
                self._grant()
            raise

    def release(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._used -= size
        self._grant()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes for the length of a block."""
        await self.acquire(size)
        try:
            yield
        finally:
            self.release(size)

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._total

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(None)
