"""Writers who ask for the turn of a directory wait in a line, and so all come to their turn, one by one. Who
asks for that of several waits in the lines of all, and keeps nobody from writing meanwhile.

Without it, many writers of one directory would spend their time trying. The line is one
process's own; where others serve the same database, whoever is first in it looks again and again.

Source: docs/spec/vdrive.md, section 8.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from holdfast.interfaces.vdrive import Turn
from holdfast.interfaces.vdrive_errors import TurnTakenError

WAIT_MAX_S = 15.0
LOOK_EVERY_S = 0.25


@dataclass(slots=True)
class _Line:
    first: asyncio.Lock = field(default_factory=asyncio.Lock)  # those who wait get it in their order
    free: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


class TurnQueue:
    """The lines of one process. On the event loop."""

    def __init__(self) -> None:
        self._lines: dict[bytes, _Line] = {}

    async def take(self, indices: Collection[bytes], attempt: Callable[[], Awaitable[Turn]]) -> Turn:
        """Return what ``attempt`` returns, which is made once all who came before have their turn.

        Raises:
            TurnTakenError: that takes too long.
        """
        ordered = sorted(indices)  # so that no two wait for one another
        lines = [self._lines.setdefault(index, _Line()) for index in ordered]
        for line in lines:
            line.waiting += 1
        try:
            return await self._wait(lines, attempt)
        finally:
            for index, line in zip(ordered, lines, strict=True):
                line.waiting -= 1
                if not line.waiting:
                    del self._lines[index]

    def freed(self, index: bytes) -> None:
        """Note that the turn of a directory has ended."""
        line = self._lines.get(index)
        if line is not None:
            line.free.set()

    async def _wait(self, lines: Sequence[_Line], attempt: Callable[[], Awaitable[Turn]]) -> Turn:
        loop = asyncio.get_running_loop()
        end = loop.time() + WAIT_MAX_S
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(end):
                    for line in lines:
                        await stack.enter_async_context(line.first)
            except TimeoutError:
                raise TurnTakenError("many wait for their turn to commit", retry_after_s=1) from None
            while True:
                for line in lines:
                    line.free.clear()
                try:
                    return await attempt()
                except TurnTakenError:
                    if loop.time() >= end:
                        raise
                await _any_is_free(lines)


async def _any_is_free(lines: Sequence[_Line]) -> None:
    """Wait until one of the turns ends; not for long, since it may end elsewhere."""
    waiting = [asyncio.ensure_future(line.free.wait()) for line in lines]
    try:
        await asyncio.wait(waiting, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
