"""Long polls: who waits for news of which services, and when they are told.

The first news after a while is told at once. With many waiting, news that follows closely is
collected for a moment, so that a thousand nodes announcing themselves to a thousand subscribers
do not cost a million answers.

Source: docs/spec/control-and-introducer.md, section 3.5.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable

PAUSE_PER_WAITER_S = 0.0001  # about what it costs to answer one
PAUSE_MAX_S = 0.25

_ALL = ""  # stands for every service; no service has this name


class Waiters:
    """The waiting polls of one introducer. Made and used on the event loop.

    Attributes:
        told: the number of the last announcement that the waiting have been told of.
    """

    def __init__(self, told: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._news: set[str] = set()
        self._newest = told
        self._quiet_until = 0.0
        self._bell: asyncio.TimerHandle | None = None
        self._released = False
        self.count = 0
        self.told = told

    async def wait(self, services: Collection[str], wait_s: float) -> None:
        """Return when there is news of ``services`` (none: of any), or after ``wait_s`` seconds."""
        if self._released:
            return
        future = self._loop.create_future()
        alarm = self._loop.call_later(wait_s, _wake, future)
        names = services or (_ALL,)
        for name in names:
            self._waiting[name].add(future)
        self.count += 1
        try:
            await future
        finally:
            alarm.cancel()
            self.count -= 1
            for name in names:
                self._leave(name, future)

    def news(self, services: Iterable[str], newest: int) -> None:
        """Note that there is news of ``services``, up to the announcement number ``newest``."""
        self._news.update(services)
        self._newest = newest
        if self._bell is None:
            pause = self._quiet_until - self._loop.time()
            if pause > 0:
                self._bell = self._loop.call_later(pause, self._ring)
            else:
                self._ring()

    def release(self) -> None:
        """Let all go who wait, and let nobody wait any more."""
        self._released = True
        if self._bell is not None:
            self._bell.cancel()
            self._bell = None
        for futures in self._waiting.values():
            for future in futures:
                _wake(future)

    def _ring(self) -> None:
        self._bell = None
        self.told = self._newest
        woken = 0
        for name in (*self._news, _ALL):
            futures = self._waiting.get(name, ())
            woken += len(futures)
            for future in futures:
                _wake(future)
        self._news.clear()
        self._quiet_until = self._loop.time() + min(PAUSE_MAX_S, woken * PAUSE_PER_WAITER_S)

    def _leave(self, name: str, future: asyncio.Future[None]) -> None:
        futures = self._waiting[name]
        futures.discard(future)
        if not futures:
            del self._waiting[name]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
