"""Accounts, leases, turns, enablers and collection of the virtual drive server, on both databases."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, func, insert, select

from holdfast.crypto.vdrive_keys import stored_enabler
from holdfast.errors import InputError
from holdfast.interfaces.vdrive import Counts
from holdfast.interfaces.vdrive_errors import (
    BadProofError,
    BadWriteEnablerError,
    NoSuchDirectoryError,
    NotAuthorisedToCreateError,
    QuotaExceededError,
    TooManyLeasesError,
    TurnTakenError,
)
from holdfast.servers.vdrive import accounts, collection, enrol, leases, removal, tables, turns
from holdfast.servers.vdrive.database import Database, open_database
from holdfast.servers.vdrive.settings import DAY_S, VdriveServerSettings
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.vdrive_writer import DirectoryWriter

SID = b"service".ljust(32, b".")
NOW = 1_800_000_000
SECRET = b"lease secret".ljust(32, b".")


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> VdriveServerSettings:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'vdrive.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    return VdriveServerSettings(database=url, sid=SID, private=tmp_path)


@pytest.fixture
async def database(settings: VdriveServerSettings) -> AsyncIterator[Database]:
    database = open_database(settings.database)
    await database.write(lambda c: accounts.prepare(c, settings, NOW))
    yield database
    await asyncio.to_thread(database.close)


def stored(connection: Connection, writer: DirectoryWriter, *, pinned: bool = False) -> int:
    """Store an empty directory, charged to the common account."""
    accounts.charge(connection, accounts.COMMON_ACCOUNT, dirs=1, entries=0, bytes=accounts.DIRECTORY_SIZE)
    row = insert(tables.directories).values(
        idx=writer.index,
        rid=writer.refresh_id,
        vk=writer.keys.verify_key,
        rc=writer.keys.read.commitment,
        we_hash=stored_enabler(writer.enabler),
        account_id=accounts.COMMON_ACCOUNT,
        version=0,
        head_hash=bytes(32),
        root=bytes(33),
        entry_count=0,
        byte_count=accounts.DIRECTORY_SIZE,
        pinned=pinned,
        state=tables.LIVE,
        created_at=NOW,
        modified_at=NOW,
    )
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    dir_id: int = key[0]
    return dir_id


@pytest.fixture
def writer() -> DirectoryWriter:
    return DirectoryWriter(SID)


@pytest.fixture
async def directory(database: Database, writer: DirectoryWriter) -> int:
    return await database.write(lambda c: stored(c, writer))


async def used(database: Database, account_id: int) -> Counts:
    everyone = await database.read(accounts.all_accounts)
    return next(one.state.used for one in everyone if one.id == account_id)


# -- accounts


async def test_a_token_leads_to_its_account_and_is_kept_as_a_hash(
    database: Database, settings: VdriveServerSettings
) -> None:
    made = await database.write(lambda c: accounts.add(c, "ann", Counts(1, 2, 3), NOW))
    assert await database.read(lambda c: accounts.account_of(c, made.token, settings)) == made.id
    state = await database.read(lambda c: accounts.state_of(c, made.token))
    assert state == ("ann", Counts(1, 2, 3), Counts(0, 0, 0))
    assert made.token not in repr(made)
    row = await database.read(
        lambda c: c.execute(select(tables.accounts).where(tables.accounts.c.id == made.id)).one()
    )
    assert made.token.encode() not in b"".join(value for value in row if isinstance(value, bytes))


async def test_without_an_account_nothing_is_made_unless_that_is_allowed(
    database: Database, settings: VdriveServerSettings, tmp_path: Path
) -> None:
    with pytest.raises(NotAuthorisedToCreateError):
        await database.read(lambda c: accounts.account_of(c, None, settings))
    with pytest.raises(NotAuthorisedToCreateError):
        await database.read(lambda c: accounts.account_of(c, "guessed", settings))
    open_ = VdriveServerSettings(database=settings.database, sid=SID, private=tmp_path, accounts="open")
    assert await database.read(lambda c: accounts.account_of(c, None, open_)) == accounts.COMMON_ACCOUNT
    with pytest.raises(NotAuthorisedToCreateError):  # whoever shows a token means that account
        await database.read(lambda c: accounts.account_of(c, "guessed", open_))


async def test_a_closed_account_makes_no_directories_and_still_tells_its_use(
    database: Database, settings: VdriveServerSettings
) -> None:
    made = await database.write(lambda c: accounts.add(c, "ann", Counts(1, 2, 3), NOW))
    assert await database.write(lambda c: accounts.change(c, made.id, disabled=True))
    with pytest.raises(NotAuthorisedToCreateError):
        await database.read(lambda c: accounts.account_of(c, made.token, settings))
    assert (await database.read(lambda c: accounts.state_of(c, made.token))).label == "ann"
    assert await database.write(lambda c: accounts.change(c, made.id, disabled=False))
    assert await database.read(lambda c: accounts.account_of(c, made.token, settings)) == made.id
    assert not await database.write(lambda c: accounts.change(c, 999, disabled=True))


async def test_what_belongs_to_nobody_has_the_limits_that_are_set_now(
    database: Database, settings: VdriveServerSettings, tmp_path: Path
) -> None:
    changed = VdriveServerSettings(database=settings.database, sid=SID, private=tmp_path, open_directories=7)
    await database.write(lambda c: accounts.prepare(c, changed, NOW))
    root, common = (await database.read(accounts.all_accounts))[:2]
    assert (root.id, common.id) == (accounts.PUBLIC_ROOT_ACCOUNT, accounts.COMMON_ACCOUNT)
    assert common.state.allowed.directories == 7


async def test_the_limit_of_an_account_is_exact(database: Database) -> None:
    made = await database.write(lambda c: accounts.add(c, "ann", Counts(2, 10, 1000), NOW))

    async def charge(dirs: int, entries: int, size: int) -> None:
        await database.write(lambda c: accounts.charge(c, made.id, dirs=dirs, entries=entries, bytes=size))

    await charge(2, 10, 1000)
    for more in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 1, 0)):
        with pytest.raises(QuotaExceededError):
            await charge(*more)
    assert await used(database, made.id) == (2, 10, 1000)
    await database.write(lambda c: accounts.change(c, made.id, allowed=Counts(1, 1, 1)))
    await charge(0, -1, -100)  # smaller, and not smaller than the limit yet
    await charge(0, 0, 0)
    assert await used(database, made.id) == (2, 9, 900)


async def test_many_at_once_do_not_pass_a_limit(database: Database) -> None:
    made = await database.write(lambda c: accounts.add(c, "ann", Counts(20, 100, 10**6), NOW))

    async def charge() -> bool:
        try:
            await database.write(lambda c: accounts.charge(c, made.id, dirs=1, entries=0, bytes=1000))
        except QuotaExceededError:
            return False
        return True

    outcomes = await asyncio.gather(*(charge() for _ in range(60)))
    assert sum(outcomes) == 20
    assert await used(database, made.id) == (20, 0, 20_000)


async def test_labels_and_limits_make_sense(database: Database) -> None:
    for label, allowed in (("", Counts(1, 1, 1)), ("x" * 101, Counts(1, 1, 1)), ("x", Counts(-1, 1, 1))):
        with pytest.raises(InputError):
            await database.write(partial(accounts.add, label=label, allowed=allowed, now=NOW))


# -- leases


async def renew(database: Database, writer: DirectoryWriter, secret: bytes, days: int, now: int = NOW) -> int:
    return await database.write(lambda c: leases.renew(c, writer.refresh_id, secret, days * DAY_S, now))


@pytest.mark.usefixtures("directory")
async def test_a_lease_is_added_renewed_and_cancelled_by_its_secret_alone(
    database: Database, writer: DirectoryWriter
) -> None:
    assert await renew(database, writer, SECRET, 40) == NOW + 40 * DAY_S
    assert await renew(database, writer, b"another".ljust(32), 20) == NOW + 20 * DAY_S
    assert await renew(database, writer, SECRET, 40, NOW + 5) == NOW + 40 * DAY_S + 5
    assert await renew(database, writer, SECRET, 2, NOW + 6) == NOW + 40 * DAY_S + 5  # it is not cut short
    assert await database.read(lambda c: leases.info(c, writer.refresh_id, NOW)) == (NOW + 40 * DAY_S + 5, 2)
    await database.write(lambda c: leases.cancel(c, writer.refresh_id, b"guessed".ljust(32)))
    assert (await database.read(lambda c: leases.info(c, writer.refresh_id, NOW))).leases == 2
    await database.write(lambda c: leases.cancel(c, writer.refresh_id, SECRET))
    assert await database.read(lambda c: leases.info(c, writer.refresh_id, NOW)) == (NOW + 20 * DAY_S, 1)


@pytest.mark.usefixtures("directory")
async def test_the_time_of_a_lease_is_within_the_bounds_of_the_server(
    database: Database, writer: DirectoryWriter
) -> None:
    assert await renew(database, writer, SECRET, 0) == NOW + DAY_S
    assert await renew(database, writer, SECRET, 5000) == NOW + 366 * DAY_S


async def test_leases_of_what_is_not_there(database: Database, writer: DirectoryWriter) -> None:
    with pytest.raises(NoSuchDirectoryError):
        await renew(database, writer, SECRET, 30)
    with pytest.raises(NoSuchDirectoryError):
        await database.write(lambda c: leases.cancel(c, writer.refresh_id, SECRET))
    with pytest.raises(NoSuchDirectoryError):
        await database.read(lambda c: leases.info(c, writer.refresh_id, NOW))


async def test_a_directory_has_64_leases_and_that_of_its_owner_is_not_crowded_out(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    await database.write(lambda c: leases.grant(c, directory, None, DAY_S, NOW))
    for number in range(63):
        await renew(database, writer, b"%d" % number, 10 + number)
    with pytest.raises(TooManyLeasesError):
        await renew(database, writer, SECRET, 10)
    await renew(database, writer, SECRET, 11)  # in the place of that of 10 days
    info = await database.read(lambda c: leases.info(c, writer.refresh_id, NOW))
    assert info == (NOW + 72 * DAY_S, 64)
    assert await renew(database, writer, b"0", 100) == NOW + 100 * DAY_S  # it had to go, so it is a new one
    owner = await database.read(
        lambda c: c.scalar(
            select(tables.leases.c.expires_at).where(tables.leases.c.lease_hash == leases.OWNER)
        )
    )
    assert owner == NOW + DAY_S


async def test_many_at_once_do_not_have_more_than_64_leases(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    await asyncio.gather(
        *(renew(database, writer, b"%d" % number, 10 + number) for number in range(80)),
        return_exceptions=True,
    )
    count = await database.read(lambda c: c.scalar(select(func.count()).select_from(tables.leases)))
    assert count == 63  # one is the owner's


async def test_a_commit_extends_the_lease_of_the_owner(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    await database.write(lambda c: leases.grant(c, directory, None, 100 * DAY_S, NOW))
    await database.write(lambda c: leases.extend_owner(c, directory, NOW))
    assert (await database.read(lambda c: leases.latest(c, directory, NOW))) == NOW + 100 * DAY_S
    await database.write(lambda c: leases.extend_owner(c, directory, NOW + 90 * DAY_S))
    assert (await database.read(lambda c: leases.latest(c, directory, NOW))) == NOW + 121 * DAY_S


# -- turns


@pytest.mark.usefixtures("directory")
async def test_during_a_turn_only_who_has_it_commits(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    turn = await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW))
    assert (len(turn.turn), turn.ttl_s) == (16, 3)
    for wrong in (None, bytes(16)):
        with pytest.raises(TurnTakenError) as taken:
            await database.read(partial(turns.check, dir_id=directory, presented=wrong, now=NOW + 3))
        assert taken.value.retry_after_s > 0
    await database.read(lambda c: turns.check(c, directory, turn.turn, NOW + 3))
    with pytest.raises(TurnTakenError):
        await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW + 3))


@pytest.mark.usefixtures("directory")
async def test_between_a_turn_that_expired_and_the_next_all_may_commit(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    turn = await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW))
    await database.read(lambda c: turns.check(c, directory, None, NOW + 4))
    await database.write(lambda c: turns.release(c, {writer.index: turn.turn}, NOW + 4))  # too late
    with pytest.raises(TurnTakenError):
        await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW + 5))
    await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW + 6))


@pytest.mark.usefixtures("directory")
async def test_after_the_commit_of_a_turn_the_next_can_be_had_at_once(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    turn = await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW))
    await database.write(lambda c: turns.release(c, {writer.index: bytes(16)}, NOW + 1))  # another one
    with pytest.raises(TurnTakenError):
        await database.read(lambda c: turns.check(c, directory, None, NOW + 1))
    await database.write(lambda c: turns.release(c, {writer.index: turn.turn}, NOW + 1))
    await database.read(lambda c: turns.check(c, directory, None, NOW + 1))
    await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW + 1))


@pytest.mark.usefixtures("directory")
async def test_only_one_of_many_gets_the_turn(database: Database, writer: DirectoryWriter) -> None:
    async def take() -> bool:
        try:
            await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW))
        except TurnTakenError:
            return False
        return True

    assert sum(await asyncio.gather(*(take() for _ in range(10)))) == 1


@pytest.mark.usefixtures("directory")
async def test_turns_are_for_writers(database: Database, writer: DirectoryWriter) -> None:
    with pytest.raises(BadWriteEnablerError):
        await database.write(lambda c: turns.take(c, {writer.index: bytes(32)}, NOW))
    with pytest.raises(NoSuchDirectoryError):
        await database.write(lambda c: turns.take(c, {bytes(32): writer.enabler}, NOW))


# -- enablers


async def test_an_enabler_is_registered_with_a_proof_for_this_server(
    database: Database, directory: int
) -> None:
    old = DirectoryWriter(b"another service".ljust(32))
    await database.write(lambda c: stored(c, old))
    here = DirectoryWriter(SID, old.keys.write_key)
    with pytest.raises(BadWriteEnablerError):
        await database.write(lambda c: enrol.directories_of_writer(c, {here.index: here.enabler}))
    for enabler, proof in (
        (here.enabler, old.proof),  # for another server
        (os.urandom(32), here.proof),  # for another enabler
        (here.enabler, bytes(64)),
    ):
        with pytest.raises(BadProofError):
            await database.write(
                partial(enrol.enrol, sid=SID, index=here.index, enabler=enabler, proof=proof)
            )
    await database.write(lambda c: enrol.enrol(c, SID, here.index, here.enabler, here.proof))
    await database.write(lambda c: enrol.directories_of_writer(c, {here.index: here.enabler}))
    with pytest.raises(BadWriteEnablerError):
        await database.write(lambda c: enrol.directories_of_writer(c, {here.index: old.enabler}))


@pytest.mark.seed("X-02")
@pytest.mark.usefixtures("directory")
async def test_what_the_database_holds_of_an_enabler_is_not_one(
    database: Database, writer: DirectoryWriter
) -> None:
    row = await database.read(lambda c: c.execute(select(tables.directories)).one())
    assert writer.enabler not in tuple(row)
    for value in (row.we_hash, row.rc, row.vk, row.idx, row.rid):
        with pytest.raises(BadWriteEnablerError):
            await database.write(partial(enrol.directories_of_writer, enablers={writer.index: value}))


async def test_nothing_is_enrolled_for_what_is_not_there(database: Database, writer: DirectoryWriter) -> None:
    with pytest.raises(NoSuchDirectoryError):
        await database.write(lambda c: enrol.enrol(c, SID, writer.index, writer.enabler, writer.proof))


# -- collection


async def test_a_directory_without_a_lease_is_condemned_and_deleted_after_the_time_of_grace(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    grace = 30 * DAY_S
    await renew(database, writer, SECRET, 10)
    later = NOW + 10 * DAY_S
    assert await database.write(lambda c: collection.condemn(c, later - 1, 100)) == []
    assert await database.write(lambda c: collection.condemn(c, later, 100)) == [writer.index]
    assert await database.read(lambda c: collection.due(c, later + grace - 1, grace, 100)) == []
    due = (await database.read(lambda c: collection.due(c, later + grace, grace, 100)))[0]
    assert (due.index, due.version) == (writer.index, 0)
    assert await database.write(lambda c: collection.delete_due(c, due, later + grace, grace))
    with pytest.raises(NoSuchDirectoryError):
        await renew(database, writer, SECRET, 10)
    assert await used(database, accounts.COMMON_ACCOUNT) == (0, 0, 0)
    await database.write(lambda c: stored(c, writer))  # its place is free at once
    assert await database.write(lambda c: removal.delete_rows(c, 10))
    assert not await database.write(lambda c: removal.delete_rows(c, 10))
    assert await database.read(lambda c: c.scalar(select(func.count()).select_from(tables.directories))) == 1


async def test_a_lease_revives_what_was_condemned(
    database: Database, writer: DirectoryWriter, directory: int
) -> None:
    assert await database.write(lambda c: collection.condemn(c, NOW, 100)) == [writer.index]
    after_grace = NOW + 30 * DAY_S
    due = (await database.read(lambda c: collection.due(c, after_grace, 30 * DAY_S, 100)))[0]
    await renew(database, writer, SECRET, 10, after_grace)
    assert not await database.write(lambda c: collection.delete_due(c, due, after_grace, 30 * DAY_S))
    assert await database.read(lambda c: collection.due(c, after_grace, 30 * DAY_S, 100)) == []
    state = await database.read(lambda c: c.execute(select(tables.directories)).one())
    assert (state.state, state.condemned_at) == (tables.LIVE, None)


async def test_what_is_pinned_stays(database: Database, writer: DirectoryWriter) -> None:
    await database.write(lambda c: stored(c, writer, pinned=True))
    assert await database.write(lambda c: collection.condemn(c, NOW, 100)) == []


async def test_only_so_many_are_condemned_in_one_step(database: Database) -> None:
    for _ in range(5):
        await database.write(lambda c: stored(c, DirectoryWriter(SID)))
    assert [len(await database.write(lambda c: collection.condemn(c, NOW, 3))) for _ in range(3)] == [3, 2, 0]


async def test_what_is_over_is_deleted(database: Database, writer: DirectoryWriter, directory: int) -> None:
    await renew(database, writer, SECRET, 1)
    await renew(database, writer, b"another".ljust(32), 5)
    await database.write(lambda c: turns.take(c, {writer.index: writer.enabler}, NOW))
    await database.write(lambda c: leases.delete_expired(c, NOW + DAY_S))
    await database.write(lambda c: turns.delete_expired(c, NOW + 5))
    counts = [await count(database, table) for table in (tables.leases, tables.turns)]
    assert counts == [1, 1]
    await database.write(lambda c: turns.delete_expired(c, NOW + 6))
    assert await count(database, tables.turns) == 0


async def count(database: Database, table: Table) -> int:
    return await database.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())
