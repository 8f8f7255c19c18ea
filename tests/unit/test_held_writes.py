"""Shares that are on their way to other servers while the first one writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import UncoordinatedWriteError
from holdfast.grid.mutable.held_writes import WithdrawnError, held_back
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.mutable.publisher import HELD_MIN, Publisher
from holdfast.interfaces.storage import ReadTestWriteResult, StreamedWrite
from holdfast.planning.publication import Goal
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_storage import MemoryStorage


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


async def taken(pieces: AsyncIterator[object], into: bytearray) -> None:
    async for piece in pieces:
        into += bytes(piece)  # type: ignore[call-overload]


async def test_all_but_the_last_byte_is_sent_before_it_is_decided() -> None:
    held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    first, last = held_back([(0, b"first"), (5, b"second")], held)
    got = bytearray()
    await taken(first.pieces(), got)
    rest = asyncio.create_task(taken(last.pieces(), got))
    await asyncio.sleep(0.01)
    assert got == b"firstsecon"
    held.set_result(True)
    await rest
    assert got == b"firstsecond"
    assert (first.length, last.length, last.offset) == (5, 6, 5)


async def test_what_is_withdrawn_is_never_whole() -> None:
    held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    (write,) = held_back([(0, b"share")], held)
    got = bytearray()
    sending = asyncio.create_task(taken(write.pieces(), got))
    await asyncio.sleep(0.01)
    held.set_result(False)
    with pytest.raises(WithdrawnError):
        await sending
    assert got == b"shar"


def shares(grid: MemoryGrid) -> dict[str, dict[tuple[bytes, int], bytes]]:
    return {name: dict(store.slots.shares) for name, store in grid.stores.items()}


@pytest.mark.parametrize("lost", [False, True])
async def test_other_servers_write_nothing_unless_the_first_has_written(
    key: SigningKey, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed: list[StreamedWrite] = []
    write_share = MemoryStorage.write_share

    async def watched(self: MemoryStorage, *args: object) -> ReadTestWriteResult:
        streamed.extend(args[5])  # type: ignore[arg-type]
        return await write_share(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStorage, "write_share", watched)
    async with memory_grid() as grid, grid.another_client() as another:
        file = await grid.grid.mutable.create(b"1" * 3 * HELD_MIN, format="MDMF", key=key)
        other = another.mutable.open(file.cap)
        assert await other.read() == b"1" * 3 * HELD_MIN
        if not lost:
            await other.overwrite(b"2" * 3 * HELD_MIN)
            assert streamed
            assert await file.read() == b"2" * 3 * HELD_MIN
            return
        first_round, state = Publisher._first_round, shares(grid)

        async def overtaken(self: Publisher, goal: Goal, *args: object, **more: object) -> object:
            """Let somebody else come as far as the first server between the survey and the first write."""
            nonlocal state
            monkeypatch.setattr(Publisher, "_first_round", first_round)
            await file.overwrite(b"3" * 3 * HELD_MIN)
            first = self._in_order(goal)[0]
            for name, store in grid.stores.items():
                if name != first:
                    store.slots.shares = dict(state[name])
            state = shares(grid)
            return await first_round(self, goal, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(Publisher, "_first_round", overtaken)
        with pytest.raises(UncoordinatedWriteError):
            await other.overwrite(b"4" * 3 * HELD_MIN)
        assert shares(grid) == state
