"""How the files of a copy are worked through: a few at a time, large ones one by one, under one
progress bar.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from holdfast.grid.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from holdfast.cli.progress_bars import Draw

T = TypeVar("T")

AT_ONCE = 48
SMALL = 64 << 10  # bytes; files up to this size travel to each server many at a time
MEDIUM_AT_ONCE = 8
LARGE = 4 << 20  # bytes; a file of this size keeps all servers busy by itself
LARGE_AT_ONCE = 2
_MOVING = ("uploading", "downloading")  # the stages in which bytes are on their way


class CopyProgress:
    """Adds up the bytes of many files."""

    def __init__(self, draw: Draw, total: int) -> None:
        self._draw = draw
        self._total = total
        self._done = 0
        self._medium = asyncio.Semaphore(MEDIUM_AT_ONCE)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def of_file(self, size: int, work: Callable[[ProgressCallback], Awaitable[T]]) -> T:
        """Do the work for a file of ``size`` bytes, and show how far it is."""
        if size <= SMALL:
            return await self._count(size, work)
        async with self._medium if size < LARGE else self._large:
            return await self._count(size, work)

    async def _count(self, size: int, work: Callable[[ProgressCallback], Awaitable[T]]) -> T:
        counted = 0

        def count(done: int) -> None:
            nonlocal counted
            self._done += min(done, size) - counted
            counted = min(done, size)
            self._draw("copying", self._done, self._total)

        def update(event: Progress) -> None:
            if event.stage in _MOVING:
                count(max(counted, event.done))

        result = await work(update)
        count(size)
        return result


async def in_parallel(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do the work for all items, AT_ONCE at a time. The first error ends it all."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
