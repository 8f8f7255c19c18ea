"""Writers who ask for the turn of a directory wait in a line, and so all come to their turn, one by one.

Without it, many writers of one directory would spend their time trying. The line is one
process's own; where others serve the same database, whoever is first in it looks again and again.

Source: docs/spec/vdrive.md, section 8.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
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

    async def take(self, index: bytes, attempt: Callable[[], Awaitable[Turn]]) -> Turn:
        """Return what ``attempt`` returns, which is made once all who came before have their turn.

        Raises:
            TurnTakenError: that takes too long.
        """
        line = self._lines.setdefault(index, _Line())
        line.waiting += 1
        try:
            return await self._wait(line, attempt)
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[index]

    def freed(self, index: bytes) -> None:
        """Note that the turn of a directory has ended."""
        line = self._lines.get(index)
        if line is not None:
            line.free.set()

    async def _wait(self, line: _Line, attempt: Callable[[], Awaitable[Turn]]) -> Turn:
        loop = asyncio.get_running_loop()
        end = loop.time() + WAIT_MAX_S
        try:
            await asyncio.wait_for(line.first.acquire(), WAIT_MAX_S)
        except TimeoutError:
            raise TurnTakenError("many wait for their turn to commit", retry_after_s=1) from None
        try:
            while True:
                line.free.clear()
                try:
                    return await attempt()
                except TurnTakenError:
                    if loop.time() >= end:
                        raise
                with suppress(TimeoutError):
                    await asyncio.wait_for(line.free.wait(), LOOK_EVERY_S)
        finally:
            line.first.release()
