"""The watch over real storage servers that are killed, stopped and started again, and the
connections it keeps.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import holdfast
from holdfast.grid.client import Grid
from holdfast.grid.server_watch import ServerWatch, WatchSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.warm_grid import WarmGrid

NOTICED_S = 30.0
SETTINGS = WatchSettings()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    local = WarmGrid(tmp_path_factory.mktemp("watch") / "grid")
    try:
        local.start(4)
        yield local
    finally:
        local.stop()


@pytest.fixture
async def grid(local: LocalGrid) -> AsyncIterator[Grid]:
    async with holdfast.connect(local.directory) as grid:
        yield grid


def state(grid: Grid, name: str) -> str:
    return next(server.state for server in grid.servers if server.nickname == name)


async def took(true: Callable[[], bool]) -> float:
    """Return the seconds until something is true."""
    began = time.monotonic()
    async with asyncio.timeout(NOTICED_S):
        while not true():
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_a_killed_server_is_seen_to_be_down_at_once_and_up_again_when_it_is_back(
    local: LocalGrid, grid: Grid
) -> None:
    watch = ServerWatch(grid.known, SETTINGS)
    async with watch.running():
        assert await watch.wait_for_connections(4, 20) == 4
        name = local.names[1]
        await asyncio.sleep(SETTINGS.suspicion_s)
        await asyncio.to_thread(local.kill, name)
        assert await took(lambda: state(grid, name) == "down") < 3
        assert await watch.wait_for_connections(4, 0.1) == 3
        await asyncio.to_thread(local.revive, name)
        assert await watch.wait_for_connections(4, NOTICED_S) == 4
        assert state(grid, name) == "up"


async def test_a_hung_server_is_seen_to_be_down_and_up_again_when_it_goes_on(
    local: LocalGrid, grid: Grid
) -> None:
    watch = ServerWatch(grid.known, SETTINGS)
    async with watch.running():
        assert await watch.wait_for_connections(4, 20) == 4
        victim = local.status()[2]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            await took(lambda: state(grid, victim.name) == "down")
            reason = next(server.reason for server in grid.servers if server.nickname == victim.name)
            assert reason.startswith("hung")
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        assert await watch.wait_for_connections(4, NOTICED_S) == 4


async def test_surplus_connections_are_closed_and_transfers_go_on(local: LocalGrid, grid: Grid) -> None:
    data = os.urandom(3_000_000)
    watch = ServerWatch(grid.known, WatchSettings(idle_max=1, idle_check_s=0.02))
    async with watch.running():
        assert await watch.wait_for_connections(4, 20) == 4
        for _ in range(3):
            result = await grid.upload(DataSource(data))
            assert (await grid.download(result.uri, DataTarget())).value == data
        await took(lambda: sum(server.service.idle for server in grid.known.all()) <= 1)
    assert all(server.state == "up" for server in grid.servers)


async def test_a_server_removed_during_a_transfer_serves_it_to_the_end_and_keeps_no_connection(
    local: LocalGrid, grid: Grid
) -> None:
    data = os.urandom(24_000_000)
    result = await grid.upload(DataSource(data))
    services = [server.service for server in grid.known.all()]

    def remove_all(progress: object) -> None:
        for server in grid.known.all():
            grid.known.remove(server.id)

    download = await grid.download(result.uri, DataTarget(), progress=remove_all)
    assert download.value == data
    assert download.problems == ()
    assert [service.idle for service in services] == [0] * 4
    assert grid.servers == []
