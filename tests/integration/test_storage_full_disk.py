"""A storage server on a full disk: clean refusals, reads and leases go on, nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast.interfaces.storage import Allocation, LeaseSecrets, ShareVectors, WriteVector
from holdfast.interfaces.storage_errors import NoSpaceError
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_suite import DATA, ENABLER, INDEX, LEASE, SECRET, SLOT, put_slot, store
from holdfast.testing.watched_disk import WatchedDisk


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
async def engine(tmp_path: Path, disk: WatchedDisk) -> AsyncIterator[StorageEngine]:
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        yield engine


async def test_an_allocation_without_room_is_not_accepted(engine: StorageEngine, disk: WatchedDisk) -> None:
    await store(engine, 5, DATA)
    disk.failing = {"create"}

    answer = await engine.allocate(INDEX, frozenset({0, 1}), 48, SECRET, LEASE)

    assert answer == Allocation(frozenset({5}), frozenset())
    assert engine.reserved_bytes == 0
    assert await engine.read_immutable(INDEX, 5, 0, 48) == DATA


@pytest.mark.parametrize("operation", ["write", "make_directory", "commit"])
@pytest.mark.parametrize("size", [48, 200_000])
async def test_a_write_without_room_can_be_repeated(
    engine: StorageEngine, disk: WatchedDisk, operation: str, size: int
) -> None:
    data = bytes(range(1, 9)) * (size // 8)
    await engine.allocate(INDEX, frozenset({0}), size, SECRET, LEASE)
    disk.failing = {operation}
    with pytest.raises(NoSpaceError):
        await engine.write(INDEX, 0, SECRET, 0, [data], size)
    assert await engine.list_immutable(INDEX) == frozenset()

    disk.failing = set()
    assert await engine.write(INDEX, 0, SECRET, 0, [data], size) == []
    assert await engine.read_immutable(INDEX, 0, 0, size) == data
    assert (engine.stored_bytes, engine.reserved_bytes) == (size, 0)


@pytest.mark.parametrize("operation", ["create", "write", "commit", "sync_file"])
@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_slot_stays_as_it_was(
    engine: StorageEngine, disk: WatchedDisk, operation: str, size: int
) -> None:
    await put_slot(engine, b"a" * size, 0)
    await put_slot(engine, b"b" * size, 1)
    vectors = {n: ShareVectors(writes=[WriteVector(0, b"c" * (size + 9))]) for n in (0, 1, 2)}
    disk.failing = {operation}
    if operation != "sync_file" or size > 65536:
        with pytest.raises(NoSpaceError):
            await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])
    disk.failing = set()

    for number, byte in ((0, b"a"), (1, b"b")):
        if operation != "sync_file" or size > 65536:
            assert await engine.read_mutable(SLOT, number, 0, size + 9) == byte * size
    assert engine.reserved_bytes == 0
    assert (await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])).success
    assert engine.stored_bytes == 3 * (size + 9)


@pytest.mark.parametrize("operation", ["create", "write", "make_directory", "commit"])
@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_slot_that_finds_no_room_is_not_there(
    engine: StorageEngine, disk: WatchedDisk, operation: str, size: int
) -> None:
    vectors = {n: ShareVectors(writes=[WriteVector(0, b"a" * size)]) for n in (0, 1)}
    disk.failing = {operation}
    with pytest.raises(NoSpaceError):
        await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])
    disk.failing = set()

    assert await engine.list_mutable(SLOT) == frozenset()
    assert engine.reserved_bytes == engine.stored_bytes == 0
    await put_slot(engine, b"b" * size, 0)
    assert await engine.read_mutable(SLOT, 0, 0, size) == b"b" * size


@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_change_that_finds_no_room_in_the_log_is_not_made(
    engine: StorageEngine, disk: WatchedDisk, size: int
) -> None:
    await put_slot(engine, b"a" * size, 0)
    disk.failing = {"write"}
    with pytest.raises(NoSpaceError):
        await put_slot(engine, b"b" * (size + 9), 0)
    with pytest.raises(NoSpaceError):
        await put_slot(engine, b"b" * size, 1)
    disk.failing = set()

    assert await engine.list_mutable(SLOT) == {0}
    assert await engine.read_mutable(SLOT, 0, 0, size + 9) == b"a" * size
    assert (engine.reserved_bytes, engine.stored_bytes) == (0, size)
    await put_slot(engine, b"c" * (size + 9), 0)
    assert await engine.read_mutable(SLOT, 0, 0, size + 9) == b"c" * (size + 9)


@pytest.mark.parametrize("operation", ["make_directory", "commit", "sync_file"])
async def test_a_change_whose_file_finds_no_room_is_kept_until_it_does(
    tmp_path: Path, disk: WatchedDisk, operation: str
) -> None:
    storage = tmp_path / "storage"
    async with open_storage(storage, StorageSettings(), b"s" * 20, disk=disk) as engine:
        await put_slot(engine, b"a" * 100, 0)
        disk.failing = {operation}
        with pytest.raises((NoSpaceError, OSError)):
            await engine.settle()
        await put_slot(engine, b"b" * 50, 0)
        vectors = {n: ShareVectors(writes=[WriteVector(0, b"c")]) for n in (0, 1)}
        with pytest.raises(NoSpaceError):
            await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])
        assert await engine.read_mutable(SLOT, 0, 0, 200) == b"b" * 50 + b"a" * 50
        assert (engine.reserved_bytes, engine.stored_bytes, engine.stored_shares) == (0, 100, 1)
        disk.failing = set()
        await engine.settle()
        assert (engine.stored_bytes, engine.stored_shares) == (100, 1)
        assert (await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])).success
    async with open_storage(storage, StorageSettings(), b"s" * 20) as engine:
        assert await engine.read_mutable(SLOT, 0, 0, 200) == b"c" + b"b" * 49 + b"a" * 50
        assert await engine.read_mutable(SLOT, 1, 0, 200) == b"c"


async def test_a_move_that_failed_is_made_good(engine: StorageEngine, disk: WatchedDisk) -> None:
    await engine.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)
    disk.failing = {"publish"}
    with pytest.raises(UnfinishedMoveError):
        await engine.write(INDEX, 0, SECRET, 0, [DATA], 48)
    disk.failing = set()

    answer = await engine.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

    assert answer.already_have == {0}
    assert await engine.read_immutable(INDEX, 0, 0, 48) == DATA
    assert (engine.stored_bytes, engine.reserved_bytes) == (48, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems can be mounted by root only")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


async def test_a_really_full_disk(small_disk: Path) -> None:
    async with open_storage(small_disk / "storage", StorageSettings(), b"s" * 20) as engine:
        await store(engine, 0, DATA)
        await put_slot(engine, b"slot")
        version = await engine.version()
        assert version.available_space < 4 << 20
        answer = await engine.allocate(INDEX, frozenset(range(1, 50)), 200_000, SECRET, LEASE)
        assert 5 < len(answer.allocated) < 25
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(4 << 20))

        first = min(answer.allocated)
        assert await engine.write(INDEX, first, SECRET, 0, [bytes(100_000)], 100_000)
        try:
            nothing = await engine.allocate(INDEX, frozenset({200}), 100_000, SECRET, LEASE)
            assert nothing == Allocation(frozenset({0}), frozenset())
        except NoSpaceError:  # the catalog itself found no page
            assert 200 not in await engine.list_immutable(INDEX)
        with pytest.raises(NoSpaceError):
            await put_slot(engine, bytes(100_000))
        assert await engine.read_mutable(SLOT, 0, 0, 10) == b"slot"
        assert await engine.read_immutable(INDEX, 0, 0, 48) == DATA
        try:
            await engine.add_lease(INDEX, LeaseSecrets(b"N" * 32, b"N" * 32))
        except NoSpaceError:  # the catalog itself found no page
            assert len(await engine.leases(INDEX, 0)) == 1
        ballast.unlink()

        for number in answer.allocated:
            await engine.write(INDEX, number, SECRET, 0, [bytes(200_000)], 200_000)
            break
        assert await engine.list_immutable(INDEX) >= {0}
