"""The databases of virtual drive servers, and what happens when they fail: nothing is lost or half done."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text, update

from holdfast.errors import ConfigError
from holdfast.formats.vdrive.head import head_hash
from holdfast.interfaces.vdrive import Authority, CommitRequest
from holdfast.interfaces.vdrive_errors import (
    HeadConflictError,
    QuotaExceededError,
    VdriveBusyError,
    VdriveRefusalError,
)
from holdfast.servers.vdrive import tables
from holdfast.servers.vdrive.checking import CheckReport, check
from holdfast.servers.vdrive.database import open_database
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.migrating import VERSION_TABLE
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.vdrive_crash import SID, settings_for
from holdfast.testing.vdrive_filling import WitnessWriter, an_entry
from holdfast.testing.vdrive_service_suite import CHK
from holdfast.testing.vdrive_writer import DirectoryWriter
from holdfast.testing.warm_processes import WarmProcess


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vdrive.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vdrive.sqlite"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[VdriveEngine]:
    async with open_vdrive(settings_for(f"sqlite:///{path}")) as engine:
        yield engine


async def created(engine: VdriveEngine) -> DirectoryWriter:
    writer = DirectoryWriter(SID)
    await engine.commit(writer.creation(), writer.authority())
    return writer


async def checked(engine: VdriveEngine) -> CheckReport:
    return await engine.database.read(check)


# -- opening


def test_the_migrations_make_the_tables_that_are_used(url: str) -> None:
    database = open_database(url)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return list(compare_metadata(context, tables.metadata))

    try:
        assert asyncio.run(database.read(differences)) == []
    finally:
        database.close()


def test_indices_are_partial_where_they_should_be(path: Path) -> None:
    open_database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name, sql FROM sqlite_master WHERE sql LIKE '%WHERE%'"
        statements: dict[str, str] = dict(connection.execute(query).fetchall())
    assert {name: statement.split("WHERE ")[1] for name, statement in statements.items()} == {
        "vd_entry_live": "v_to IS NULL",
        "vd_entry_to": "v_to IS NOT NULL",
        "vd_node_live": "v_to IS NULL",
        "vd_node_to": "v_to IS NOT NULL",
    }


def test_many_may_open_a_new_database_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for database in pool.map(open_database, [url] * 4):
            database.close()


def test_a_database_of_a_later_version_is_left_alone(url: str) -> None:
    database = open_database(url)
    later = text(f"UPDATE {VERSION_TABLE} SET version_num = 'later'")
    asyncio.run(database.write(lambda c: c.execute(later)))
    database.close()
    with pytest.raises(ConfigError, match="another version"):
        open_database(url)


@pytest.mark.parametrize(
    "wrong",
    ["sqlite:////nowhere/at/all.sqlite", "sqlite://", "postgresql://user:secret@127.0.0.1:1/db", "nonsense"],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_database(wrong)
    assert "secret" not in str(caught.value)


def test_the_database_is_private(path: Path) -> None:
    open_database(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o077 == 0


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError):
        open_database(f"sqlite:///{path}")


# -- transactions


async def test_what_fails_is_undone_and_what_else_is_written_at_the_same_time_is_not(url: str) -> None:
    database = await asyncio.to_thread(open_database, url)

    def write(number: int) -> Callable[[Connection], int]:
        def function(connection: Connection) -> int:
            connection.execute(insert(tables.meta).values(key=f"key {number}", value=b""))
            if number % 3 == 0:
                raise KeyError(number)
            return number

        return function

    try:
        results = await asyncio.gather(
            *(database.write(write(number)) for number in range(30)), return_exceptions=True
        )
        assert [one if isinstance(one, int) else type(one) for one in results] == [
            KeyError if number % 3 == 0 else number for number in range(30)
        ]
        keys = await database.read(lambda c: c.scalars(select(tables.meta.c.key)).all())
        assert set(keys) == {f"key {number}" for number in range(30) if number % 3}
    finally:
        await asyncio.to_thread(database.close)


async def test_work_once_begun_is_done_though_nobody_waits_any_more(url: str) -> None:
    database = await asyncio.to_thread(open_database, url)
    row = insert(tables.meta).values(key="key", value=b"")
    waiting = asyncio.ensure_future(database.write(lambda c: c.execute(row)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.to_thread(database.close)
    database = await asyncio.to_thread(open_database, url)
    assert await database.read(lambda c: c.scalars(select(tables.meta.c.key)).all()) == ["key"]
    await asyncio.to_thread(database.close)


async def test_a_database_locked_by_somebody_else_makes_the_server_busy(
    engine: VdriveEngine, path: Path
) -> None:
    writer = await created(engine)
    request = writer.change({"a": CHK})
    await engine.database.write(lambda c: c.exec_driver_sql("PRAGMA busy_timeout = 100").close())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(VdriveBusyError):
                await engine.commit(request, writer.authority())
        assert (await engine.describe(writer.index)).size == 1000  # others read meanwhile
        other.execute("ROLLBACK")
    await engine.commit(request, writer.authority())
    assert (await checked(engine)).problems == []


async def test_a_full_disk_refuses_what_needs_room_and_nothing_is_half_done(engine: VdriveEngine) -> None:
    writer = await created(engine)
    await engine.commit(writer.change({f"{number}": CHK for number in range(200)}), writer.authority())
    pages = await engine.database.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await engine.database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}").close())
    saved = writer.saved()
    other = await created(engine)
    with pytest.raises(QuotaExceededError):
        await engine.commit(
            CommitRequest((), (writer.section({f"more {number}": CHK for number in range(300)}),)),
            writer.authority(),
        )
    writer.restore(saved)
    results = await asyncio.gather(  # in one transaction, with somebody who needs little
        engine.commit(writer.change({f"more {number}": CHK for number in range(300)}), writer.authority()),
        engine.commit(other.change({"a": CHK}), other.authority()),
        return_exceptions=True,
    )
    assert isinstance(results[0], QuotaExceededError)
    writer.restore(saved)
    assert (await engine.describe(writer.index)).head == writer.head
    await engine.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1000000").close())
    await engine.commit(writer.change({"more": CHK}), writer.authority())
    assert (await checked(engine)).problems == []


async def test_nobody_hears_of_what_was_never_committed(path: Path) -> None:
    """Two changes in one transaction: the second conflicts with the first, and then neither is committed."""
    async with open_vdrive(settings_for(f"sqlite:///{path}")) as engine:
        writer = await created(engine)
        saved = writer.saved()
        first = writer.change({"a": CHK})
        writer.restore(saved)
        second = writer.change({"b": CHK})

        def lose(connection: Connection) -> None:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            row = {"dir_id": 10**9, "version": 1, "head": b"", "sig": b"", "committed_at": 0}
            connection.execute(insert(tables.heads).values(row))  # refused when all is committed

        hold = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait(connection: Connection) -> None:
            asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()

        blocking = asyncio.ensure_future(engine.database.write(wait))
        await asyncio.sleep(0.05)
        waiting = [
            asyncio.ensure_future(one)
            for one in (
                engine.commit(first, writer.authority()),
                engine.commit(second, writer.authority()),
                engine.database.write(lose),
            )
        ]
        await asyncio.sleep(0.2)
        hold.set()
        await blocking
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [VdriveBusyError] * 3
        await engine.commit(second, writer.authority())
        with pytest.raises(HeadConflictError):
            await engine.commit(first, writer.authority())
        assert (await checked(engine)).problems == []


# -- crashes and others


@pytest.mark.parametrize("commits", [3, 40, 150])
def test_what_was_acknowledged_survives_a_kill(url: str, commits: int) -> None:
    acknowledged: list[tuple[bytes, int, bytes]] = []
    for _ in range(2):
        enough = len(acknowledged) + commits
        process = WarmProcess("holdfast.testing.vdrive_crash", [url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break
            index, version, hash_ = line.decode().split()
            acknowledged.append((bytes.fromhex(index), int(version), bytes.fromhex(hash_)))
            if len(acknowledged) == enough:
                process.kill()
        process.wait()

    async def look() -> None:
        async with open_vdrive(settings_for(url)) as engine:
            for index, version, hash_ in acknowledged:
                [head] = (await engine.heads(index, version, version)).heads
                assert head_hash(head.head) == hash_
            report = await checked(engine)
            assert report.problems == []
            assert report.heads >= len(acknowledged)

    assert len(acknowledged) >= 2 * commits
    asyncio.run(look())


async def test_two_servers_on_one_database_commit_in_one_order(postgres: PostgresServer) -> None:
    settings = settings_for(postgres.new_database())
    async with open_vdrive(settings) as one, open_vdrive(settings) as two:
        writers = [await created(one) for _ in range(2)]
        told = asyncio.ensure_future(two.wait(writers[0].index, 20, 30))
        done: list[bytes] = []

        async def write(engine: VdriveEngine) -> None:
            own = [WitnessWriter(DirectoryWriter(SID, writer.keys.write_key)) for writer in writers]
            for _ in range(8):
                await put_into_both(engine, own, done)

        await asyncio.gather(*(write(engine) for engine in (one, two) for _ in range(3)))
        for writer in writers:
            context = await two.context(writer.index, done)
            assert [entry.slot for entry in context.entries] == sorted(done)
        assert await told is not None
        for engine in (one, two):
            report = await checked(engine)
            assert (report.problems, report.entries) == ([], 2 * len(done))


async def put_into_both(engine: VdriveEngine, own: list[WitnessWriter], done: list[bytes]) -> None:
    """Put one entry into two directories at once, however often others come first."""
    operation = an_entry()
    order = random.sample(own, 2)
    enablers = {one.writer.index: one.writer.enabler for one in own}
    authority = Authority(enablers=enablers)
    contexts = [await engine.child(one.writer.index, operation.slot) for one in order]
    while True:
        now = int(engine.clock())
        sections = tuple(
            one.section(context, [operation], now) for one, context in zip(order, contexts, strict=True)
        )
        try:
            await engine.commit(CommitRequest((), sections), authority)
        except HeadConflictError as conflict:
            contexts = list(conflict.contexts)
        except VdriveRefusalError as refusal:
            assert isinstance(refusal, VdriveBusyError), refusal
        else:
            done.append(operation.slot)
            return


# -- the check


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (update(tables.entries).values(r=b"other"), "entries are damaged"),
        (update(tables.entries).values(digest=bytes(32)), "entries are damaged"),
        (update(tables.directories).values(root=bytes(33)), "its row and its last head differ"),
        (update(tables.directories).values(byte_count=5), "are charged"),
        (update(tables.directories).values(rid=bytes(32)), "names do not follow"),
        (update(tables.heads).values(sig=bytes(64)), "signature"),
        (tables.heads.delete().where(tables.heads.c.version == 2), "missing"),
        (tables.heads.delete().where(tables.heads.c.version == 3), "last head differ"),
        (tables.nodes.delete(), "row of its tree"),
        (update(tables.nodes).values(subtrees=bytes(592)), "row of its tree"),
        (tables.entries.delete().where(tables.entries.c.slot < b"\x20"), "that its head vouches for"),
        (update(tables.entries).where(tables.entries.c.v_to.is_not(None)).values(v_to=99), "cannot be"),
        (update(tables.accounts).values(used_bytes=1), "account 0"),
    ],
    ids=lambda value: str(value).replace(" ", "-") if isinstance(value, str) else "",
)
async def test_the_check_finds_damage(engine: VdriveEngine, damage: object, found: str) -> None:
    writer = await created(engine)
    await engine.commit(writer.change({f"{number}": CHK for number in range(100)}), writer.authority())
    await engine.commit(writer.change({"5": CHK}), writer.authority())
    await engine.commit(writer.change({"6": CHK}), writer.authority())
    report = await checked(engine)
    assert (report.directories, report.entries, report.heads, report.problems) == (1, 100, 4, [])
    await engine.database.write(lambda c: c.execute(damage))  # type: ignore[call-overload]
    assert any(found in problem for problem in (await checked(engine)).problems)
