"""One question for all who want to know the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedQuestion(Generic[T]):
    """Asks while somebody wants to know, and gives everybody the same answer, or the same error."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None
        self._askers = 0

    async def answer(self) -> T:
        """Return the answer to a question that is being asked already, or else is now.

        Who is cancelled while he waits leaves it to the others; the last one ends it.
        """
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        asking = self._asking
        self._askers += 1
        try:
            return await asyncio.shield(asking)
        finally:
            self._askers -= 1
            if self._askers == 0 and not asking.done():
                asking.cancel()
                self._asking = None

    def _asked(self, task: asyncio.Task[T]) -> None:
        if self._asking is task:
            self._asking = None
        if not task.cancelled():
            task.exception()  # whoever waited has got it
