"""Many writers of one mutable file at once: whatever they do to one another, a version remains."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import ConflictError, UnavailableError
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.mutable.surveyor import Surveyor
from holdfast.grid.settings import EncodingSettings
from holdfast.planning.survey import Survey
from holdfast.testing.memory_grid import memory_grid

WRITERS = 10


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
@pytest.mark.parametrize("seed", range(10))
async def test_ten_writers_leave_a_version_with_all_that_was_acknowledged(
    key: SigningKey, file_format: MutableFormat, seed: int
) -> None:
    encoding = EncodingSettings(shares_needed=2, happiness=1, shares_total=4)
    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(memory_grid(4, encoding))
        first = await grid.grid.mutable.create(b"", format=file_format, key=key)
        clients = [await stack.enter_async_context(grid.another_client()) for _ in range(WRITERS)]
        turns = random.Random(seed)
        for store in grid.stores.values():
            store.faults.turns = lambda: turns.randrange(8)
        stored: set[int] = set()

        async def append(file: MutableFile, value: int) -> None:
            try:
                await file.modify(lambda old, first: old if bytes([value]) in old else old + bytes([value]))
            except (ConflictError, UnavailableError):
                return
            stored.add(value)

        files = [client.mutable.open(first.cap) for client in clients]
        await asyncio.gather(*(append(file, value) for value, file in enumerate(files)))

        found = await first.read()
        assert stored and stored <= set(found)
        assert len(found) == len(set(found))
        await first.modify(lambda old, _: old + b"!")
        assert (await first.check(verify=True)).healthy


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
async def test_who_is_overtaken_by_another_writer_reads_and_changes_what_that_one_wrote(
    key: SigningKey, file_format: MutableFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_grid() as grid, grid.another_client() as another:
        faster = await grid.grid.mutable.create(b"", format=file_format, key=key)
        slower = another.mutable.open(faster.cap)
        survey, written = Surveyor.run, 0

        async def overtaken(self: Surveyor, wanted: Survey, *, add_lease: bool = False) -> None:
            nonlocal written
            await survey(self, wanted, add_lease=add_lease)
            if asyncio.current_task() is slow and written < 6:
                written += 1
                await asyncio.create_task(faster.overwrite(b"%d" % written * 20_000))

        async def read_and_change() -> tuple[bytes, bytes]:
            return await slower.read(), await slower.modify(lambda old, _: old + b"!")

        await faster.overwrite(b"0" * 20_000)
        monkeypatch.setattr(Surveyor, "run", overtaken)
        slow = asyncio.create_task(read_and_change())
        read, changed = await slow

        assert read in {b"%d" % number * 20_000 for number in range(7)}
        assert changed[:-1] in {b"%d" % number * 20_000 for number in range(7)}
        assert written > 1
        assert await faster.read() == changed
