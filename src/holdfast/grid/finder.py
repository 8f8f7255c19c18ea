"""Asks servers, in the permuted order of a file, which shares of it they hold; goes on
as long as more are needed. Small shares come along with the answer.

Source: docs/spec/grid.md, section 12; docs/spec/storage-protocol.md, section 18.6.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

from holdfast.errors import ServerError
from holdfast.grid.known_server import KnownServer, ServerClient
from holdfast.interfaces.storage_errors import StorageRefusalError, TooLargeError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.storage_extensions import READ_SHARES

UNANSWERED_MAX = 10
PATIENCE_S = 10.0  # an unanswered question older than this no longer counts against the maximum
GRACE_S = 0.1  # for further answers, once enough shares are known; at least, for those that are needed
LATE = 4.0  # times as long as a server takes to say that it is there
LATE_MAX_S = 1.0
SMALL_MAX = 64 * 1024  # bytes; a shorter share is read by the question for it

Held = Mapping[int, bytes | None]
"""The shares a server holds, by number: each as a whole, or None if that did not come along."""
OnFound = Callable[[KnownServer, int, bytes | None], None]
OnFailed = Callable[[KnownServer, Exception], None]


class ShareFinder:
    """One search. Use as an async context: no question outlives it.

    As long as small shares come along, only as many servers are asked as are needed if each holds one: all
    further answers would be shares sent in vain. Once one is late, fails, has nothing new, or does not send
    its shares, all are asked that would be asked otherwise.
    """

    def __init__(
        self,
        index: StorageIndex,
        servers: list[KnownServer],
        enough: int,
        on_found: OnFound,
        on_failed: OnFailed,
        *,
        share_length: int,
    ) -> None:
        """
        Args:
            enough: distinct numbers after which a search pauses.
            share_length: bytes of a share, as far as can be guessed.
        """
        self._index = index
        self._unasked = deque(servers)
        self._enough = enough
        self._on_found = on_found
        self._on_failed = on_failed
        self._come_along = share_length < SMALL_MAX and not any(map(_sends_none, servers[:enough]))
        self._frugal = self._come_along
        latency = max([server.latency_s or 0.0 for server in servers[:enough]], default=0.0)
        self._late_after_s = min(max(GRACE_S, LATE * latency), LATE_MAX_S)
        self._asking: dict[asyncio.Task[Held], tuple[KnownServer, float]] = {}
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
        self._frugal = self._frugal and not self.answered
        while self._unasked or self._asking:
            self._ask()
            found += await self._take_answers(timeout_s=self._late_after_s if self._frugal else 1.0)
            if found and len(self._numbers) >= self._enough:
                if not self._come_along:
                    await self._hear_others()
                return True
        return found > 0

    async def _hear_others(self) -> None:
        """Let others answer too: who says first what he has need not be the one who sends it first."""
        self._ask()
        while self._asking and await self._take_answers(GRACE_S):
            pass

    def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        recent = sum(1 for _, began in self._asking.values() if loop.time() - began < PATIENCE_S)
        most = self._enough - len(self._numbers) if self._frugal else UNANSWERED_MAX
        while self._unasked and recent < most:
            server = self._unasked.popleft()
            task = asyncio.create_task(shares_held(server.service, self._index, small=self._come_along))
            self._asking[task] = (server, loop.time())
            recent += 1

    async def _take_answers(self, timeout_s: float) -> int:
        """Wait for answers; return how many shares they named."""
        done, _ = await asyncio.wait(self._asking, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        found = 0
        self._frugal = self._frugal and bool(done)
        for task in done:
            server, _ = self._asking.pop(task)
            try:
                held = task.result()
            except (ServerError, StorageRefusalError) as error:
                self._frugal = False
                self._on_failed(server, error)
                continue
            self.answered += 1
            self._come_along = self._come_along and None not in held.values()
            self._frugal = self._frugal and self._come_along and not held.keys() <= self._numbers
            for number in sorted(held):
                self._numbers.add(number)
                self._on_found(server, number, held[number])
                found += 1
        return found


def _sends_none(server: KnownServer) -> bool:
    """True if a server is known not to send shares along with its answer."""
    features = server.service.known_features
    return features is not None and READ_SHARES not in features


async def shares_held(service: ServerClient, index: StorageIndex, *, small: bool) -> Held:
    """Ask a server for its shares.

    Args:
        small: they are probably shorter than ``SMALL_MAX``, and are to come along if the server can do that.

    Raises:
        ServerError, StorageRefusalError: the server did not do its part.
    """
    if small and READ_SHARES in await service.features():
        with suppress(TooLargeError):
            starts = await service.read_shares(index, [(0, SMALL_MAX)])
            if any(len(parts) != 1 or len(parts[0]) > SMALL_MAX for parts in starts.values()):
                raise ServerError("the server answered with other ranges than were asked for")
            return {n: start if len(start) < SMALL_MAX else None for n, (start,) in starts.items()}
    return dict.fromkeys(await service.list_immutable(index))
