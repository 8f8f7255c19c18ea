"""Asking several servers at once without waiting for the one that hangs.

How long is too long is judged by how long the others took: on a slow network everybody is slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

LEAST_S = 1.5
FACTOR = 4.0


async def ask_all(
    questions: Sequence[Coroutine[Any, Any, T]], *, enough: int, most_s: float
) -> list[T | TimeoutError]:
    """Run all; return their answers in order, TimeoutError for those given up.

    Once ``enough`` have answered, the others get ``FACTOR`` times as long as the slowest of these, and
    ``LEAST_S`` seconds at least; nobody gets more than ``most_s``. Errors are raised.
    """
    if not questions:
        return []
    tasks = [asyncio.ensure_future(question) for question in questions]
    patience = _Patience(len(tasks), enough, most_s)
    try:
        for task in tasks:
            task.add_done_callback(patience.answered)
        await patience.over
        return [task.result() if task.done() else TimeoutError("no answer in time") for task in tasks]
    finally:
        patience.alarm.cancel()
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.gather(*late, return_exceptions=True)


class _Patience:
    """Ends when all have answered, or the others had their time. One wake-up, however many are asked."""

    def __init__(self, asked: int, enough: int, most_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._most_s = most_s
        self._asked, self._enough = asked, enough
        self._answers = 0
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.alarm = self._loop.call_later(most_s, self._end)

    def answered(self, task: asyncio.Task[Any]) -> None:
        self._answers += 1
        if self._answers == self._asked:
            self._end()
        elif self._answers >= self._enough:
            took = self._loop.time() - self._began
            self.alarm.cancel()
            limit = min(self._most_s, max(LEAST_S, FACTOR * took))
            self.alarm = self._loop.call_at(self._began + limit, self._end)

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
