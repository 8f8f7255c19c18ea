"""Everything at once, at random: the accounts stay right, and no share is ever seen half done."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.interfaces.storage import LeaseSecrets, ShareVectors, StoreRequest, WriteVector
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_server import FakeClock

INDEXES = [StorageIndex(bytes([n]) * 16) for n in range(3)]
SLOTS = [StorageIndex(bytes([100 + n]) * 16) for n in range(2)]
ENABLER = b"w" * 32
SIZES = (10, 5000, 90_000)
CAPACITY = 2_000_000


class Actor:
    """One client that does something at random, over and over, and checks what it sees."""

    def __init__(self, engine: StorageEngine, clock: FakeClock, seed: int) -> None:
        self.engine = engine
        self.clock = clock
        self.dice = random.Random(seed)
        self.secret = bytes([seed + 1]) * 32
        self.lease = LeaseSecrets(bytes([seed % 3]) * 32, b"c" * 32)

    async def run(self, turns: int) -> None:
        actions = (self.upload, self.upload, self.upload, self.change, self.look, self.store, self.wait)
        for _ in range(turns):
            with suppress(StorageRefusalError):
                await self.dice.choice(actions)()

    async def upload(self) -> None:
        index, size = self.dice.choice(INDEXES), self.dice.choice(SIZES)
        numbers = frozenset(self.dice.sample(range(6), 2))
        answer = await self.engine.allocate(index, numbers, size, self.secret, self.lease)
        assert not answer.already_have & answer.allocated
        for number in answer.allocated:
            data = bytes([number]) * size
            cut = self.dice.randrange(size)
            if cut:
                await self.engine.write(index, number, self.secret, 0, [data[:cut]], cut)
            if self.dice.random() < 0.3:
                await self.engine.abort(index, number, self.secret)
            elif self.dice.random() < 0.9:
                await self.engine.write(index, number, self.secret, cut, [data[cut:]], size - cut)

    async def store(self) -> None:
        await self.engine.store([self.store_request() for _ in range(self.dice.randrange(1, 4))])

    def store_request(self) -> StoreRequest:
        shares = {number: bytes([number]) * 10 for number in self.dice.sample(range(6), 2)}
        return StoreRequest(self.dice.choice(INDEXES), shares, self.lease, self.dice.random() < 0.5)

    async def change(self) -> None:
        size, byte = self.dice.choice(SIZES), self.dice.randrange(1, 256)
        vectors = {
            number: ShareVectors(writes=[WriteVector(0, bytes([byte]) * size)], new_length=size)
            for number in range(2)
        }
        if self.dice.random() < 0.1:
            vectors = {number: ShareVectors(new_length=0) for number in range(2)}
        slot = self.dice.choice(SLOTS)
        result = await self.engine.read_test_write(slot, ENABLER, self.lease, vectors, [(0, 100_000)])
        seen = [data[0] for data in result.data.values()]
        assert len(seen) in (0, 2)
        assert all(len(set(data)) == 1 for data in seen)
        assert len(set(seen)) <= 1  # both shares are always of one change

    async def look(self) -> None:
        index = self.dice.choice(INDEXES)
        for number in await self.engine.list_immutable(index):
            data = await self.engine.read_immutable(index, number, 0, 100_000)
            assert set(data) == {number}
            assert len(data) in SIZES
        with suppress(StorageRefusalError):
            await self.engine.add_lease(index, self.lease)

    async def wait(self) -> None:
        self.clock.now += 300
        await self.engine.step()
        if self.dice.random() < 0.2:
            await self.engine.settle()


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_accounts_are_right_whatever_happens_at_once(tmp_path: Path, durability: str) -> None:
    settings = StorageSettings(durability=durability, capacity=CAPACITY)  # type: ignore[arg-type]
    clock = FakeClock()
    async with open_storage(tmp_path, settings, b"s" * 20, clock) as engine:
        for turn in range(3):
            actors = [Actor(engine, clock, 10 * turn + n) for n in range(8)]
            await asyncio.gather(*(actor.run(25) for actor in actors))
            clock.now += 2000
            await engine.step()
            assert engine.reserved_bytes == 0
            assert list((tmp_path / "shares" / "incoming").iterdir()) == []
        stored = engine.stored_bytes

    held = 0
    async with open_storage(tmp_path, settings, b"s" * 20, clock) as engine:
        assert engine.stored_bytes == stored <= CAPACITY
        for index in INDEXES:
            for number in await engine.list_immutable(index):
                held += len(await engine.read_immutable(index, number, 0, 100_000))
        for slot in SLOTS:
            for number in await engine.list_mutable(slot):
                held += len(await engine.read_mutable(slot, number, 0, 100_000))
    assert held == stored
