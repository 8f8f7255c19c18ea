"""Fetches under way, each with the time it began; it tells which have come back and which are slow.

Source: docs/spec/immutable.md, section 13.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from holdfast.planning.fetching import Fetch

T = TypeVar("T")

SLOW_FIRST_S = 3.0  # a fetch is slow after this, if no other has come back
SLOW_FACTOR = 4.0  # or after so many times the longest of those that have
SLOW_MIN_S = 1.0


class RunningFetches(Generic[T]):
    """Fetches under way, each with the time it began."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Future[T], tuple[Fetch, float]] = {}
        self._loop = asyncio.get_running_loop()
        self._longest_s: float | None = None
        self._reported: set[Fetch] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, fetch: Fetch, work: Awaitable[T]) -> None:
        self._tasks[asyncio.ensure_future(work)] = (fetch, self._loop.time())

    async def finished(self) -> list[tuple[Fetch, T | Exception]]:
        """Wait a moment; return what has come back, which may be nothing."""
        if not self._tasks:
            return []
        done, _ = await asyncio.wait(self._tasks, timeout=SLOW_MIN_S / 2, return_when=asyncio.FIRST_COMPLETED)
        outcomes: list[tuple[Fetch, T | Exception]] = []
        for task in done:
            fetch, began = self._tasks.pop(task)
            error = task.exception()
            if error is None:
                self._longest_s = max(self._longest_s or 0, self._loop.time() - began)
                outcomes.append((fetch, task.result()))
            elif isinstance(error, Exception):
                outcomes.append((fetch, error))
            else:
                raise error
        return outcomes

    def slow(self) -> list[Fetch]:
        """Return the fetches that have become slow since the last time."""
        limit = SLOW_FIRST_S if self._longest_s is None else max(SLOW_MIN_S, SLOW_FACTOR * self._longest_s)
        now = self._loop.time()
        late = [
            fetch
            for fetch, began in self._tasks.values()
            if now - began > limit and fetch not in self._reported
        ]
        self._reported.update(late)
        return late

    async def cancel(self) -> None:
        """End all that is still under way, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
