"""The threads that wait for the disk, so that the event loop need not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A fixed number of threads. Made on the event loop that uses them."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="storage-disk")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function`` returns, called in a thread.

        A call once begun is always waited for, even by a caller that is cancelled meanwhile: so whoever
        returns from here holds nothing that a thread still uses.
        """
        if kwargs:
            future = self._loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        else:
            future = self._loop.run_in_executor(self._threads, function, *args)
        return await self.wait_for(future)

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Return the result of ``future``, which is waited for even if the caller is cancelled meanwhile."""
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Wait for running calls, and end the threads."""
        self._threads.shutdown(wait=True)
