"""Canary streams of an upload: should this client die, its unfinished shares are dropped soon.

Source: docs/spec/seed-map.md, S-061.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from holdfast.errors import HoldfastError
from holdfast.grid.known_server import KnownServer
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.storage_extensions import CANARY

PAUSE_S = 2.0  # before a broken stream is opened again; well within a server's grace


@asynccontextmanager
async def canaries(index: StorageIndex, holders: Sequence[tuple[KnownServer, bytes]]) -> AsyncIterator[None]:
    """Hold a canary stream at each of (server, upload secret) that offers that, as long as the block runs."""
    tasks = [asyncio.create_task(_hold(index, server, secret)) for server, secret in holders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hold(index: StorageIndex, server: KnownServer, secret: bytes) -> None:
    while True:
        try:
            if CANARY not in await server.service.features():
                return
            await server.service.hold_canary(index, secret)
        except HoldfastError:
            pass  # the writes tell whether the server is of use; this only helps it to clean up
        await asyncio.sleep(PAUSE_S)
