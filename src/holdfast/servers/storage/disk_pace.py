"""Whether to wait for the disk on the event loop, or in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from holdfast.servers.storage.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

NEWEST = 0.2  # weight of the newest measurement in the average


class DiskPace:
    """Times calls of one kind. While they are quick, a thread would cost more than it saves.

    A disk counts as slow until it has shown otherwise.

    Args:
        at_once_s: seconds that such a call may take on average to be waited for on the event loop.
    """

    def __init__(self, workers: Workers, at_once_s: float) -> None:
        self._workers = workers
        self._at_once_s = at_once_s
        self._average_s = 2 * at_once_s

    @property
    def quick(self) -> bool:
        """Whether the next call is worth no thread."""
        return self._average_s <= self._at_once_s

    def timed(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function`` returns, and note how long it took. Blocks."""
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self._average_s += NEWEST * (time.perf_counter() - began - self._average_s)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function`` returns, called here or in a thread."""
        if self.quick:
            return self.timed(function, *args, **kwargs)
        return await self._workers.run(lambda: self.timed(function, *args, **kwargs))
