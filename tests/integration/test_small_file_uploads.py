"""Many small files at the same time, over real connections: with servers of every kind, and with servers
that are killed meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import holdfast
from holdfast.caps import ImmutableReadCap, parse_cap
from holdfast.errors import HoldfastError
from holdfast.grid.client import Grid
from holdfast.grid.results import UploadResult
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.types import StorageIndex
from holdfast.node.local_grid import LocalGrid
from holdfast.protocol import storage_extensions as extensions
from holdfast.testing.storage_server import ServedStorage
from holdfast.wire.http import Handler, Request, Response

FILES = 60
AT_ONCE = 20
TWO_OF_SIX = EncodingSettings(shares_needed=2, happiness=6, shares_total=6, convergence_secret=b"c" * 32)


class Watched:
    """Counts the requests to a server by what they are for, and leaves out some of its features."""

    def __init__(self, without: frozenset[str] | None) -> None:
        """``without``: features it has not; None: it knows of no extensions at all."""
        self._without = without
        self.requests: Counter[str] = Counter()

    def wrap(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            self.requests["/".join(request.path.split("/")[1:4])] += 1
            if self._without is None and request.path.startswith("/storage-ext/"):
                return Response(404)
            if self._without and request.path == extensions.VERSION_PATH:
                return Response(200, (), b"\xa1hfeatures\xa1estore\xf5")
            return await handler(request)

        return answer


async def stored(grid: Grid, contents: list[bytes]) -> list[UploadResult]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def store(content: bytes) -> UploadResult:
        async with turn:
            return await grid.upload(DataSource(content))

    return await asyncio.gather(*map(store, contents))


def small_files(count: int = FILES) -> list[bytes]:
    return [os.urandom(random.Random(number).randrange(60, 20_000)) for number in range(count)]


async def test_new_old_and_foreign_servers_take_part_side_by_side(tmp_path: Path) -> None:
    kinds: list[frozenset[str] | None] = [frozenset(), frozenset(), frozenset({extensions.STORE_ALL}), None]
    watched = [Watched(kinds[number % 4]) for number in range(6)]
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ServedStorage(tmp_path / str(number), wrap=one.wrap))
            for number, one in enumerate(watched)
        ]
        settings = ClientSettings(lease_secret=b"l" * 32, encoding=TWO_OF_SIX)
        records = [server.record for server in servers]
        grid = await stack.enter_async_context(holdfast.connect(servers=records, settings=settings))
        contents = small_files()
        results = await stored(grid, contents)
        assert {result.happiness for result in results} == {6}
        assert all(not result.problems for result in results)
        for content, result in zip(contents, results, strict=True):
            assert (await grid.download(result.uri, DataTarget())).value == content
        again = await stored(grid, contents)
        assert [result.uri for result in again] == [result.uri for result in results]
        assert {(result.pushed, result.found) for result in again} == {(0, 6)}
        assert all(server.engine.stored_shares == FILES for server in servers)
    new, old, foreign = watched[0].requests, watched[2].requests, watched[3].requests
    assert new["storage-ext/v1/immutable"] < FILES  # for both rounds together
    assert new["storage/v1/immutable"] <= 2 * FILES  # reads alone
    assert old["storage-ext/v1/immutable"] == 2 * FILES
    assert foreign["storage-ext/v1/immutable"] == 0
    assert foreign["storage/v1/immutable"] >= 3 * FILES
    assert all(one.requests["storage-ext/v1/version"] == 1 for one in watched)


async def test_an_old_client_and_a_new_one_store_the_same_shares(tmp_path: Path) -> None:
    contents = small_files(10)
    shares = []
    for number, without in enumerate((frozenset[str](), frozenset({extensions.STORE_ALL}))):
        async with ServedStorage(tmp_path / str(number), wrap=Watched(without).wrap) as server:
            encoding = EncodingSettings(
                shares_needed=1, happiness=1, shares_total=3, convergence_secret=b"c" * 32
            )
            settings = ClientSettings(lease_secret=b"l" * 32, encoding=encoding)
            async with holdfast.connect(servers=[server.record], settings=settings) as grid:
                await stored(grid, contents)
        places = sorted((server.storage / "shares").glob("??/*/*"))
        shares.append({str(place.relative_to(server.storage)): place.read_bytes() for place in places})
    assert len(shares[0]) == 30
    assert shares[0] == shares[1]


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.8])
async def test_what_was_stored_survives_kill_9_of_its_servers(tmp_path: Path, moment: float) -> None:
    local = LocalGrid(tmp_path / "grid", attached=True)
    encoding = EncodingSettings(shares_needed=1, happiness=1, shares_total=3)
    contents = small_files(300)
    try:
        await asyncio.to_thread(local.start, 3, encoding)
        ids = local.server_ids()
        async with holdfast.connect(local.directory) as grid:
            await grid.upload(DataSource(os.urandom(100)))
            outcomes = await killing_all(local, grid, contents, moment)
        done = {number: one for number, one in outcomes.items() if isinstance(one, UploadResult)}
        assert done
        assert all(isinstance(one, UploadResult | HoldfastError) for one in outcomes.values())
        await asyncio.to_thread(local.start)
        async with holdfast.connect(local.directory) as grid:
            for number, result in done.items():
                for server_id in ids.values():
                    promised = {n for n, holders in result.shares.items() if server_id in holders}
                    index = index_of(result.uri)
                    assert promised <= await grid.known[server_id].service.list_immutable(index)
                verified = await grid.verify(result.uri)
                assert verified.healthy
                assert not verified.corrupt
                assert (await grid.download(result.uri, DataTarget())).value == contents[number]
    finally:
        local.stop()


async def killing_all(
    local: LocalGrid, grid: Grid, contents: list[bytes], moment: float
) -> dict[int, UploadResult | BaseException]:
    """Store files while all servers are killed, one after the other; return what became of each."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def store(content: bytes) -> UploadResult:
        async with turn:
            return await grid.upload(DataSource(content))

    tasks = [asyncio.create_task(store(content)) for content in contents]
    for name in local.names:
        await asyncio.sleep(moment)
        await asyncio.to_thread(local.kill, name)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return dict(enumerate(outcomes))


def index_of(uri: str) -> StorageIndex:
    cap = parse_cap(uri)
    assert isinstance(cap, ImmutableReadCap)
    return StorageIndex(cap.storage_index)
