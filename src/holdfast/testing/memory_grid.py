"""A whole grid in memory: a real client over storage services that misbehave on request."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from holdfast.grid.client import Grid, open_grid
from holdfast.grid.known_server import OnContact
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.protocol.nurl import Nurl, spki_hash
from holdfast.protocol.server_record import ServerRecord
from holdfast.testing.memory_storage import MemoryStorage

CONVERGENCE = b"c" * 32
RETRY_SCALE = 0.001  # writers that collide wait for milliseconds


class MemoryGrid:
    """A client, and the stores behind it by server id: s0, s1, ..."""

    def __init__(
        self,
        grid: Grid,
        stores: dict[str, MemoryStorage],
        records: Sequence[ServerRecord],
        settings: ClientSettings,
    ) -> None:
        self.grid = grid
        self.stores = stores
        self._records = records
        self._settings = settings

    @asynccontextmanager
    async def another_client(self) -> AsyncIterator[Grid]:
        """Give another client of the same stores."""
        async with open_grid(self._records, self._settings, self._service_of) as grid:
            yield grid

    def _service_of(self, record: ServerRecord, on_contact: OnContact) -> MemoryStorage:
        return self.stores[record.server_id]

    def holder(self, shares: dict[int, tuple[str, ...]], number: int) -> MemoryStorage:
        """Return the store that holds a share, by an upload's result."""
        return self.stores[shares[number][0]]

    def calls(self) -> list[str]:
        """Return the calls made to all stores since ``forget_calls``, store by store."""
        return [call for store in self.stores.values() for call in store.calls]

    def forget_calls(self) -> None:
        """Begin to count calls and bytes anew."""
        for store in self.stores.values():
            store.calls.clear()
            store.bytes_read = 0


def memory_record(number: int) -> ServerRecord:
    """Return a record of a server that only exists in memory."""
    name = b"server %d" % number
    return ServerRecord(
        f"s{number}",
        (Nurl("pb", spki_hash(name), "memory.invalid", 1, "swissnum"),),
        hashlib.sha256(name).digest()[:20],
        hashlib.sha256(b"seed" + name).digest(),
        f"name{number}",
    )


@asynccontextmanager
async def memory_grid(
    servers: int = 10, encoding: EncodingSettings | None = None, *, memory_max: int = 128 << 20
) -> AsyncIterator[MemoryGrid]:
    """Give a client of ``servers`` stores; 3 of 10 and convergent unless told otherwise."""
    stores = {f"s{i}": MemoryStorage() for i in range(servers)}
    encoding = encoding or EncodingSettings(convergence_secret=CONVERGENCE)
    settings = ClientSettings(
        lease_secret=b"l" * 32,
        encoding=replace(encoding),
        memory_max=memory_max,
        mutable_retry_scale=RETRY_SCALE,
    )
    records = [memory_record(i) for i in range(servers)]

    def make_service(record: ServerRecord, on_contact: OnContact) -> MemoryStorage:
        store = stores.setdefault(record.server_id, MemoryStorage())
        store.on_contact = on_contact
        return store

    async with open_grid(records, settings, make_service) as grid:
        yield MemoryGrid(grid, stores, records, settings)
