"""Looking for the shares of a small file: few questions, each answered with the shares themselves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import pytest

from holdfast.grid.finder import GRACE_S, SMALL_MAX
from holdfast.grid.results import DownloadResult, UploadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.protocol.storage_extensions import READ_SHARES
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

P = ParamSpec("P")
T = TypeVar("T")
DATA = bytes(range(256)) * 80  # 20,480 bytes, shares of about 7 KB
NUMBERS = range(10)


@asynccontextmanager
async def holdfast_servers(sending: int = 10, **options: int) -> AsyncIterator[MemoryGrid]:
    """A grid whose first servers, by name, send shares along with their answer."""
    async with memory_grid(**options) as grid:
        for i in range(sending):
            grid.stores[f"s{i}"].extensions = frozenset((READ_SHARES,))
        yield grid


async def stored(grid: MemoryGrid, data: bytes = DATA, segment_size: int = 1 << 20) -> UploadResult:
    encoding = EncodingSettings(segment_size_max=segment_size, convergence_secret=CONVERGENCE)
    return await grid.grid.upload(DataSource(data), encoding)


async def read(grid: MemoryGrid, result: UploadResult) -> DownloadResult[bytes]:
    grid.forget_calls()
    return await grid.grid.download(result.uri, DataTarget())


def questions(grid: MemoryGrid) -> Counter[str]:
    return Counter(call for call in grid.calls() if call != "features")


async def test_a_small_file_costs_one_request_to_each_of_k_servers() -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        assert (await read(grid, result)).value == DATA
        assert questions(grid) == {"read_shares": 3}


@pytest.mark.parametrize("fault", ["dead", "denied", "hung"])
async def test_servers_that_do_not_do_their_part_are_replaced_at_once(fault: str) -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        for number in range(7):
            setattr(grid.holder(dict(result.shares), number).faults, fault, True)
        began = time.monotonic()
        assert (await read(grid, result)).value == DATA
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("offset", [3, 100, 3000, 6900])
async def test_a_corrupt_share_that_came_along_is_named_and_replaced(offset: int) -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        for number in range(7):
            grid.holder(dict(result.shares), number).faults.flip = {(number, offset)}
        done = await read(grid, result)
        assert done.value == DATA
        assert {problem.share for problem in done.problems} <= set(range(7))
        assert done.problems


@pytest.mark.parametrize("length", [0, 10, 50, 1000, 6900])
async def test_of_a_share_that_is_cut_short_no_more_is_asked(length: int) -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        for number in NUMBERS:
            store = grid.holder(dict(result.shares), number)
            store.faults.hung_calls |= {"read_immutable", "list_immutable"}
            if number < 7:
                store.faults.cut = {number: length}
        began = time.monotonic()
        assert (await read(grid, result)).value == DATA
        assert time.monotonic() - began < 5
        assert questions(grid).keys() <= {"read_shares", "advise_corrupt_immutable"}


async def test_the_same_share_at_several_servers_counts_once() -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        first = grid.holder(dict(result.shares), 0).shares
        for number in range(1, 7):
            grid.holder(dict(result.shares), number).shares = dict(first)
        assert (await read(grid, result)).value == DATA


async def test_large_shares_do_not_come_along() -> None:
    async with holdfast_servers() as grid:
        data = bytes(3 * SMALL_MAX)
        result = await stored(grid, data)
        assert (await read(grid, result)).value == data
        assert questions(grid)["read_shares"] == 0


async def test_shares_that_are_larger_than_they_seem_are_read_part_by_part() -> None:
    """With tiny segments most of a share are hashes."""
    async with holdfast_servers() as grid:
        data = bytes(range(256)) * 600
        result = await stored(grid, data, segment_size=100)
        sizes = {len(share) for store in grid.stores.values() for share in store.shares.values()}
        assert min(sizes) > SMALL_MAX
        assert (await read(grid, result)).value == data


@pytest.mark.parametrize("sending", [0, 1, 3, 6])
async def test_servers_that_cannot_send_shares_along_are_used_like_the_others(sending: int) -> None:
    async with holdfast_servers(sending) as grid:
        result = await stored(grid)
        for _ in range(2):
            assert (await read(grid, result)).value == DATA
        for number in range(7):
            grid.holder(dict(result.shares), number).faults.dead = True
        assert (await read(grid, result)).value == DATA


async def test_servers_known_not_to_send_shares_are_all_asked_at_once() -> None:
    async with holdfast_servers(0) as grid:
        result = await stored(grid)
        calls = ["features"]  # was asked before
        for store in grid.stores.values():
            store.calls = calls
        await grid.grid.download(result.uri, DataTarget())
        assert calls[1:12] == ["list_immutable"] * 10 + ["read_immutable"]


@pytest.mark.parametrize("fault", ["dead", "denied"])
async def test_after_one_disappointment_all_are_asked_at_once(fault: str) -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        setattr(grid.holder(dict(result.shares), 1).faults, fault, True)
        assert (await read(grid, result)).value == DATA
        assert questions(grid)["read_shares"] >= 9


async def test_who_is_always_slow_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow network nobody is asked in vain."""
    async with holdfast_servers() as grid:
        result = await stored(grid)
        asked: list[str] = []
        for store in grid.stores.values():
            for name in ("version", "read_shares"):
                monkeypatch.setattr(store, name, slowly(getattr(store, name), asked))
        async with grid.another_client() as client:
            for server in client.known.all():
                await server.version()
            assert (await client.download(result.uri, DataTarget())).value == DATA
        assert asked.count("read_shares") == 3


def slowly(call: Callable[P, Awaitable[T]], asked: list[str]) -> Callable[P, Awaitable[T]]:
    async def late(*args: P.args, **kwargs: P.kwargs) -> T:
        asked.append(call.__name__)
        await asyncio.sleep(2 * GRACE_S)
        return await call(*args, **kwargs)

    return late


async def test_a_server_that_answers_nonsense_is_named_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with holdfast_servers() as grid:
        result = await stored(grid)
        liar = grid.holder(dict(result.shares), 1)

        async def nonsense(index: object, ranges: object) -> dict[int, list[bytes]]:
            return {1: [], 200: [b"", b""]}

        monkeypatch.setattr(liar, "read_shares", nonsense)
        done = await read(grid, result)
        assert done.value == DATA
        assert [problem.server_id for problem in done.problems] == [result.shares[1][0]]


async def test_few_servers_with_many_shares_each_suffice() -> None:
    async with holdfast_servers(2, servers=2) as grid:
        encoding = EncodingSettings(happiness=2, convergence_secret=CONVERGENCE)
        result = await grid.grid.upload(DataSource(DATA), encoding)
        assert (await read(grid, result)).value == DATA
        grid.stores["s0"].faults.dead = True
        assert (await read(grid, result)).value == DATA
