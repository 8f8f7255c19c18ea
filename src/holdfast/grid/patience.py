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
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = [asyncio.ensure_future(question) for question in questions]
    pending = set(tasks)
    try:
        limit = began + most_s
        while pending and loop.time() < limit:
            done, pending = await asyncio.wait(
                pending, timeout=limit - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            if done and len(tasks) - len(pending) >= enough:
                took = loop.time() - began
                limit = began + min(most_s, max(LEAST_S, FACTOR * took))
        return [task.result() if task.done() else TimeoutError("no answer in time") for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
