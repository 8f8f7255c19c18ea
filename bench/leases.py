"""How many leases a storage server takes in a second, each on stable storage before it is answered.

    python bench/leases.py [DIRECTORY]

Seen on a busy 2-core virtual machine, ext4: 1,500 per second for one caller, 7,800 for 16, 6,500 for 200;
on tmpfs 4,200, 10,000 and 9,500.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from holdfast.interfaces.storage import LeaseSecrets
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings

SHARES = 2000
ROUNDS = ((1, 1000), (16, 6000), (200, 20_000))  # callers at once, leases


def index_of(number: int) -> StorageIndex:
    return StorageIndex((number % SHARES).to_bytes(16, "big"))


async def fill(engine: StorageEngine) -> None:
    lease = LeaseSecrets(b"r" * 32, b"c" * 32)
    for number in range(SHARES):
        await engine.store(index_of(number), {0: b"x" * 100}, b"u" * 32, lease, only_if_none=False)


async def measure(engine: StorageEngine, callers: int, leases: int, first: int) -> float:
    """Return leases per second; all of them are new."""

    async def call(caller: int) -> None:
        for number in range(first + caller, first + leases, callers):
            secrets = LeaseSecrets(number.to_bytes(32, "big"), b"c" * 32)
            await engine.add_lease(index_of(number), secrets)

    begin = time.perf_counter()
    await asyncio.gather(*(call(caller) for caller in range(callers)))
    return leases / (time.perf_counter() - begin)


async def main(directory: Path) -> None:
    async with open_storage(directory, StorageSettings(), b"s" * 20) as engine:
        await fill(engine)
        first = 0
        for callers, leases in ROUNDS:
            rate = await measure(engine, callers, leases, first)
            print(f"{callers:4} callers at once: {rate:7.0f} leases per second")
            first += leases


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        asyncio.run(main(Path(place)))
