"""Key pairs for the new mutable files of a program that ends soon: no more than it needs, made while
it is still busy with other things.
"""

from __future__ import annotations

import asyncio
from collections import deque

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.grid.mutable.keys import KeyPool


class BriefKeyPool(KeyPool):
    """Keeps nothing ready but what was announced."""

    def __init__(self) -> None:
        super().__init__(0)
        self._announced: deque[asyncio.Task[SigningKey]] = deque()

    def expect(self, count: int) -> None:
        """Begin to make ``count`` key pairs."""
        for _ in range(count):
            self._announced.append(asyncio.get_running_loop().create_task(super().take()))

    async def take(self) -> SigningKey:
        """Return a key pair, the first announced one if there is any left. Raises as ``KeyPool.take``."""
        return await (self._announced.popleft() if self._announced else super().take())

    def close(self) -> None:
        for task in self._announced:
            task.cancel()
        super().close()
