"""What happens to machines, as clients of real virtual drive servers meet it: servers that die beside others,
slow lines, locked databases, full disks, wrong clocks, and a server that was restored from an old backup.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps import VdriveWriteCap
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.interfaces.vdrive_errors import (
    ForkDetectedError,
    QuotaExceededError,
    RefusedHeadError,
    RollbackDetectedError,
    VdriveUnavailableError,
)
from holdfast.servers.vdrive import sqlite_database
from holdfast.servers.vdrive.checking import check
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_clients import client_of, names_in, put
from holdfast.testing.vdrive_processes import VdriveProcess, place_of
from holdfast.testing.vdrive_server import ServedVdrive


class Clients:
    """Makes clients, which remember on disk, and closes them."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self._directory = directory
        self._stack = stack

    def __call__(self, name: str, server: Any = None, **settings: Any) -> VdriveClient:
        """Return one; ``server``: what it asks instead of those that capabilities name."""
        memory = VdriveMemory(self._directory / f"{name}.sqlite")
        servers = VdriveServers()
        client = client_of(server or servers, memory, **settings)
        self._stack.callback(memory.close)
        self._stack.callback(servers.close)
        self._stack.push_async_callback(client.close)
        return client


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(tmp_path, stack)


def stored(directory: Path) -> Path:
    return directory / "private" / "vdrive.sqlite"


# -- others are there (V-13)


async def test_clients_go_on_with_the_server_that_is_left(
    tmp_path: Path, postgres: PostgresServer, clients: Clients
) -> None:
    url = postgres.new_database()
    with ExitStack() as stack:
        one, two = (stack.enter_context(VdriveProcess(tmp_path / "server", url)) for _ in range(2))
        one.start()
        two.start()
        client, other = clients("client"), clients("other")
        cap = await client.create(place_of(one, two))
        directory = client.directory(cap)
        await put(client, directory, "both")
        await names_in(other.directory(cap))
        one.kill()
        await put(client, directory, "second alone")
        assert await names_in(other.directory(cap)) == {"both", "second alone"}
        one.start()
        two.kill()
        await put(other, other.directory(cap), "first alone")
        assert await names_in(directory) == {"both", "second alone", "first alone"}
        two.start()
        one.proxy.black_hole()
        await put(client, directory, "though one is silent")
        one.proxy.heal()
        assert "though one is silent" in await names_in(other.directory(cap))


# -- slow lines (V-10)


class Slow:
    """Finds a server at the end of a long line."""

    def __init__(self, servers: VdriveServers, way_s: float) -> None:
        self._servers = servers
        self._way_s = way_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._servers, name)

    def server(self, place: Any) -> Any:
        return _SlowServer(self._servers.server(place), self._way_s)


class _SlowServer:
    def __init__(self, server: Any, way_s: float) -> None:
        self._server = server
        self._way_s = way_s

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._server, name)

        async def slow(*args: Any, **options: Any) -> Any:
            await asyncio.sleep(self._way_s)
            try:
                return await call(*args, **options)
            finally:
                await asyncio.sleep(self._way_s)

        return slow


async def test_a_writer_far_away_gets_through_among_fast_ones(tmp_path: Path, clients: Clients) -> None:
    async with ServedVdrive(tmp_path / "server", accounts="open") as served:
        founder = clients("founder")
        cap = await founder.create(served.place)
        made: list[str] = []

        async def write(number: int) -> None:
            client = clients(f"fast {number}")
            for turn in range(1000):
                await put(client, client.directory(cap), f"{number} {turn}")
                made.append(f"{number} {turn}")

        async with asyncio.TaskGroup() as group:
            fast = [group.create_task(write(number)) for number in range(10)]
            servers = VdriveServers()
            slow = clients("slow", Slow(servers, 0.15))
            while len(made) < 20:
                await asyncio.sleep(0.05)
            before = len(made)
            await put(slow, slow.directory(cap), "slow", deadline_s=30)
            assert len(made) > before + 1, "others wrote meanwhile"
            for task in fast:
                task.cancel()
        servers.close()
        assert {*made, "slow"} <= await names_in(founder.directory(cap))


# -- databases and disks


async def test_a_locked_database_is_waited_for(
    tmp_path: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "BUSY_S", 0.1)
    async with ServedVdrive(tmp_path, accounts="open") as served:
        client = clients("client")
        cap = await client.create(served.place)
        directory = client.directory(cap)
        await put(client, directory, "before")
        other = sqlite3.connect(stored(tmp_path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(VdriveUnavailableError, match="may have been made") as refused:
            await put(client, directory, "too late", deadline_s=0.4)
        assert refused.value.may_be_applied
        assert await names_in(directory) == {"before"}, "looking needs no lock"
        waiting = asyncio.ensure_future(put(client, directory, "meanwhile"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        other.execute("ROLLBACK")
        other.close()
        await waiting
        assert {"before", "meanwhile"} <= await names_in(directory)
        assert (await served.engine.database.read(check)).problems == []


async def test_a_full_disk_is_told_and_nothing_is_half_done(tmp_path: Path, clients: Clients) -> None:
    async with ServedVdrive(tmp_path, accounts="open") as served:
        client = clients("client")
        caps = [await client.create(served.place) for _ in range(2)]
        here, there = map(client.directory, caps)
        await put(client, here, *(f"{number}" for number in range(200)))

        async def set_pages(more: int | None) -> None:
            def pragma(connection: Any) -> None:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
                most = 10**6 if more is None else pages + more
                connection.exec_driver_sql(f"PRAGMA max_page_count = {most}").close()

            await served.engine.database.write(pragma)

        await set_pages(3)
        names = [f"more {number}" for number in range(400)]
        with pytest.raises(QuotaExceededError, match="full"):
            await put(client, here, *names)
        assert len(await names_in(here)) == 200
        await set_pages(None)
        await put(client, here, *names)
        await put(client, there, "and so on")
        assert len(await names_in(here)) == 600
        assert (await served.engine.database.read(check)).problems == []


# -- clocks


async def test_a_client_with_a_wrong_clock_is_told_so(tmp_path: Path, clients: Clients) -> None:
    clock = FakeClock()
    async with ServedVdrive(tmp_path, accounts="open") as served:
        client = clients("client", clock=clock)
        clock.now = time.time()
        cap = await client.create(served.place)
        directory = client.directory(cap)
        await put(client, directory, "right")
        clock.now += 10 * 86_400
        with pytest.raises(RefusedHeadError, match="clock"):
            await put(client, directory, "of the future")
        clock.now -= 30 * 86_400
        await put(client, directory, "of the past")  # no earlier than what it follows
        clock.now = time.time()
        await put(client, directory, "right again")
        assert await names_in(directory) == {"right", "of the past", "right again"}


async def test_a_server_whose_clock_jumps_serves_on(tmp_path: Path, clients: Clients) -> None:
    clock = FakeClock()
    clock.now = time.time()
    async with ServedVdrive(tmp_path, clock=clock, accounts="open") as served:
        client = clients("client")
        cap = await client.create(served.place)
        directory = client.directory(cap)
        await put(client, directory, "right")
        clock.now += 400 * 86_400
        fooled = clients("fooled", clock=clock)
        await put(fooled, fooled.directory(cap), "of next year")
        clock.now -= 400 * 86_400
        await put(client, directory, "right again")
        clock.now -= 86_400
        with pytest.raises(RefusedHeadError, match="clock"):
            other = await fooled.create(served.place)
            late = clients("late")
            await put(late, late.directory(other), "a day ahead of the server")
        await put(client, directory, "after what a clock brought in")
        assert len(await names_in(directory)) == 4
        assert (await served.engine.database.read(check)).problems == []


# -- backups


async def restored(served: ServedVdrive, backup: Path) -> None:
    await served.stop()
    shutil.rmtree(served.directory / "private")
    shutil.copytree(backup, served.directory / "private")
    await served.start()


async def test_a_server_from_an_old_backup_is_noticed_and_healed_by_those_who_wrote(
    tmp_path: Path, clients: Clients
) -> None:
    served = ServedVdrive(tmp_path / "server", accounts="open")
    await served.start()
    one, two = clients("one"), clients("two")
    cap = await one.create(served.place)
    await put(one, one.directory(cap), "in the backup")
    await served.stop()
    shutil.copytree(tmp_path / "server" / "private", tmp_path / "backup")
    await served.start()
    for turn in range(3):
        await put(one, one.directory(cap), f"one {turn}")
        await put(two, two.directory(cap), f"two {turn}")
    whole = await names_in(one.directory(cap))
    await restored(served, tmp_path / "backup")

    with pytest.raises(RollbackDetectedError) as noticed:
        await names_in(two.directory(cap))
    assert (noticed.value.found, noticed.value.remembered) == (1, 7)
    assert "1" in str(noticed.value)
    assert "7" in str(noticed.value)
    reports = [await client.heal(cap) for client in (two, one) for _ in range(3)]
    assert not reports[0].complete, "another client wrote first"
    for _ in range(6):
        reports = [await client.heal(cap) for client in (one, two)]
    assert all(report.complete for report in reports)
    assert await names_in(two.directory(cap)) == whole
    assert (await served.engine.database.read(check)).problems == []
    await served.stop()


async def test_what_nobody_can_give_back_is_given_up_on_command(tmp_path: Path, clients: Clients) -> None:
    served = ServedVdrive(tmp_path / "server", accounts="open")
    await served.start()
    one, lost, reader = clients("one"), clients("lost"), clients("reader")
    cap = await one.create(served.place)
    await put(one, one.directory(cap), "in the backup")
    await served.stop()
    shutil.copytree(tmp_path / "server" / "private", tmp_path / "backup")
    await served.start()
    await put(lost, lost.directory(cap), "by a machine that burnt")
    await put(one, one.directory(cap), "mine")
    assert len(await names_in(reader.directory(cap.read_only))) == 3
    await restored(served, tmp_path / "backup")

    for client in (one, reader):
        with pytest.raises(RollbackDetectedError):
            await client.directory(cap).head()
    report = await one.heal(cap)
    assert not report.complete
    assert report.missing == range(2, 4)
    with pytest.raises(RollbackDetectedError):
        await put(one, one.directory(cap), "tried meanwhile")  # who knows what became of it
    report = await one.heal(cap, disown=True)
    assert report.disowned
    # It was noted to be sent, unless the client asked the server first and learned that it went back.
    tried = set(report.made_again) - {"mine"}
    assert tried <= {"tried meanwhile"}
    assert report.made_again[0] == "mine"
    await put(one, one.directory(cap), "and on")
    found = await names_in(reader.directory(cap.read_only))
    assert found == {"in the backup", "mine", "and on"} | tried, "those who remembered more follow"
    newcomer = clients("newcomer")
    assert await names_in(newcomer.directory(cap)) == found
    await served.stop()


async def test_who_wrote_on_after_an_old_backup_without_knowing_parts_the_directory(
    tmp_path: Path, clients: Clients
) -> None:
    served = ServedVdrive(tmp_path / "server", accounts="open")
    await served.start()
    one = clients("one")
    cap: VdriveWriteCap = await one.create(served.place)
    await put(one, one.directory(cap), "in the backup")
    await served.stop()
    shutil.copytree(tmp_path / "server" / "private", tmp_path / "backup")
    await served.start()
    await put(one, one.directory(cap), "lost")
    await restored(served, tmp_path / "backup")
    newcomer = clients("newcomer")
    await put(newcomer, newcomer.directory(cap), "by a newcomer")
    await put(newcomer, newcomer.directory(cap), "twice")
    with pytest.raises(ForkDetectedError):
        await names_in(one.directory(cap))
    with pytest.raises(ForkDetectedError):
        await one.heal(cap)
    await one.heal(cap, disown=True)
    both = {"in the backup", "by a newcomer", "twice", "lost"}
    assert await names_in(one.directory(cap)) == both
    assert await names_in(newcomer.directory(cap)) == both
    await served.stop()
