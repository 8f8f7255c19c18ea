"""Back-pressure of a transport, as something to wait for."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Touchable(Protocol):
    def touch(self) -> None: ...


class WriteGate:
    """Closed while the transport has more to send than it likes to hold."""

    def __init__(self, owner: Touchable) -> None:
        self._owner = owner
        self._waiter: asyncio.Future[None] | None = None
        self._gone = False
        self.closed = False

    def pause(self) -> None:
        self.closed = True

    def resume(self) -> None:
        self.closed = False
        self._owner.touch()
        self._wake()

    def lost(self) -> None:
        """The connection is gone: whoever waits gets ConnectionError."""
        self._gone = True
        self._wake()

    async def wait(self) -> None:
        """Return when the gate is open.

        Raises:
            ConnectionError: the connection is gone.
        """
        while self.closed and not self._gone:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._gone:
            raise ConnectionError("the peer went away")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
