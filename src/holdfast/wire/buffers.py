"""A bounded stock of large receive buffers, reused, so that bulk bodies cost no fresh memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

BUFFER_SIZE = 1536 * 1024  # bytes; about what a client sends at once of a share

IDLE_MAX = 4  # buffers kept for the next body; what a burst needed beyond that goes back to the system


class BufferPool:
    """Hands out at most ``count_max`` buffers of ``BUFFER_SIZE`` bytes; whoever finds none is called back."""

    def __init__(self, count_max: int) -> None:
        self._idle: list[bytearray] = []
        self._left = count_max
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> bytearray | None:
        """Return a buffer, or None when all are in use."""
        if self._idle:
            return self._idle.pop()
        if self._left == 0:
            return None
        self._left -= 1
        return bytearray(BUFFER_SIZE)

    def give_back(self, buffer: bytearray) -> None:
        """Return ``buffer`` to the stock and wake one of those who found none."""
        if len(self._idle) < IDLE_MAX:
            self._idle.append(buffer)
        else:
            self._left += 1
        if self._waiting:
            self._waiting.popleft()()

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when a buffer has come back. It may find none again."""
        self._waiting.append(callback)
