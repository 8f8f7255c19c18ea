"""What a client wrote last saves it looking again, and nobody's change is lost for it."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import HoldfastError, RolledBackError
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.client import Grid
from holdfast.grid.mutable import known_versions, publisher
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.mutable.known_versions import FRESH_S, GAP_EVERY, SHARED_S, KnownVersion, KnownVersions
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.server_map import ServerMap
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_storage import MemoryStorage

FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "WRITE_LEAST_S", 0.3)
    monkeypatch.setattr(publisher, "LOOK_TIMEOUT_S", 0.1)


def in_order(grid: MemoryGrid, file: MutableFile) -> list[MemoryStorage]:
    """Return the stores in the order in which the file's writers go to them."""
    return [
        grid.stores[server.id] for server in grid.grid.known.in_order(StorageIndex(file.cap.storage_index))
    ]


def clock_of(grid: Grid, ahead_s: float) -> None:
    """Let a client believe that so many seconds have passed."""
    known = grid.mutable._parts.known
    clock = known.clock
    known.clock = lambda: clock() + ahead_s


async def append(file: MutableFile, data: bytes) -> bytes:
    return await file.modify(lambda old, first: old + data)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_change_of_what_was_written_last_costs_one_request_per_server(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        for change in (b"ab", b"abb", b"abbb"):
            grid.forget_calls()
            assert await append(file, b"b") == change
            assert grid.calls() == ["read_test_write"] * 10
        grid.forget_calls()
        await file.overwrite(b"else")
        assert grid.calls() == ["read_test_write"] * 10
        assert await append(file, b"!") == b"else!"
        assert await file.read() == b"else!"
        assert (await file.check(verify=True)).healthy


@pytest.mark.parametrize("file_format", FORMATS)
async def test_one_server_is_written_to_before_all_others(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        first, *others = in_order(grid, file)
        first.faults.hung = True
        grid.forget_calls()
        change = asyncio.create_task(append(file, b"b"))
        await asyncio.sleep(0.02)
        assert first.calls
        assert not any(store.calls for store in others)
        first.faults.hung = False
        assert await change == b"ab"


async def test_a_file_is_surveyed_again_after_a_while(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", key=key)
        clock_of(grid.grid, FRESH_S / 2)
        await append(file, b"b")  # does not count as looking
        clock_of(grid.grid, FRESH_S / 2 + 1)
        grid.forget_calls()
        assert await append(file, b"c") == b"abc"
        assert len(grid.calls()) > 10
        grid.forget_calls()
        assert await append(file, b"d") == b"abcd"
        assert len(grid.calls()) == 10


# -- other writers


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("clients", [2, 3])
@pytest.mark.parametrize("shared_s", [0.0, SHARED_S])
async def test_clients_that_take_turns_lose_nothing(
    key: SigningKey,
    file_format: MutableFormat,
    clients: int,
    shared_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_versions, "SHARED_S", shared_s)
    async with memory_grid() as grid, grid.another_client() as second, grid.another_client() as third:
        mine = await grid.grid.mutable.create(b"", format=file_format, key=key)
        files = [mine, second.mutable.open(mine.cap), third.mutable.open(mine.cap)][:clients]
        expected = b""
        for number in range(12):
            # Now and then twice in a row, so that what is remembered is right as often as wrong.
            for _ in range(1 + number % 2):
                expected += bytes([number])
                assert await append(files[number % clients], bytes([number])) == expected
            assert await files[(number + 1) % clients].read() == expected
        assert (await mine.check(verify=True)).healthy


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_overwrite_of_a_version_unseen_is_no_collision(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        mine = await grid.grid.mutable.create(b"old", format=file_format, key=key)
        theirs = other.mutable.open(mine.cap)
        for number in range(4):
            await theirs.overwrite(b"theirs %d" % number)
            await mine.overwrite(b"mine %d" % number)
            assert await theirs.read() == b"mine %d" % number


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_change_that_the_first_server_missed_is_not_lost(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        mine = await grid.grid.mutable.create(b"", format=file_format, key=key)
        theirs = other.mutable.open(mine.cap)
        await append(mine, b"a")
        first = in_order(grid, mine)[0]
        first.faults.dead = True
        assert await append(theirs, b"b") == b"ab"
        first.faults.dead = False
        assert await append(mine, b"c") == b"abc"  # its first server still has what it remembers
        assert await theirs.read() == b"abc"
        first.faults.dead = True
        await append(theirs, b"d")
        first.faults.dead = False
        await mine.overwrite(b"all new")
        assert await theirs.read() == b"all new"


@pytest.mark.parametrize("file_format", FORMATS)
async def test_nothing_is_read_or_refused_from_memory(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        mine = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        theirs = other.mutable.open(mine.cap)
        await append(theirs, b"b")
        assert await mine.modify(lambda old, first: None) == b"ab"
        await append(theirs, b"c")
        assert await mine.modify(lambda old, first: old) == b"abc"
        await append(mine, b"d")
        await append(theirs, b"e")
        assert await mine.read() == b"abcde"
        await append(mine, b"f")
        await theirs.overwrite(b"g")

        def only_if_g(old: bytes, first: bool) -> bytes:
            if old != b"g":
                raise LookupError
            return b"h"

        assert await mine.modify(only_if_g) == b"h"
        with pytest.raises(LookupError):
            await mine.modify(only_if_g)


async def test_another_process_of_the_node_is_noticed(key: SigningKey) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        other.mutable._parts.rollback.close()
        object.__setattr__(other.mutable._parts, "rollback", grid.grid.mutable._parts.rollback)
        mine = await grid.grid.mutable.create(b"a", key=key)
        await append(other.mutable.open(mine.cap), b"b")
        seen: list[bytes] = []
        await mine.modify(lambda old, first: seen.append(old) or old + b"c")  # type: ignore[func-returns-value]
        assert seen == [b"ab"]


# -- servers that are lost, or go back


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("which", [0, 1, 9])
async def test_a_server_lost_between_two_changes(
    key: SigningKey, file_format: MutableFormat, which: int
) -> None:
    async with memory_grid(12) as grid, grid.another_client() as other:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        lost = in_order(grid, file)[which]
        lost.faults.dead = True
        assert await append(file, b"b") == b"ab"
        assert await append(file, b"c") == b"abc"
        lost.slots.shares.clear()
        check = await other.mutable.open(file.cap).check(verify=True)
        assert (check.healthy, len(check.shares)) == (True, 10)
        lost.faults.dead = False
        assert await append(file, b"d") == b"abcd"
        assert await other.mutable.open(file.cap).read() == b"abcd"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("back", [[0], [5], [0, 1, 2], [7, 8, 9], [0, 1, 2, 3, 4, 5, 6]])
async def test_servers_that_went_back_are_put_right(
    key: SigningKey, file_format: MutableFormat, back: list[int]
) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        old = {name: dict(store.slots.shares) for name, store in grid.stores.items()}
        await append(file, b"b")
        stores = in_order(grid, file)
        names = {id(store): name for name, store in grid.stores.items()}
        for position in back:
            stores[position].slots.shares = dict(old[names[id(stores[position])]])
        assert await append(file, b"c") == b"abc"
        check = await file.check(verify=True)
        assert (check.healthy, check.sequence) == (True, 3)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_grid_that_went_back_is_told(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        old = {name: dict(store.slots.shares) for name, store in grid.stores.items()}
        await append(file, b"b")
        for name, store in grid.stores.items():
            store.slots.shares = dict(old[name])
        with pytest.raises(RolledBackError):
            await append(file, b"c")
        with pytest.raises(RolledBackError):
            await file.read()


@pytest.mark.parametrize("file_format", FORMATS)
async def test_changes_while_servers_come_and_go(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        mine = await grid.grid.mutable.create(b"", format=file_format, key=key)
        files = [mine, other.mutable.open(mine.cap)]
        stores = in_order(grid, mine)
        stored: list[int] = []
        for number in range(24):
            for store in stores:
                store.faults.dead = False
            for position in (number % 10, (3 * number) % 10, 0)[: number % 4]:
                stores[position].faults.dead = True
            try:
                await append(files[(number // 3) % 2], bytes([number]))
            except HoldfastError:
                continue
            stored.append(number)
        for store in stores:
            store.faults.dead = False
        found = await files[1].read()
        assert stored == [number for number in found if number in stored]
        assert len(set(found)) == len(found)
        assert len(stored) > 20


# -- a writer that need not look leaves room for others


async def test_somebody_else_gets_through_between_many_changes(key: SigningKey) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        mine = await grid.grid.mutable.create(b"", key=key)
        theirs = other.mutable.open(mine.cap)
        done = False

        async def many() -> int:
            count = 0
            while not done:
                await append(mine, b".")
                count += 1
            return count

        busy = asyncio.create_task(many())
        for number in range(5):
            async with asyncio.timeout(20):
                await append(theirs, b"%d" % number)
        done = True
        count = await busy
        found = await theirs.read()
        assert found.replace(b".", b"") == b"01234"
        assert found.count(b".") == count


def test_a_gap_is_left_now_and_then() -> None:
    gaps = [
        KnownVersion(None, ServerMap(), b"", 0.0, in_a_row=number, took=0.1, written=1.0).gap_s(1.1)  # type: ignore[arg-type]
        for number in range(2 * GAP_EVERY)
    ]
    assert [number for number, gap in enumerate(gaps) if gap] == [GAP_EVERY - 1, 2 * GAP_EVERY - 1]
    assert gaps[GAP_EVERY - 1] == pytest.approx(0.3)


def test_a_file_that_others_change_is_surveyed_for_a_while() -> None:
    now = 0.0
    versions = KnownVersions(lambda: now)
    versions.put(b"a", known(1))
    versions.changed_by_others(b"a")
    assert versions.get(b"a") is None
    versions.put(b"a", known(1))
    assert versions.get(b"a") is None
    now = SHARED_S
    assert versions.get(b"a") is not None


# -- what is kept


def known(size: int, surveyed: float = 0.0) -> KnownVersion:
    return KnownVersion(None, ServerMap(), bytes(size), surveyed)  # type: ignore[arg-type]


def test_little_is_kept_and_the_newest() -> None:
    versions = KnownVersions(lambda: 0.0, total_max=100)
    for name in (b"a", b"b", b"c"):
        versions.put(name, known(40))
    assert [versions.get(name) is None for name in (b"a", b"b", b"c")] == [True, False, False]
    versions.get(b"b")
    versions.put(b"d", known(40))
    assert [versions.get(name) is None for name in (b"b", b"c", b"d")] == [False, True, False]
    versions.put(b"e", known(101))
    assert all(versions.get(name) is None for name in (b"b", b"d", b"e"))
    versions.put(b"f", known(100))
    assert versions.get(b"f") is not None


def test_as_many_files_are_kept_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_versions, "FILES_MAX", 3)
    versions = KnownVersions(lambda: 0.0)
    for number in range(5):
        versions.put(bytes([number]), known(0))
    assert [number for number in range(5) if versions.get(bytes([number]))] == [2, 3, 4]


async def test_large_contents_are_not_kept(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.grid.mutable.operation.CONTENTS_MAX", 10)
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(bytes(11), key=key)
        grid.forget_calls()
        assert await append(file, b"b") == bytes(11) + b"b"
        assert len(grid.calls()) > 10
        grid.forget_calls()
        await file.overwrite(bytes(20))  # takes only where the shares are
        assert grid.calls() == ["read_test_write"] * 10
