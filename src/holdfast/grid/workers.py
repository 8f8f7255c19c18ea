"""Threads for work that would hold up the event loop: coding, hashing, reading files.

What takes less than a millisecond is done at once: a thread would cost more than it saves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE_MAX = 64 * 1024  # bytes handled without a thread


class Workers:
    """A few threads; the arithmetic they run releases the interpreter lock. Use as a context."""

    def __init__(self, count: int = 2) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="holdfast-coding")

    async def run(self, size: int, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``job`` and return its result. ``size``: bytes it handles."""
        if size <= AT_ONCE_MAX:
            return job(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: job(*args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
