"""Mutable shares whose last version is in the log, and has no file yet."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32
from holdfast.interfaces.storage import LeaseSecrets, ShareVectors, StoreRequest, TestVector, WriteVector
from holdfast.interfaces.storage_errors import ShareConflictError, WrongSecretError
from holdfast.servers.storage import waiting_shares
from holdfast.servers.storage.catalog import Kind
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.logged_slots import CONTAINER_MAX
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_suite import DATA, ENABLER, INDEX, LEASE, SECRET, SLOT, put_slot
from holdfast.testing.watched_disk import WatchedDisk

OTHER_LEASE = LeaseSecrets(b"R" * 32, b"C" * 32)
SEED = b"s" * 20
NUMBERS = (0, 1)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
async def engine(tmp_path: Path, disk: WatchedDisk) -> AsyncIterator[StorageEngine]:
    async with open_storage(tmp_path / "storage", StorageSettings(), SEED, disk=disk) as engine:
        yield engine


@pytest.fixture(autouse=True)
def stays_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put into its place by the passing of time."""
    monkeypatch.setattr(waiting_shares, "PLACE_AFTER_S", 1000.0)
    monkeypatch.setattr(waiting_shares, "PLACE_AT_LATEST_S", 1000.0)


def file_of(directory: Path, number: int) -> Path:
    name = base32.encode(SLOT)
    return directory / "storage" / "shares" / name[:2] / name / str(number)


async def test_a_change_costs_one_synchronisation_and_many_make_one_file(
    engine: StorageEngine, disk: WatchedDisk, tmp_path: Path
) -> None:
    await put_slot(engine, b"first", 0)
    syncs, files = disk.syncs, disk.done["create_with"]
    for count in range(20):
        await put_slot(engine, b"change %d" % count, 0)
    assert (disk.syncs - syncs, disk.done["create_with"] - files) == (20, 0)
    assert not file_of(tmp_path, 0).exists()
    await engine.settle()
    assert disk.done["create_with"] - files == 1
    assert b"change 19" in file_of(tmp_path, 0).read_bytes()


@pytest.mark.parametrize("in_file", [False, True])
async def test_what_waits_is_what_is_read(engine: StorageEngine, in_file: bool) -> None:
    await put_slot(engine, b"older", 0)
    if in_file:
        await engine.settle()
    await put_slot(engine, b"newer version", 0)
    await put_slot(engine, b"another", 3)

    assert await engine.list_mutable(SLOT) == {0, 3}
    assert await engine.list_immutable(SLOT) == frozenset()
    assert await engine.read_mutable(SLOT, 0, 2, 100) == b"wer version"
    assert await engine.read_slot(SLOT, [(0, 5), (6, 100)], None) == {
        0: [b"newer", b"version"],
        3: [b"anoth", b"r"],
    }
    assert await engine.read_slot(SLOT, [(0, 7)], {3}) == {3: [b"another"]}
    result = await engine.read_test_write(SLOT, ENABLER, LEASE, {}, [(0, 2)])
    assert result.data == {0: [b"ne"], 3: [b"an"]}
    assert (engine.stored_shares, engine.stored_bytes, engine.reserved_bytes) == (2, 13 + 7, 0)
    await engine.advise_corrupt_mutable(SLOT, 3, "it is bad")
    share = await engine.open_share(SLOT, 0, Kind.MUTABLE)
    assert share.read(0, 100) == b"newer version"
    await engine.settle()
    assert (engine.stored_shares, engine.stored_bytes, engine.reserved_bytes) == (2, 13 + 7, 0)
    assert engine.stored_shares == 2


async def test_the_tests_of_a_change_are_made_on_what_waits(engine: StorageEngine) -> None:
    await put_slot(engine, b"one", 0)
    for specimen, success in ((b"two", False), (b"one", True), (b"one", False)):
        vectors = {0: ShareVectors([TestVector(0, 3, specimen)], [WriteVector(0, b"two")])}
        result = await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [(0, 9)])
        assert result.success == success
    assert await engine.read_mutable(SLOT, 0, 0, 9) == b"two"
    with pytest.raises(WrongSecretError):
        await engine.read_test_write(SLOT, b"x" * 32, LEASE, {}, [])
    with pytest.raises(WrongSecretError):
        await engine.check_write_enabler(SLOT, b"x" * 32)


async def test_the_leases_of_all_who_wrote_are_kept(engine: StorageEngine) -> None:
    for lease in (LEASE, OTHER_LEASE, LEASE):
        vectors = {0: ShareVectors(writes=[WriteVector(0, lease.renew)])}
        await engine.read_test_write(SLOT, ENABLER, lease, vectors, [])
    assert len(await engine.leases(SLOT, 0)) == 2


async def test_no_immutable_share_comes_beside_one_that_waits(engine: StorageEngine) -> None:
    await put_slot(engine, b"one", 0)
    with pytest.raises(ShareConflictError):
        await engine.allocate(SLOT, frozenset({1}), 48, SECRET, LEASE)
    await put_slot(engine, b"two", 0)
    (outcome,) = await engine.store([StoreRequest(SLOT, {1: DATA}, LEASE, only_if_none=False)])
    assert isinstance(outcome, ShareConflictError)
    await engine.store([StoreRequest(INDEX, {1: DATA}, LEASE, only_if_none=False)])
    with pytest.raises(ShareConflictError):
        await engine.read_test_write(INDEX, ENABLER, LEASE, {0: ShareVectors()}, [])
    assert await engine.read_slot(INDEX, [(0, 9)], None) == {}
    assert await engine.list_mutable(INDEX) == frozenset()


async def test_what_waits_has_its_file_after_an_orderly_stop(tmp_path: Path) -> None:
    async with open_storage(tmp_path / "storage", StorageSettings(), SEED) as engine:
        await put_slot(engine, b"the last version", 0)
    assert b"the last version" in file_of(tmp_path, 0).read_bytes()
    assert not list((tmp_path / "storage" / "holdfast").glob("*.log"))


# -- whatever is done in whatever order: as if all were kept in a dictionary

WRITES = st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=30)), max_size=3)
LENGTHS = st.none() | st.integers(0, 60)
CHANGES = st.dictionaries(st.sampled_from(NUMBERS), st.tuples(WRITES, LENGTHS), min_size=1, max_size=2)
LARGE = st.builds(lambda number: {number: ([(CONTAINER_MAX, b"far away")], None)}, st.sampled_from(NUMBERS))
STEPS = st.lists(CHANGES | LARGE | st.sampled_from(["settle", "place", "restart", "kill"]), max_size=12)

Change = Mapping[int, tuple[list[tuple[int, bytes]], int | None]]


def changed(slot: Mapping[int, bytes], change: Change) -> dict[int, bytes]:
    """Return what a slot is after a change."""
    result = dict(slot)
    for number, (writes, length) in change.items():
        data = bytearray(result.get(number, b""))
        for offset, piece in writes:
            data += bytes(max(0, offset + len(piece) - len(data)))
            data[offset : offset + len(piece)] = piece
        result[number] = bytes(data if length is None else data[:length])
        if length == 0:
            del result[number]
    return result


@given(STEPS)
def test_a_slot_is_what_its_changes_made_of_it_in_any_order_of_ways(steps: list[Change | str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(follow(Path(directory), steps))


async def follow(directory: Path, steps: list[Change | str]) -> None:
    slot: dict[int, bytes] = {}
    storage, rest, killed = directory / "0", list(steps), 0
    while True:
        async with open_storage(storage, StorageSettings(), SEED) as engine:
            assert await read(engine) == slot
            while rest and rest[0] not in ("restart", "kill"):
                step = rest.pop(0)
                if step == "settle":
                    await engine.settle()
                elif step == "place":
                    await engine.leases(SLOT, 0)
                else:
                    assert not isinstance(step, str)
                    vectors = {
                        number: ShareVectors([], [WriteVector(*write) for write in writes], length)
                        for number, (writes, length) in step.items()
                    }
                    await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])
                    slot = changed(slot, step)
                assert await read(engine) == slot
                assert engine.stored_bytes == sum(map(len, slot.values()))
                assert (engine.stored_shares, engine.reserved_bytes) == (len(slot), 0)
            if not rest:
                return
            if rest.pop(0) == "kill":  # what is there at this moment is what the next one finds
                killed += 1
                shutil.copytree(storage, directory / str(killed))
        storage = directory / str(killed)


async def read(engine: StorageEngine) -> dict[int, bytes]:
    found = await engine.read_slot(SLOT, [(0, 2 * CONTAINER_MAX)], None)
    assert found.keys() == await engine.list_mutable(SLOT)
    return {number: data for number, (data,) in found.items()}
