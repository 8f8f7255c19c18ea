"""What an introducer keeps, whatever happens to it: restarts, kills, a damaged or deleted database,
other processes that write to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from holdfast.errors import ConfigError
from holdfast.interfaces.introducer import SignedBytes
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.introducer import tables
from holdfast.servers.introducer.engine import IntroducerEngine, open_introducer
from holdfast.servers.introducer.refusals import FullError, UnavailableDatabaseError
from holdfast.servers.introducer.writer import Writer
from holdfast.testing.introducer_server import UNLIMITED
from holdfast.testing.introducer_suite import NO_EPOCH, AnnouncingNode, caught_up, published, read_all
from holdfast.testing.raw_https import RawConnection

VERIFY_KEY = bytes(range(32))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "introducer.sqlite"


def opened(database: Path) -> AbstractAsyncContextManager[IntroducerEngine]:
    return open_introducer(database, UNLIMITED, VERIFY_KEY)


@pytest.mark.seed("S-021")
async def test_a_restart_keeps_everything_and_the_epoch(database: Path) -> None:
    alice, bob = AnnouncingNode("alice"), AnnouncingNode("bob")
    async with opened(database) as introducer:
        await introducer.publish([alice.announce(1), bob.announce(1)])
        await introducer.publish([alice.announce(2)])
        await introducer.expel(AnnouncingNode("mallory").verify_key)
        secret = await introducer.create_invitation("client", "carol", 3600)
        cursor, epoch = await caught_up(introducer)
        everything = await read_all(introducer)

    async with opened(database) as introducer:
        assert await read_all(introducer) == everything
        page = await introducer.announcements((), cursor, epoch, wait_s=0)
        assert (page.epoch, page.cursor, list(page.announcements)) == (epoch, cursor, [])
        assert await published(introducer, AnnouncingNode("mallory").announce()) == ["refused"]
        assert await introducer.redeem(secret) is not None
        third = alice.announce(3)
        assert await published(introducer, alice.announce(1), third) == ["stale", "stored"]
        assert await read_all(introducer, (), cursor, epoch) == [third]


async def test_numbers_are_not_used_again_after_the_last_announcement_is_gone(database: Path) -> None:
    async with opened(database) as introducer:
        await introducer.publish([AnnouncingNode("a").announce()])
        cursor, epoch = await caught_up(introducer)
        await introducer.expel(AnnouncingNode("a").verify_key)
    async with opened(database) as introducer:
        assert await caught_up(introducer) == (cursor, epoch)
        await introducer.publish([AnnouncingNode("b").announce()])
        assert await caught_up(introducer) == (cursor + 1, epoch)


@pytest.mark.parametrize("log_left", [False, True])
async def test_a_deleted_database_is_made_anew_with_another_epoch(database: Path, log_left: bool) -> None:
    log = database.with_name(database.name + "-wal")
    one = AnnouncingNode("a").announce()
    async with opened(database) as introducer:
        await introducer.publish([one])
        cursor, epoch = await caught_up(introducer)
        content = log.read_bytes()
    database.unlink()
    if log_left:
        log.write_bytes(content)

    async with opened(database) as introducer:
        assert introducer.epoch != epoch
        assert await read_all(introducer, (), cursor, epoch) == []
        assert await published(introducer, one) == ["stored"]  # nodes announce themselves again
        assert await read_all(introducer, (), cursor, epoch) == [one]


def test_the_database_is_its_owners_alone(database: Path) -> None:
    async def use() -> None:
        async with opened(database) as introducer:
            await introducer.publish([AnnouncingNode("a").announce()])
            for path in database.parent.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    asyncio.run(use())


# -- damage


def overwritten(database: Path) -> None:
    database.write_bytes(b"this is not a database, " * 1000)


def cut_short(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2 // 4096 * 4096)


def scribbled_on(database: Path) -> None:
    content = bytearray(database.read_bytes())
    for place in range(4096, len(content), 4096):
        content[place : place + 64] = b"\xa5" * 64
    database.write_bytes(content)


def scribbled_on_one_page(database: Path) -> None:
    """Damage what nothing looks at before the introducer is full."""
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'in_ann_expires'"
        ).fetchone()
    content = bytearray(database.read_bytes())
    content[(page - 1) * 4096 : (page - 1) * 4096 + 64] = b"\xa5" * 64
    database.write_bytes(content)


def of_another_version(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE in_meta SET value = '99' WHERE key = 'version'")


@pytest.mark.parametrize(
    "damage", [overwritten, cut_short, scribbled_on, scribbled_on_one_page, of_another_version]
)
async def test_a_damaged_database_is_named(database: Path, damage: object) -> None:
    async with opened(database) as introducer:
        for number in range(10):
            node = AnnouncingNode(str(number))
            await introducer.publish([node.announce(properties={"x": bytes(5000)})])
    assert callable(damage)
    damage(database)

    with pytest.raises(ConfigError, match=r"introducer\.sqlite") as refused:
        async with opened(database):
            pass
    assert "pb://" not in str(refused.value)


async def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for database in (tmp_path / "missing" / "introducer.sqlite", tmp_path):
        with pytest.raises(ConfigError, match=str(database)):
            async with opened(database):
                pass


# -- other processes


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Keep everybody else from writing."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def test_another_process_may_admit_expel_and_invite_meanwhile(database: Path) -> None:
    alice, bob = AnnouncingNode("alice"), AnnouncingNode("bob")
    settings = replace(UNLIMITED, admission="approve")
    async with open_introducer(database, settings, VERIFY_KEY) as introducer:
        await introducer.publish([alice.announce(1)])
        async with opened(database) as operator:
            assert [key.verify_key for key in await operator.known()] == [alice.verify_key]
            await operator.admit(alice.verify_key)
            await operator.admit(bob.verify_key)
            secret = await operator.create_invitation("server", "carol", 3600)

        kept = bob.announce(1)
        assert await published(introducer, alice.announce(1), kept) == ["stored", "stored"]
        assert await introducer.redeem(secret) is not None

        async with opened(database) as operator:
            await operator.expel(alice.verify_key)
        async with asyncio.timeout(10):  # it is noticed without anybody asking
            while await read_all(introducer) != [kept]:
                await asyncio.sleep(0.05)
        assert await introducer.own(alice.verify_key) == []
        assert await published(introducer, alice.announce(2)) == ["refused"]


async def test_announcements_stored_by_another_process_are_news(database: Path) -> None:
    async with opened(database) as introducer, opened(database) as other:
        cursor, epoch = await caught_up(introducer)
        poll = asyncio.create_task(introducer.announcements(["storage"], cursor, epoch, wait_s=20))
        one = AnnouncingNode("a").announce()
        await other.publish([one])

        page = await poll
        assert [(ann, signature) for _, ann, signature in page.announcements] == [one]

        two = AnnouncingNode("b").announce()
        await introducer.publish([two])
        assert await read_all(introducer) == [one, two]


async def test_while_the_database_is_locked_readers_are_served(database: Path) -> None:
    one, two = AnnouncingNode("a").announce(), AnnouncingNode("b").announce()
    async with opened(database) as introducer:
        await introducer.publish([one])
        async with locked(database):
            publication = asyncio.create_task(introducer.publish([two]))
            begun = time.monotonic()
            for _ in range(100):
                assert await read_all(introducer) == [one]
                assert await published(introducer, one) == ["duplicate"]
                await asyncio.sleep(0)
            assert time.monotonic() - begun < 2
            assert not publication.done()  # nothing is acknowledged that is not committed
        assert [result.status for result in await publication] == ["stored"]
        assert await read_all(introducer) == [one, two]


async def test_a_database_locked_for_long_refuses_and_recovers(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BUSY_S", 0.1)
    one = AnnouncingNode("a").announce()
    async with opened(database) as introducer:
        async with locked(database):
            with pytest.raises(UnavailableDatabaseError):
                await introducer.publish([one])
            assert await read_all(introducer) == []
        assert await published(introducer, one) == ["stored"]


async def test_a_publication_given_up_is_stored_all_the_same(database: Path) -> None:
    one = AnnouncingNode("a").announce()
    async with opened(database) as introducer:
        cursor, epoch = await caught_up(introducer)
        async with locked(database):
            publication = asyncio.create_task(introducer.publish([one]))
            await asyncio.sleep(0.2)
            publication.cancel()

        page = await introducer.announcements((), cursor, epoch, wait_s=10)

        assert [(ann, signature) for _, ann, signature in page.announcements] == [one]


async def test_many_publications_at_once_share_their_transactions(database: Path) -> None:
    count = 300
    announced = [AnnouncingNode(str(i)).announce() for i in range(count)]
    commits = 0
    async with opened(database) as introducer:
        with closing(sqlite3.connect(database)) as onlooker:

            def version() -> int:
                return int(onlooker.execute("PRAGMA data_version").fetchone()[0])

            last = version()
            async with locked(database):  # so that they wait together
                publications = [asyncio.create_task(introducer.publish([one])) for one in announced]
                await asyncio.sleep(1)
            while not all(publication.done() for publication in publications):
                await asyncio.sleep(0)
                now = version()
                commits += now != last
                last = now
        assert sorted(await read_all(introducer)) == sorted(announced)
    assert commits < count / 10


# -- the disk


async def test_a_full_disk_refuses_and_what_was_there_stays(database: Path) -> None:
    engine = tables.open_tables(database, synchronise=True)
    writer = Writer(engine, lambda _: None)
    writer.start(([], 0))
    try:
        await writer.submit(lambda connection: tables.write_meta(connection, "small", b"1"))
        await writer.submit(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 30"))

        with pytest.raises(FullError):
            await writer.submit(lambda connection: tables.write_meta(connection, "large", bytes(200_000)))

        await writer.submit(lambda connection: tables.write_meta(connection, "small", b"2"))
        read = partial(tables.read_meta, key="small")
        assert await writer.submit(read) == b"2"
    finally:
        await asyncio.to_thread(writer.close)
        engine.dispose()


async def test_what_fails_undoes_its_own_changes_alone(database: Path) -> None:
    engine = tables.open_tables(database, synchronise=True)
    writer = Writer(engine, lambda _: None)
    writer.start(([], 0))

    def fail(connection: Connection) -> None:
        tables.write_meta(connection, "key", b"2")
        raise ValueError("on purpose")

    try:
        async with locked(database):  # so that they are one transaction
            before = writer.submit(lambda connection: tables.write_meta(connection, "key", b"1"))
            failing = writer.submit(fail)
            after = writer.submit(partial(tables.read_meta, key="key"))
            await asyncio.sleep(0.2)
        await before
        with pytest.raises(ValueError, match="on purpose"):
            await failing
        assert await after == b"1"
    finally:
        await asyncio.to_thread(writer.close)
        engine.dispose()


@pytest.mark.parametrize(("synchronise", "level"), [(True, 2), (False, 1)])
def test_commits_are_synchronised_if_asked_for(database: Path, synchronise: bool, level: int) -> None:
    engine = tables.open_tables(database, synchronise=synchronise)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


# -- sudden death


class Victim:
    """An introducer in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def __aenter__(self) -> Victim:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast.testing.introducer_server",
            str(self._directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.nurl = parse_nurl((await self._process.stdout.readline()).decode().strip())
        return self

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()
        await self._process.wait()


async def publish_until_death(
    victim: Victim, announcements: list[SignedBytes], acknowledged: list[SignedBytes]
) -> None:
    connection = await RawConnection.open(victim.nurl.port)
    headers = [
        ("Authorization", calls.authorization_value(victim.nurl.swissnum)),
        ("Content-Type", "application/cbor"),
    ]
    try:
        for one in announcements:
            body = messages.encode_publish_request([one])
            answer = await connection.request("POST", calls.PUBLISH_PATH, headers, body)
            assert [result.status for result in messages.decode_publish_answer(answer.body)] == ["stored"]
            acknowledged.append(one)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        await connection.close()


@pytest.mark.seed("S-021")
async def test_whatever_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    acknowledged: list[SignedBytes] = []
    for life in range(4):
        announcements = [AnnouncingNode(f"{life} {i}").announce() for i in range(400)]
        async with Victim(tmp_path) as victim, asyncio.TaskGroup() as group:
            for number in range(4):
                mine = announcements[number::4]
                group.create_task(publish_until_death(victim, mine, acknowledged))
            wanted = len(acknowledged) + 10 + 17 * life
            while len(acknowledged) < wanted:
                await asyncio.sleep(0)
            victim.kill()

    database = tmp_path / "private" / "introducer.sqlite"
    async with opened(database) as introducer:
        held = await read_all(introducer)
        assert set(acknowledged) <= set(held)
        assert len(held) <= len(acknowledged) + 4 * 4  # what was stored, and died before it was acknowledged
        epoch = introducer.epoch
        page = await introducer.announcements((), 0, NO_EPOCH, wait_s=0)
        cursors = [cursor for cursor, _, _ in page.announcements]
        assert cursors == sorted(set(cursors))
    async with opened(database) as introducer:
        assert introducer.epoch == epoch
