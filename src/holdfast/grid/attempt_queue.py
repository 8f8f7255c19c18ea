"""Whose turn it is to be contacted, when more servers wait for that than may be tried.

Strangers can announce thousands of servers that do not exist. Those that exist must not wait for them.

Source: docs/spec/control-and-introducer.md, section 3.9.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from holdfast.grid.known_server import KnownServer

Turn = tuple[int, int, asyncio.Future[None]]


class AttemptQueue:
    """Gives turns: first to servers that have ever answered, then to those never tried, of which the last
    to come is the first, then to the others in the order in which they came.
    """

    def __init__(self, at_once: int, pace: Callable[[], Awaitable[None]]) -> None:
        """``at_once``: turns at the same time. ``pace`` returns when there may be one more."""
        self._places = asyncio.Semaphore(at_once)
        self._pace = pace
        self._waiting = asyncio.PriorityQueue[Turn]()
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            await self._places.acquire()
            turn = await self._waiting.get()
            self._waiting.put_nowait(turn)  # another may be the first by the time there may be one more
            await self._pace()
            *_, given = self._waiting.get_nowait()
            if given.cancelled():
                self._places.release()
            else:
                given.set_result(None)

    @asynccontextmanager
    async def turn(self, server: KnownServer) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends."""
        given = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((*self._rank(server), given))
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():
                self._places.release()  # it was given just now
            raise
        try:
            yield
        finally:
            self._places.release()

    def _rank(self, server: KnownServer) -> tuple[int, int]:
        number = next(self._numbers)
        if server.state.last_contact:
            return 0, number
        return (2, number) if server.down else (1, -number)
