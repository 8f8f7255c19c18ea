"""Whatever waits can be cancelled, wherever it waits: nothing is left behind, and nothing stored is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.nodes import Drive
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, StreamSource
from holdfast.grid.targets import DataTarget, FileTarget
from holdfast.interfaces.drive import NewChild
from holdfast.protocol.storage_extensions import READ_SHARES, READ_SLOT
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

SEGMENTED = EncodingSettings(segment_size_max=1000, convergence_secret=CONVERGENCE)
DATA = bytes(range(256)) * 20  # 5,120 bytes, six segments
CHILD = "URI:LIT:nbswy3dp"
SETTLED_S = 5.0
EVERY_STEP = 150  # so many are all tried; later ones are further and further apart
KEYS = [new_signing_key() for _ in range(5)]


class World:
    """A grid with a file, two mutable files and two directories, all of them whole at any time."""

    def __init__(self, grid: MemoryGrid, place: Path) -> None:
        self.memory = grid
        self.grid = grid.grid
        self.place = place
        self.drive = Drive(grid.grid, grid.grid.mutable)
        self.turn = 0

    async def fill(self) -> None:
        self.uri = (await self.grid.upload(DataSource(DATA), SEGMENTED)).uri
        make = self.grid.mutable.create
        self.sdmf = await make(DATA, key=KEYS[0])
        self.mdmf = await make(DATA, format="MDMF", key=KEYS[1])
        self.files = [self.sdmf, self.mdmf]
        self.directory, self.other = await self._directory(KEYS[2]), await self._directory(KEYS[3])
        await self.directory.set_children(
            {name: NewChild(self.drive.node(CHILD), {}) for name in ("a", "b", "stays")}
        )
        await self.directory.set_node("other", self.other)
        self.background = asyncio.all_tasks()
        self.slots = {place for store in self.memory.stores.values() for place in store.slots.shares}

    async def _directory(self, key: SigningKey) -> GridDirectoryNode:
        file = await self.grid.mutable.create(b"", key=key)
        self.files.append(file)
        node = self.drive.node("URI:DIR2:" + file.cap.to_text().removeprefix("URI:SSK:"))
        assert isinstance(node, GridDirectoryNode)
        return node

    def forget_created(self) -> None:
        """Let there be no mutable shares but those of the beginning."""
        for store in self.memory.stores.values():
            for place in store.slots.shares.keys() - self.slots:
                del store.slots.shares[place]

    async def mend(self) -> None:
        """Give up changes that stopped too early for anybody to finish them, as a user does who is told."""
        for file in self.files:
            await file.repair(force=True)

    def new_data(self) -> bytes:
        """Return contents that nobody has stored yet."""
        self.turn += 1
        return DATA + b"%d" % self.turn

    async def settled(self) -> None:
        """Fail if something is left behind."""
        async with asyncio.timeout(SETTLED_S):
            while asyncio.all_tasks() != self.background:
                await asyncio.sleep(0)
        assert self.grid.transfers == []
        assert self.grid.uploader._memory._used == 0
        assert all(store.uploads == [] for store in self.memory.stores.values())
        assert [path.name for path in self.place.iterdir() if path.read_bytes() != DATA] == []

    async def whole(self) -> None:
        """Fail if something that was stored is lost."""
        assert (await self.grid.download(self.uri, DataTarget())).value == DATA
        for file in (self.sdmf, self.mdmf):
            assert (await file.read()).startswith(DATA)
        children = {*await self.directory.list(), *await self.other.list()}
        assert {"stays", "other"} <= children
        assert {"a", "moved"} & children


Operation = Callable[[World], Awaitable[Any]]


async def upload(world: World) -> None:
    await world.grid.upload(DataSource(world.new_data()), SEGMENTED)


async def upload_a_stream(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield world.new_data()

    await world.grid.upload(StreamSource(pieces()), SEGMENTED)


async def upload_again(world: World) -> None:
    await world.grid.upload(DataSource(DATA), SEGMENTED)


async def download(world: World) -> None:
    assert (await world.grid.download(world.uri, DataTarget(), offset=900, size=1500)).value == DATA[900:2400]


async def download_to_a_file(world: World) -> None:
    await world.grid.download(world.uri, FileTarget(world.place / "out"))


async def create(world: World) -> None:
    world.forget_created()
    await world.grid.mutable.create(DATA, format="MDMF", key=KEYS[4])


async def overwrite(world: World, file: MutableFile) -> None:
    await file.overwrite(world.new_data())


async def modify(world: World, file: MutableFile) -> None:
    data = world.new_data()
    assert await file.modify(lambda old, first: data) == data


async def update(world: World, file: MutableFile) -> None:
    await file.update(len(DATA), world.new_data())


async def repair(world: World, file: MutableFile) -> None:
    for store in world.memory.stores.values():
        for place in [place for place in store.slots.shares if place[1] in (3, 4)]:
            del store.slots.shares[place]
    await file.repair()


async def add_a_file(world: World) -> None:
    await world.directory.add_file("new", DataSource(world.new_data()), replace=True)


async def there_and_back(world: World) -> None:
    if await world.directory.has_child("a"):
        await world.directory.move_child_to("a", world.other, "moved", replace=True)
    else:
        await world.other.move_child_to("moved", world.directory, "a", replace=True)


async def delete(world: World) -> None:
    await world.directory.set_uri("b", CHILD, replace=True)
    await world.directory.delete("b")


async def manifest(world: World) -> None:
    assert len(await world.directory.build_manifest()) >= 2


async def walk(world: World) -> None:
    assert await world.directory.get_child_at_path("other") is not None
    assert "stays" in await world.directory.list()


OPERATIONS: dict[str, Operation] = {
    "upload": upload,
    "upload a stream": upload_a_stream,
    "upload again": upload_again,
    "download": download,
    "download to a file": download_to_a_file,
    "check": lambda world: world.grid.check(world.uri),
    "verify": lambda world: world.grid.verify(world.uri),
    "create": create,
    "read SDMF": lambda world: world.sdmf.read(),
    "read MDMF": lambda world: world.mdmf.read(10, 2000),
    "overwrite SDMF": lambda world: overwrite(world, world.sdmf),
    "overwrite MDMF": lambda world: overwrite(world, world.mdmf),
    "modify": lambda world: modify(world, world.sdmf),
    "update in place": lambda world: update(world, world.mdmf),
    "check mutable": lambda world: world.sdmf.check(verify=True, add_lease=True),
    "repair": lambda world: repair(world, world.mdmf),
    "set a child": lambda world: world.directory.set_uri("new", CHILD, replace=True),
    "set metadata": lambda world: world.directory.set_metadata("stays", {"n": 1}),
    "add a file": add_a_file,
    "move": there_and_back,
    "delete": delete,
    "walk": walk,
    "manifest": manifest,
}


@asynccontextmanager
async def new_world(place: Path, *, faults: bool) -> AsyncIterator[World]:
    async with memory_grid() as grid:
        if not faults:
            for store in grid.stores.values():
                store.extensions = frozenset((READ_SLOT, READ_SHARES))
        world = World(grid, place)
        await world.fill()
        if faults:
            stores = list(grid.stores.values())
            stores[0].faults.dead = True
            stores[1].faults.denied = True
            stores[2].faults.flip = {(number, 300) for number in range(10)}
            stores[3].faults.lost_answers = {"write", "read_test_write"}
        yield world


async def cancelled(operation: Awaitable[Any], step: int) -> bool:
    """Cancel an operation after so many turns of the event loop; return False if it had ended before."""
    task = asyncio.ensure_future(operation)
    for _ in range(step):
        if task.done():
            break
        await asyncio.sleep(0)
    if task.done():
        task.result()
        return False
    task.cancel()
    await asyncio.wait([task], timeout=SETTLED_S)
    assert task.done(), "it went on although it was cancelled"
    if not task.cancelled():
        task.result()
    return True


@pytest.mark.seed("S-208")
@pytest.mark.parametrize("faults", [False, True], ids=["well", "faults"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_what_is_cancelled_leaves_nothing_behind_and_loses_nothing(
    tmp_path: Path, name: str, faults: bool
) -> None:
    async with new_world(tmp_path, faults=faults) as world:
        step = steps = 0
        while await cancelled(OPERATIONS[name](world), step):
            await world.settled()
            await world.whole()
            if faults:
                await world.mend()
            steps += 1
            step += 1 + max(0, step - EVERY_STEP) // 10
        assert steps >= 3
        await world.settled()
        await world.whole()
