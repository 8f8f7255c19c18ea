"""A virtual drive server as its operator runs it: the key of the public root, imports that end nowhere,
exports while others write, housekeeping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from holdfast.caps.parsing import parse_cap
from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.errors import ConfigError
from holdfast.formats.vdrive.bundle import BundleReader
from holdfast.interfaces.vdrive_errors import (
    DirectoryExistsError,
    NoSuchDirectoryError,
    SnapshotExpiredError,
    VdriveBusyError,
)
from holdfast.servers.vdrive import collection, importing, tables
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.housekeeping import Housekeeping
from holdfast.servers.vdrive.removal import STAGED_MAX_S
from holdfast.servers.vdrive.settings import DAY_S, VdriveServerSettings
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_service_suite import pieces
from holdfast.testing.vdrive_writer import DirectoryWriter

SID = b"service".ljust(32, b".")
SWISSNUM = "vdrivevdrivevdrive22"
LIT = "URI:LIT:mfrggzdfmy"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> VdriveServerSettings:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'vdrive.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    return VdriveServerSettings(
        database=url, sid=SID, private=tmp_path, swissnum=SWISSNUM, accounts="open", history_s=900
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(settings: VdriveServerSettings, clock: FakeClock) -> AsyncIterator[VdriveEngine]:
    async with open_vdrive(settings, clock) as engine:
        yield engine


async def directory(engine: VdriveEngine, *names: str) -> DirectoryWriter:
    writer = DirectoryWriter(SID, clock=engine.clock)
    await engine.commit(writer.creation(), writer.authority())
    if names:
        await put(engine, writer, *names)
    return writer


async def put(engine: VdriveEngine, writer: DirectoryWriter, *names: str) -> None:
    await engine.commit(writer.change(dict.fromkeys(names, LIT)), writer.authority())


async def bundle_of(engine: VdriveEngine, writer: DirectoryWriter) -> bytes:
    return b"".join([piece async for piece in engine.export(writer.index)])


async def count(engine: VdriveEngine, table: Any) -> int:
    found = await engine.database.read(lambda c: c.scalar(select(func.count()).select_from(table)))
    return found or 0


async def keep_house(engine: VdriveEngine) -> None:
    await Housekeeping(engine.database, engine.settings, engine.clock).run()


# -- the public root (V-26, X-09)


async def root_of(settings: VdriveServerSettings, clock: FakeClock, **changed: Any) -> str:
    async with open_vdrive(replace(settings, **changed), clock) as engine:
        return await engine.public_root()


async def test_the_public_root_is_handed_out_in_the_strength_that_is_set(
    settings: VdriveServerSettings, clock: FakeClock
) -> None:
    full = parse_cap(await root_of(settings, clock, public_root="read-write", hints=("a.example:1",)))
    weak = parse_cap(await root_of(settings, clock, public_root="read-only", hints=("b.example:2",)))
    assert isinstance(full, VdriveWriteCap)
    assert isinstance(weak, VdriveReadCap)
    assert weak.index == full.index
    assert (full.place.hints, weak.place.hints) == (("a.example:1",), ("b.example:2",))


async def test_a_server_starts_only_with_the_key_of_the_public_root_that_it_has(
    settings: VdriveServerSettings, clock: FakeClock
) -> None:
    uri = await root_of(settings, clock, public_root="read-write")
    path = settings.private / "public_root.key"
    good = path.read_text()
    for damage in (
        lambda: path.unlink(),
        lambda: path.write_text("nonsense"),
        lambda: path.write_text(""),
        lambda: path.write_text("a" * 52),
        lambda: open_to_others(path, good),
    ):
        damage()
        with pytest.raises(ConfigError, match=r"public_root\.key") as refused:
            await root_of(settings, clock, public_root="read-write")
        assert good.strip() not in str(refused.value)
        path.touch(mode=0o600)
        path.chmod(0o600)
    path.write_text(good)
    assert await root_of(settings, clock, public_root="read-write") == uri


def open_to_others(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o640)


async def test_several_servers_that_start_at_once_make_one_public_root(
    settings: VdriveServerSettings, clock: FakeClock
) -> None:
    roots = await asyncio.gather(*(root_of(settings, clock, public_root="read-write") for _ in range(4)))
    assert len(set(roots)) == 1


async def test_the_public_root_is_written_with_a_new_key_of_the_service_too(
    settings: VdriveServerSettings, clock: FakeClock
) -> None:
    cap = parse_cap(await root_of(settings, clock, public_root="read-write"))
    assert isinstance(cap, VdriveWriteCap)
    moved = replace(settings, sid=b"another".ljust(32, b"."), public_root="read-write")
    async with open_vdrive(moved, clock) as engine:
        await put(engine, DirectoryWriter(moved.sid, cap.write_key, clock=clock), "child")


# -- imports


async def test_an_import_without_progress_is_given_up(engine: VdriveEngine, clock: FakeClock) -> None:
    writer = await directory(engine, *map(str, range(900)))
    bundle = await bundle_of(engine, writer)
    async with elsewhere(engine, clock) as other:
        first, second = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield bundle[:300_000]
            first.set()
            await second.wait()
            yield bundle[300_000:]

        load = asyncio.create_task(
            other.import_bundle(writer.index, slow(), writer.enabler, writer.proof, None)
        )
        await first.wait()
        await until(lambda: count(other, tables.entries), 400)
        clock.now += STAGED_MAX_S - 1
        await keep_house(other)
        assert await count(other, tables.directories) == 1
        clock.now += 2
        await keep_house(other)
        assert await count(other, tables.directories) == 0
        assert (await common_account(other)) == (0, 0, 0)
        second.set()
        with pytest.raises(VdriveBusyError):
            await load
        await keep_house(other)
        assert await count(other, tables.entries) == 0


async def test_an_import_that_is_cancelled_leaves_nothing(engine: VdriveEngine, clock: FakeClock) -> None:
    writer = await directory(engine, *map(str, range(900)))
    bundle = await bundle_of(engine, writer)
    async with elsewhere(engine, clock) as other:

        async def endless() -> AsyncIterator[bytes]:
            yield bundle[:300_000]
            await asyncio.Event().wait()

        load = asyncio.create_task(
            other.import_bundle(writer.index, endless(), writer.enabler, writer.proof, None)
        )
        await until(lambda: count(other, tables.entries), 400)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        await keep_house(other)
        for table in (tables.directories, tables.entries, tables.heads, tables.nodes):
            assert await count(other, table) == 0


async def test_what_comes_between_an_import_and_its_place_is_not_lost(
    engine: VdriveEngine, clock: FakeClock
) -> None:
    writer = await directory(engine, "1")
    old = await bundle_of(engine, writer)
    async with elsewhere(engine, clock) as other:
        await other.import_bundle(writer.index, pieces(old), writer.enabler, writer.proof, None)
        copy = DirectoryWriter(SID, writer.keys.write_key, clock=clock)
        copy.restore(writer.saved())
        await put(engine, writer, "2")
        new = await bundle_of(engine, writer)

        async def interrupted() -> AsyncIterator[bytes]:
            yield new[:-20]
            await put(other, copy, "here")
            yield new[-20:]

        # The bundle is small, so it is looked at when it has ended; see that it is staged before.
        original, importing.PIECE = importing.PIECE, 100
        try:
            with pytest.raises(DirectoryExistsError):
                await other.import_bundle(writer.index, interrupted(), writer.enabler, writer.proof, None)
        finally:
            importing.PIECE = original
        assert (await other.describe(writer.index)).head == copy.head


async def test_a_large_directory_is_imported_with_its_tree_by_two_at_once(
    engine: VdriveEngine, clock: FakeClock
) -> None:
    writer = await directory(engine)
    for start in range(0, 5000, 1000):
        await put(engine, writer, *map(str, range(start, start + 1000)))
    bundle = await bundle_of(engine, writer)
    async with elsewhere(engine, clock) as other:
        loads = [
            other.import_bundle(writer.index, pieces(bundle), writer.enabler, writer.proof, None)
            for _ in range(2)
        ]
        first, second = await asyncio.gather(*loads)
        assert first == second
        assert await common_account(other) == await common_account(engine)
        copy = DirectoryWriter(SID, writer.keys.write_key, clock=clock)
        copy.restore(writer.saved())
        await put(other, copy, "1", "new")  # its root is computed from the rows of the tree
        await other.commit(copy.change(deletes=["2", "3"]), copy.authority())


# -- exports


async def test_a_bundle_is_of_one_version_whatever_is_written_meanwhile(engine: VdriveEngine) -> None:
    writer = await directory(engine, *map(str, range(1000)))
    reader = BundleReader(writer.index)
    found = 0
    async for piece in engine.export(writer.index):
        found += len(reader.feed(piece))
        await engine.commit(writer.change({"0": LIT, f"new {found}": LIT}), writer.authority())
    reader.finish()
    assert found == 1000
    assert reader.head is not None
    assert reader.head.version == 1


async def test_a_bundle_that_takes_too_long_ends_early(engine: VdriveEngine, clock: FakeClock) -> None:
    writer = await directory(engine, *map(str, range(1000)))
    bundle = engine.export(writer.index)
    await anext(bundle)
    await anext(bundle)
    await put(engine, writer, "new")
    clock.now += 901
    with pytest.raises(SnapshotExpiredError):
        await anext(bundle)


# -- housekeeping


async def test_what_fails_in_housekeeping_keeps_the_rest_from_nothing(
    engine: VdriveEngine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise OSError("out of order")

    monkeypatch.setattr(collection, "condemn", broken)
    writer = await directory(engine, "child")
    await engine.commit(writer.change(deletes=["child"]), writer.authority())
    clock.now += 2000
    house = Housekeeping(engine.database, replace(engine.settings, expire_enabled=True), clock)
    await house.run()
    assert "out of order" in caplog.text
    assert await count(engine, tables.entries) == 0  # history was pruned all the same


async def test_a_deletion_is_logged_without_the_index(
    engine: VdriveEngine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = await directory(engine, *map(str, range(300)))
    house = Housekeeping(engine.database, replace(engine.settings, expire_enabled=True), clock)
    for _ in range(2):
        clock.now += 32 * DAY_S
        await house.run()
    with pytest.raises(NoSuchDirectoryError):
        await engine.describe(writer.index)
    assert "was deleted" in caplog.text
    assert writer.index.hex() not in caplog.text
    for table in (tables.directories, tables.entries, tables.heads, tables.nodes, tables.leases):
        assert await count(engine, table) == 0
    assert await common_account(engine) == (0, 0, 0)
    again = DirectoryWriter(SID, writer.keys.write_key, clock=clock)
    await engine.commit(again.creation(), again.authority())
    await put(engine, again, "new life")


async def common_account(engine: VdriveEngine) -> tuple[int, int, int]:
    columns = tables.accounts.c
    query = select(columns.used_dirs, columns.used_entries, columns.used_bytes).where(columns.id == 0)
    row = await engine.database.read(lambda c: c.execute(query).one())
    return row[0], row[1], row[2]


def elsewhere(engine: VdriveEngine, clock: FakeClock) -> Any:
    """Another server with the same id, on a file of SQLite."""
    path = engine.settings.private / "elsewhere.sqlite"
    return open_vdrive(replace(engine.settings, database=f"sqlite:///{path}"), clock)


async def until(measure: Callable[[], Any], least: int) -> None:
    async with asyncio.timeout(20):
        while await measure() < least:
            await asyncio.sleep(0.02)
