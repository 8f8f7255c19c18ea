"""Backups of a virtual drive server: what is stored again and what is not, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from holdfast.errors import BadCapabilityError, InputError
from holdfast.interfaces.vdrive import Counts
from holdfast.interfaces.vdrive_errors import QuotaExceededError
from holdfast.node import vdrive_backup
from holdfast.node.vdrive_backup import back_up, read_catalogue, read_pointer
from holdfast.node.vdrive_restoring import restore_backup
from holdfast.servers.vdrive import accounts, tables
from holdfast.servers.vdrive.checking import check
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_writer import DirectoryWriter

SID = b"service".ljust(32, b".")
LIT = "URI:LIT:mfrggzdfmy"


@pytest.fixture
async def grid() -> AsyncIterator[MemoryGrid]:
    async with memory_grid(10) as grid:
        yield grid


@pytest.fixture
def settings(tmp_path: Path) -> VdriveServerSettings:
    return VdriveServerSettings(
        database=f"sqlite:///{tmp_path / 'vdrive.sqlite'}",
        sid=SID,
        private=tmp_path,
        swissnum="vdrivevdrivevdrive22",
        public_root="read-write",
    )


async def directory(engine: VdriveEngine, token: str, *names: str) -> DirectoryWriter:
    writer = DirectoryWriter(SID, clock=engine.clock)
    await engine.commit(writer.creation(), replace(writer.authority(), account=token))
    await put(engine, writer, *names)
    return writer


async def put(engine: VdriveEngine, writer: DirectoryWriter, *names: str) -> None:
    await engine.commit(writer.change(dict.fromkeys(names, LIT)), writer.authority())


@pytest.mark.parametrize("other", ["sqlite", "postgresql"])
async def test_everything_comes_back_at_either_database(
    grid: MemoryGrid,
    settings: VdriveServerSettings,
    tmp_path: Path,
    other: str,
    request: pytest.FixtureRequest,
) -> None:
    clock = FakeClock()
    async with open_vdrive(settings, clock) as engine:
        now = int(clock())
        gone = await engine.database.write(lambda c: accounts.add(c, "gone", Counts(1, 1, 1), now))
        made = await engine.database.write(lambda c: accounts.add(c, "label", Counts(2, 200, 10**6), now))
        await engine.database.write(
            lambda c: c.execute(tables.accounts.delete().where(tables.accounts.c.id == gone.id))
        )
        large = await directory(engine, made.token, *map(str, range(150)))
        small = await directory(engine, made.token, "x")
        await engine.renew_lease(small.keys.read.refresh_id, b"s" * 32, 10**6)
        held = await engine.lease_info(small.keys.read.refresh_id, b"s" * 32)
        report = await back_up(grid.grid, engine.database, settings, clock=clock)
        assert (report.directories, report.new, report.problems) == (3, 3, ())
        cap = (tmp_path / "backup.cap").read_text()

    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    if other == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    restored = replace(settings, database=url)
    async with open_vdrive(replace(restored, public_root="none"), clock) as engine:
        back = await restore_backup(grid.grid, cap, engine.database, restored, clock=clock)
        assert (back.directories, back.same_key, back.problems) == (3, True, ())
    async with open_vdrive(restored, clock) as engine:  # the key of the public root fits
        assert (await engine.database.read(check)).problems == []
        assert (await engine.describe(large.index)).head == large.head
        assert await engine.lease_info(small.keys.read.refresh_id, b"s" * 32) == held
        await put(engine, small, "more")
        account = await engine.account(made.token)
        assert (account.label, account.allowed, account.used.directories) == (
            "label",
            Counts(2, 200, 10**6),
            2,
        )
        with pytest.raises(QuotaExceededError):
            await directory(engine, made.token, "y")
        await engine.database.write(lambda c: accounts.add(c, "new", Counts(1, 1, 1), now))
        with pytest.raises(InputError, match="empty"):
            await restore_backup(grid.grid, cap, engine.database, restored, clock=clock)


async def test_only_what_changed_is_stored_and_packs_of_leftovers_are_given_up(
    grid: MemoryGrid, settings: VdriveServerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vdrive_backup, "PACK_SIZE", 40_000)
    open_settings = replace(settings, accounts="open", public_root="none")
    async with open_vdrive(open_settings) as engine:
        writers = []
        for _ in range(8):
            writer = DirectoryWriter(SID, clock=engine.clock)
            await engine.commit(writer.creation(), writer.authority())
            await put(engine, writer, *map(str, range(12)))
            writers.append(writer)
        writers.sort(key=lambda one: one.index)  # as they lie in the packs

        async def run() -> tuple[int, int, int]:
            report = await back_up(grid.grid, engine.database, open_settings)
            pointer = await read_pointer(grid.grid, (tmp_path / "backup.cap").read_text().strip())
            catalogue = await read_catalogue(grid.grid, pointer.catalogue)
            assert report.problems == ()
            return report.directories, report.new, len(catalogue.packs)

        everything, new, packs = await run()
        assert (everything, new) == (8, 8)
        assert packs >= 2
        assert await run() == (8, 0, packs)
        await put(engine, writers[-1], "more")
        assert await run() == (8, 1, packs + 1)
        for writer in writers[1:]:
            await put(engine, writer, "again")
        everything, new, packs = await run()
        assert everything == new == 8  # the one that is left was stored anew
        (tmp_path / "backup.cap").write_text("URI:CHK:x:y:1:1:1")
        with pytest.raises(BadCapabilityError):
            await run()
        assert await engine.database.read(lambda c: c.execute(select(tables.directories.c.id)).all())
