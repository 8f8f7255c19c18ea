"""The body of an answer that is used while it comes, since it may be larger than memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")

HELD_MAX = 1 << 20  # bytes that wait to be used, before the peer has to


class AnswerTap:
    """Takes the body of an answer with status 200, and hands it on piece by piece.

    Attributes:
        resting: True while the peer has to wait.
    """

    def __init__(self) -> None:
        self.resting = False
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._go_on: Callable[[], None] = _ignore

    # -- for the connection

    def feed(self, data: bytes, go_on: Callable[[], None]) -> None:
        """Take what came. If ``resting`` is true then, nothing more may come until ``go_on`` is called."""
        self._pieces.append(data)
        self._held += len(data)
        self._go_on = go_on
        self.resting = self._held >= HELD_MAX
        self._news.set()

    # -- for whoever uses the body

    async def pieces(self, answer: asyncio.Future[T]) -> AsyncIterator[bytes]:
        """Yield the body until ``answer``, which is the answer as a whole, is done."""
        answer.add_done_callback(lambda _: self._news.set())
        while True:
            self._news.clear()
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                if self.resting and self._held < HELD_MAX // 2:
                    self.resting = False
                    self._go_on()
                yield piece
            if answer.done() and not self._pieces:
                return
            await self._news.wait()


def _ignore() -> None:
    """Do nothing."""
