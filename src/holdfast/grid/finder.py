"""Asks servers, in the permuted order of a file, which shares of it they hold; goes on
as long as more are needed.

Source: docs/spec/grid.md, section 12.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from holdfast.errors import ServerError
from holdfast.grid.known_server import KnownServer
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex

UNANSWERED_MAX = 10
PATIENCE_S = 10.0  # an unanswered question older than this no longer counts against the maximum
GRACE_S = 0.1  # for further answers, once enough shares are known

OnFound = Callable[[KnownServer, int], None]
OnFailed = Callable[[KnownServer, Exception], None]


class ShareFinder:
    """One search. Use as an async context: no question outlives it."""

    def __init__(
        self,
        index: StorageIndex,
        servers: list[KnownServer],
        enough: int,
        on_found: OnFound,
        on_failed: OnFailed,
    ) -> None:
        """``enough``: distinct numbers after which a search pauses."""
        self._index = index
        self._unasked = deque(servers)
        self._enough = enough
        self._on_found = on_found
        self._on_failed = on_failed
        self._asking: dict[asyncio.Task[frozenset[int]], tuple[KnownServer, float]] = {}
        self._numbers: set[int] = set()
        self.answered = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def more(self) -> bool:
        """Search until enough numbers are known or all servers were asked; True if any share was found."""
        found = 0
        while self._unasked or self._asking:
            self._ask()
            found += await self._take_answers(timeout_s=1.0)
            if found and len(self._numbers) >= self._enough:
                while self._asking and (late := await self._take_answers(timeout_s=GRACE_S)):
                    found += late
                return True
        return found > 0

    def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        recent = sum(1 for _, began in self._asking.values() if loop.time() - began < PATIENCE_S)
        while self._unasked and recent < UNANSWERED_MAX:
            server = self._unasked.popleft()
            task = asyncio.create_task(server.service.list_immutable(self._index))
            self._asking[task] = (server, loop.time())
            recent += 1

    async def _take_answers(self, timeout_s: float) -> int:
        """Wait for answers; return how many shares they named."""
        done, _ = await asyncio.wait(self._asking, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        found = 0
        for task in done:
            server, _ = self._asking.pop(task)
            try:
                numbers = task.result()
            except (ServerError, StorageRefusalError) as error:
                self._on_failed(server, error)
                continue
            self.answered += 1
            for number in sorted(numbers):
                self._numbers.add(number)
                self._on_found(server, number)
                found += 1
        return found
