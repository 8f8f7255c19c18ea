"""Operations on one storage index happen one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holdfast.interfaces.types import StorageIndex


class IndexLocks:
    """A lock per storage index, which exists only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[StorageIndex, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, index: StorageIndex) -> AsyncIterator[None]:
        """Be alone with ``index`` inside the block."""
        lock, users = self._locks.get(index) or (asyncio.Lock(), 0)
        self._locks[index] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[index]
            if users == 1:
                del self._locks[index]
            else:
                self._locks[index] = (lock, users - 1)
