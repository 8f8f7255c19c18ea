"""Small shares on their way to one server: those of files that are stored at the same time travel together.

Nothing waits for company. What comes in one turn of the event loop goes out at once; what comes while that
is under way goes as soon as it has been answered, or after a moment if the server takes its time.

Source: docs/spec/storage-protocol.md, section 18.5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from holdfast.interfaces.storage import Allocation, StoreRequest
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.protocol.store_messages import STORE_ALL_BODY_MAX, STORE_ALL_REQUESTS_MAX, request_size

WAIT_MAX_S = 0.02  # for the answer to what went before
UNDER_WAY_MAX = 4  # requests at once
ENOUGH = 256 * 1024  # bytes that are worth a request of their own, whatever is under way

Outcome = Allocation | StorageRefusalError
SendAll = Callable[[Sequence[StoreRequest]], Awaitable[Sequence[Outcome]]]
"""Sends requests as one; raises what keeps it from being answered."""


class _Waiting(NamedTuple):
    request: StoreRequest
    size: int
    since: float
    outcome: asyncio.Future[Allocation]


class StoreQueue:
    """Gathers requests for one server."""

    def __init__(self, send_all: SendAll) -> None:
        self._send_all = send_all
        self._waiting: deque[_Waiting] = deque()
        self._size = 0  # bytes of what waits
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    async def store(self, request: StoreRequest) -> Allocation:
        """Have the shares of one file stored.

        Raises:
            StorageRefusalError: the server refused them.
            Exception: whatever sending raises.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, request_size(request), loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._size += waiting.size
        if self._timer is None and not self._under_way:
            self._timer = loop.call_soon(self._go_on)
        elif self._size >= ENOUGH:
            self._go_on()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT_MAX_S, self._go_on)
        return await waiting.outcome

    def _go_on(self) -> None:
        """Send what waits, as far as that is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._under_way) < UNDER_WAY_MAX and self._is_due(loop.time()):
            task = loop.create_task(self._send(self._next_batch()))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        if self._waiting and len(self._under_way) < UNDER_WAY_MAX:
            self._timer = loop.call_at(self._waiting[0].since + WAIT_MAX_S, self._go_on)

    def _is_due(self, now: float) -> bool:
        return (
            not self._under_way or self._size >= ENOUGH or now >= self._waiting[0].since + WAIT_MAX_S - 0.001
        )

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < STORE_ALL_REQUESTS_MAX:
            if batch and size + self._waiting[0].size > STORE_ALL_BODY_MAX:
                break
            waiting = self._waiting.popleft()
            self._size -= waiting.size
            if not waiting.outcome.done():  # nobody waits for it any more
                batch.append(waiting)
                size += waiting.size
        return batch

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        try:
            outcomes = await self._send_all([waiting.request for waiting in batch])
        except Exception as error:
            outcomes = []
            for waiting in batch:
                if not waiting.outcome.done():
                    waiting.outcome.set_exception(error)
        for waiting, outcome in zip(batch, outcomes, strict=False):
            if waiting.outcome.done():
                continue
            if isinstance(outcome, Allocation):
                waiting.outcome.set_result(outcome)
            else:
                waiting.outcome.set_exception(outcome)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting:
            self._go_on()
