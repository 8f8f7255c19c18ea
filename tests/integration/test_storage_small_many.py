"""Small shares of several files stored by one request, and how they fare before they have files."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.crypto import base32
from holdfast.interfaces.storage import (
    Allocation,
    LeaseSecrets,
    ShareVectors,
    StoreRequest,
    TestVector,
    WriteVector,
)
from holdfast.interfaces.storage_errors import NoSpaceError, ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_calls as calls
from holdfast.protocol import storage_extensions as extensions
from holdfast.protocol.store_messages import STORE_ALL_BODY_MAX, decode_store_answer, encode_store_requests
from holdfast.servers.storage import waiting_shares
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_server import ServedStorage
from holdfast.testing.watched_disk import WatchedDisk

LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
OTHER_LEASE = LeaseSecrets(b"R" * 32, b"C" * 32)
NOTHING: frozenset[int] = frozenset()


def index_of(number: int) -> StorageIndex:
    return StorageIndex(b"%016d" % number)


def request_for(
    number: int, shares: dict[int, bytes] | None = None, lease: LeaseSecrets = LEASE, *, alone: bool = False
) -> StoreRequest:
    return StoreRequest(index_of(number), shares or {number % 7: b"share %d" % number}, lease, alone)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
async def engine(tmp_path: Path, disk: WatchedDisk) -> AsyncIterator[StorageEngine]:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        yield engine


@pytest.fixture
def stays_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put into its place by the passing of time."""
    monkeypatch.setattr(waiting_shares, "PLACE_AFTER_S", 1000.0)
    monkeypatch.setattr(waiting_shares, "PLACE_AT_LATEST_S", 1000.0)


def file_of(directory: Path, number: int) -> Path:
    name = base32.encode(index_of(number))
    return directory / "storage" / "shares" / name[:2] / name / str(number % 7)


async def test_many_files_cost_one_synchronisation(engine: StorageEngine, disk: WatchedDisk) -> None:
    await engine.store([request_for(1000)])
    before = disk.syncs
    outcomes = await engine.store([request_for(number) for number in range(50)])
    assert disk.syncs == before + 1
    assert outcomes == [Allocation(NOTHING, frozenset({number % 7})) for number in range(50)]


@pytest.mark.usefixtures("stays_in_the_log")
async def test_shares_without_files_are_listed_read_leased_and_counted(
    engine: StorageEngine, tmp_path: Path
) -> None:
    await engine.store([request_for(number) for number in range(5)])
    assert not file_of(tmp_path, 3).exists()
    assert await engine.list_immutable(index_of(3)) == {3}
    assert await engine.list_mutable(index_of(3)) == NOTHING
    assert await engine.read_immutable(index_of(3), 3, 2, 100) == b"are 3"
    assert (engine.stored_shares, engine.stored_bytes, engine.reserved_bytes) == (5, 35, 0)
    assert not file_of(tmp_path, 3).exists()
    await engine.add_lease(index_of(3), OTHER_LEASE)
    assert file_of(tmp_path, 3).exists()
    assert len(await engine.leases(index_of(3), 3)) == 2
    assert len(await engine.leases(index_of(4), 4)) == 1
    assert (engine.stored_shares, engine.stored_bytes, engine.reserved_bytes) == (5, 35, 0)


@pytest.mark.usefixtures("stays_in_the_log")
async def test_whatever_touches_an_index_finds_its_shares(engine: StorageEngine) -> None:
    await engine.store([request_for(number) for number in range(5)])
    answer = await engine.allocate(index_of(0), frozenset({0, 1}), 7, b"secret", LEASE)
    assert answer == Allocation(frozenset({0}), frozenset({1}))
    vectors = {1: ShareVectors(writes=[WriteVector(0, b"mutable")])}
    with pytest.raises(ShareConflictError):
        await engine.read_test_write(index_of(1), b"w" * 32, LEASE, vectors, [])
    await engine.advise_corrupt_immutable(index_of(2), 2, "it is bad")
    (again,) = await engine.store([request_for(3, {3: b"other 3", 4: b"fresh 4"}, OTHER_LEASE)])
    assert again == Allocation(frozenset({3}), frozenset({4}))
    assert await engine.read_immutable(index_of(3), 3, 0, 100) == b"share 3"
    assert len(await engine.leases(index_of(3), 3)) == 2
    (beside,) = await engine.store([request_for(4, {5: b"beside4"}, alone=True)])
    assert beside == Allocation(frozenset({4}), NOTHING)


async def test_each_file_has_its_own_outcome(engine: StorageEngine) -> None:
    slot = {0: ShareVectors([TestVector(0, 1, b"")], [WriteVector(0, b"mutable")])}
    await engine.read_test_write(index_of(1), b"w" * 32, LEASE, slot, [])
    await engine.allocate(index_of(2), frozenset({2}), 7, b"somebody else", OTHER_LEASE)
    await engine.store([request_for(3)])
    outcomes = await engine.store([request_for(number) for number in (0, 1, 2, 3, 3, 4)])
    assert outcomes[0] == Allocation(NOTHING, frozenset({0}))
    assert isinstance(outcomes[1], ShareConflictError)
    assert outcomes[2] == Allocation(NOTHING, NOTHING)
    assert outcomes[3] == outcomes[4] == Allocation(frozenset({3}), NOTHING)
    assert outcomes[5] == Allocation(NOTHING, frozenset({4}))


async def test_a_share_whose_file_was_lost_can_be_stored_again(tmp_path: Path) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        await engine.store([request_for(1, {1: b"small"}), request_for(2)])
        await engine.settle()
        shutil.rmtree(file_of(tmp_path, 1).parent)
        (outcome,) = await engine.store([request_for(1, {1: b"larger"})])
        assert outcome == Allocation(NOTHING, frozenset({1}))
        await engine.settle()
        assert engine.stored_shares == 2
        assert await engine.read_immutable(index_of(1), 1, 0, 99) == b"larger"
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        assert (engine.stored_shares, engine.stored_bytes) == (2, 6 + 7)


async def test_the_same_file_twice_in_one_request_is_stored_once(engine: StorageEngine) -> None:
    outcomes = await engine.store([request_for(5), request_for(5)])
    assert sorted(len(one.allocated) for one in outcomes if isinstance(one, Allocation)) == [0, 1]
    assert engine.stored_bytes == 7


async def test_files_come_into_being_by_themselves(engine: StorageEngine, tmp_path: Path) -> None:
    await engine.store([request_for(number) for number in range(100)])
    for _ in range(200):
        if all(file_of(tmp_path, number).exists() for number in range(100)):
            break
        await asyncio.sleep(0.05)
    assert file_of(tmp_path, 99).read_bytes().endswith(b"share 99")
    for number in range(100):
        assert await engine.read_immutable(index_of(number), number % 7, 0, 99) == b"share %d" % number


async def test_what_comes_while_files_are_made_gets_its_own_soon(
    tmp_path: Path, disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        monkeypatch.setattr(waiting_shares, "PLACE_AFTER_S", 0.01)
        disk.gate.clear()
        await engine.store([request_for(1)])
        await asyncio.sleep(0.1)
        await engine.store([request_for(2)])
        await asyncio.sleep(0.1)
        disk.gate.set()
        for _ in range(40):
            if file_of(tmp_path, 2).exists():
                break
            await asyncio.sleep(0.05)
        assert file_of(tmp_path, 2).exists()


async def test_an_orderly_stop_leaves_files_and_no_log(tmp_path: Path) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        await engine.store([request_for(number) for number in range(20)])
        assert list((tmp_path / "storage" / "holdfast").glob("*.log"))
    assert not list((tmp_path / "storage" / "holdfast").glob("*.log"))
    assert all(file_of(tmp_path, number).exists() for number in range(20))
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        assert (engine.stored_shares, engine.reserved_bytes) == (20, 0)


async def test_long_logs_are_emptied_while_others_go_on(
    engine: StorageEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_shares, "LOG_SIZE", 200_000)
    monkeypatch.setattr(waiting_shares, "LOG_SIZE_MAX", 400_000)

    async def client(first: int) -> None:
        for number in range(first, first + 40):
            await engine.store([request_for(number, {0: os.urandom(30_000)})])

    await asyncio.gather(*(client(1000 * n) for n in range(4)))
    await engine.settle()
    assert engine.stored_shares == 160
    for n in range(4):
        assert await engine.list_immutable(index_of(1000 * n + 39)) == {0}


# -- a full disk


@pytest.mark.parametrize("operation", ["write", "sync_data"])
async def test_what_finds_no_room_in_the_log_is_not_accepted(
    engine: StorageEngine, disk: WatchedDisk, operation: str
) -> None:
    await engine.store([request_for(1)])
    disk.failing = {operation}
    assert await engine.store([request_for(n) for n in (2, 3)]) == [Allocation(NOTHING, NOTHING)] * 2
    assert await engine.list_immutable(index_of(2)) == NOTHING
    assert (engine.stored_bytes, engine.reserved_bytes) == (7, 0)
    disk.failing = set()
    assert (await engine.store([request_for(2)])) == [Allocation(NOTHING, frozenset({2}))]


@pytest.mark.parametrize("operation", ["create_with", "commit", "sync_everything"])
@pytest.mark.usefixtures("stays_in_the_log")
async def test_shares_that_find_no_place_stay_readable_until_they_do(
    tmp_path: Path, disk: WatchedDisk, operation: str
) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        await engine.store([request_for(number) for number in range(20)])
        disk.failing = {operation}
        with pytest.raises((NoSpaceError, OSError)):
            await engine.settle()
        for number in range(20):
            assert await engine.list_immutable(index_of(number)) == {number % 7}
            assert await engine.read_immutable(index_of(number), number % 7, 0, 5) == b"share"
        assert (await engine.store([request_for(30)])) == [Allocation(NOTHING, frozenset({2}))]
        disk.failing = set()
        await engine.settle()
        assert file_of(tmp_path, 19).exists()
        assert (engine.stored_shares, engine.reserved_bytes) == (21, 0)
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        assert engine.stored_shares == 21


async def test_a_full_server_takes_what_fits(tmp_path: Path) -> None:
    async with open_storage(tmp_path, StorageSettings(capacity=1000), b"s" * 20) as engine:
        outcomes = await engine.store([request_for(n, {1: bytes(400)}) for n in range(4)])
        assert [len(one.allocated) for one in outcomes if isinstance(one, Allocation)] == [1, 1, 0, 0]
        assert (engine.stored_bytes, engine.reserved_bytes) == (800, 0)


async def test_a_file_that_an_operator_put_there_meanwhile_stays(tmp_path: Path) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20) as engine:
        await engine.store([request_for(1)])
        place = file_of(tmp_path, 1)
        place.parent.mkdir(parents=True)
        place.write_bytes(b"by the operator")
        await engine.settle()
        assert place.read_bytes() == b"by the operator"


# -- over the network


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServedStorage]:
    async with ServedStorage(tmp_path) as server:
        yield server


@pytest.mark.usefixtures("stays_in_the_log")
async def test_uploads_at_the_same_time_share_a_request_and_are_readable_at_once(
    server: ServedStorage,
) -> None:
    client = server.client()
    assert extensions.STORE_ALL in await client.features()
    answers = await asyncio.gather(*(client.store_gathered(request_for(n)) for n in range(30)))
    assert [answer.allocated for answer in answers] == [{n % 7} for n in range(30)]
    assert await client.list_immutable(index_of(9)) == {2}
    assert await client.read_immutable(index_of(9), 2, 0, 100) == b"share 9"
    assert await client.read_immutable(index_of(9), 2, 6, 1) == b"9"
    assert await client.read_immutable(index_of(9), 2, 7, 9) == b""
    whole = await server.request("GET", calls.share_path(index_of(9), 2))
    assert (whole.status, whole.body) == (200, b"share 9")
    client.close()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([], b"", 400),
        ([], b"nonsense", 400),
        ([], bytes(STORE_ALL_BODY_MAX + 1), 413),
        ([("X-Tahoe-Authorization", calls.secret_header(calls.UPLOAD, b"s" * 32))], b"", 400),
    ],
)
async def test_malformed_requests_change_nothing(
    server: ServedStorage, headers: list[tuple[str, str | bytes]], body: bytes, status: int
) -> None:
    answer = await server.request("POST", extensions.STORE_ALL_PATH, headers, body)
    assert answer.status == status
    assert server.engine.stored_shares == 0


async def test_strangers_and_other_methods_are_refused(server: ServedStorage) -> None:
    body = b"".join(encode_store_requests([request_for(1)]))
    stranger = await server.request("POST", extensions.STORE_ALL_PATH, [], body, authorized=False)
    assert stranger.status == 401
    assert (await server.request("GET", extensions.STORE_ALL_PATH)).status == 405
    assert server.engine.stored_shares == 0
    answer = await server.request("POST", extensions.STORE_ALL_PATH, [], body)
    assert decode_store_answer(answer.body, 1) == [Allocation(NOTHING, frozenset({1}))]
