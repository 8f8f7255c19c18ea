"""Mutable files over servers that fail, lie, hang, forget, or show old shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import (
    ConflictError,
    NoServersError,
    NotEnoughServersError,
    NotEnoughSharesError,
    RolledBackError,
    ServerError,
    UnavailableError,
    UncoordinatedWriteError,
)
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.mutable import publisher, surveyor
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.mutable.operation import Operation
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.storage import ReadTestWriteResult
from holdfast.planning.publication import ATTEMPTS_MAX, Outcome
from holdfast.protocol.storage_extensions import READ_SLOT
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_storage import MemoryStorage

FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")
SMALL = EncodingSettings(shares_needed=2, happiness=1, shares_total=4)
SEGMENT = 131_073  # bytes of an MDMF segment, 3 of 10

pytestmark = pytest.mark.parametrize("file_format", FORMATS)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (surveyor, publisher):
        monkeypatch.setattr(module, "FACTOR", 2.0)
    monkeypatch.setattr(surveyor, "LEAST_S", 0.05)
    monkeypatch.setattr(publisher, "WRITE_LEAST_S", 0.3)
    monkeypatch.setattr(publisher, "WRITE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(publisher, "LOOK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(publisher, "SENT_BYTES_PER_S_MIN", 1 << 30)
    monkeypatch.setattr("holdfast.grid.mutable.version_reader.LEAST_S", 0.05)


def slots(grid: MemoryGrid) -> list[dict[tuple[bytes, int], bytes]]:
    return [store.slots.shares for store in grid.stores.values()]


def snapshot(grid: MemoryGrid) -> dict[str, dict[tuple[bytes, int], bytes]]:
    return {name: dict(store.slots.shares) for name, store in grid.stores.items()}


def holders(grid: MemoryGrid) -> list[MemoryStorage]:
    """Return the stores that have shares, by the lowest number of theirs."""
    having = [store for store in grid.stores.values() if store.slots.shares]
    return sorted(having, key=lambda store: min(number for _, number in store.slots.shares))


async def made(grid: MemoryGrid, key: SigningKey, file_format: MutableFormat, data: bytes) -> MutableFile:
    return await grid.grid.mutable.create(data, format=file_format, key=key)


# -- servers that are gone


@pytest.mark.parametrize("size", [0, 1000, 2 * SEGMENT])
async def test_any_k_shares_suffice(key: SigningKey, file_format: MutableFormat, size: int) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, bytes(size))
        for store in holders(grid)[:7]:
            store.slots.shares.clear()
        assert await file.read() == bytes(size)
        holders(grid)[0].faults.dead = True
        with pytest.raises(NotEnoughSharesError) as error:
            await file.read()
        assert (error.value.found, error.value.needed) == (2, 3)
        assert "dead" in str(error.value)


async def test_writing_heals(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"old")
        gone = holders(grid)[:7]
        for store in gone[:3]:
            store.slots.shares.clear()
        for store in gone[3:]:
            place, share = store.slots.shares.popitem()
            store.slots.shares[place] = share[:20] + b"bad" + share[23:]
        await file.overwrite(b"new")
        check = await file.check(verify=True)
        assert (check.healthy, len(check.shares)) == (True, 10)


async def test_shares_of_servers_that_fail_go_to_others(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid(14) as grid:
        file = await made(grid, key, file_format, b"old")
        for store in holders(grid)[:4]:
            store.faults.failing_calls = {"read_test_write"}
        await file.overwrite(b"new")
        found = {n for s in grid.stores.values() if not s.faults.failing_calls for _, n in s.slots.shares}
        assert found == set(range(10))
        assert await file.read() == b"new"


async def test_a_write_that_reached_too_few_is_an_error(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid(3) as grid:
        for store in grid.stores.values():
            store.faults.failing_calls = {"read_test_write"}
        with pytest.raises(NotEnoughServersError):
            await made(grid, key, file_format, b"")
        for store in grid.stores.values():
            store.faults.dead = True
        with pytest.raises(UnavailableError):
            await made(grid, key, file_format, b"")
        with pytest.raises(NoServersError):
            await made(grid, key, file_format, b"")


async def test_a_lost_answer_is_looked_up(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"old")
        for store in grid.stores.values():
            store.faults.lost_answers = {"read_test_write"}
        await file.overwrite(b"new")
        assert [len(shares) for shares in slots(grid)] == [1] * 10
        for store in grid.stores.values():
            store.faults.lost_answers = set()
        assert (await file.check(verify=True)).healthy


# -- servers that hang


@pytest.mark.parametrize(
    "calls", [{"list_mutable"}, {"read_mutable"}, {"read_test_write"}, {"features"}, None]
)
async def test_hung_servers_keep_nobody_waiting(
    key: SigningKey, file_format: MutableFormat, calls: set[str] | None
) -> None:
    async with memory_grid(12) as grid:
        file = await made(grid, key, file_format, bytes(SEGMENT + 1))
        for store in holders(grid)[:6]:
            if calls is None:
                store.faults.hung = True
            else:
                store.faults.hung_calls = calls
        began = time.monotonic()
        assert await file.read() == bytes(SEGMENT + 1)
        await file.modify(lambda old, first: old[:-1] + b"x") if calls == {"read_test_write"} else None
        await file.overwrite(b"new")
        assert await file.read() == b"new"
        await file.check(verify=True)
        await file.repair(force=True)
        assert time.monotonic() - began < 10


async def test_a_server_that_hangs_in_the_middle_of_a_read_is_replaced(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid:
        data = bytes(9 * SEGMENT)
        file = await made(grid, key, file_format, data)
        calls = 0

        def hang() -> int:
            nonlocal calls
            calls += 1
            if calls > 8:
                store.faults.hung = True
            return 1

        store = holders(grid)[0]
        store.faults.turns = hang
        assert await file.read() == data


# -- servers that lie


@pytest.mark.parametrize("extensions", [frozenset(), frozenset((READ_SLOT,))], ids=["1.20", "Holdfast"])
async def test_every_byte_flipped_once_gives_right_contents(
    key: SigningKey, file_format: MutableFormat, extensions: frozenset[str]
) -> None:
    async with memory_grid(4, SMALL) as grid:
        for server in grid.stores.values():
            server.extensions = extensions
        data = bytes(range(60))
        file = await made(grid, key, file_format, data)
        store = holders(grid)[0]
        ((_, number), share) = next(iter(store.slots.shares.items()))
        told = 0
        for at in range(0, len(share), 1 if extensions else 13):
            store.faults.flip = {(number, at)}
            store.advice.clear()
            assert await file.read() == data
            if at % 39 == 0 or at < 60:
                check = await file.check(verify=True)
                unread = file_format == "MDMF" and _gap(share)[0] <= at < _gap(share)[1]
                assert check.healthy == unread, at
                assert unread or store.advice, at
                told += bool(store.advice)
        assert told


def _gap(share: bytes) -> tuple[int, int]:
    """Return the range of an MDMF share that nobody reads."""
    return int.from_bytes(share[91:99], "big"), int.from_bytes(share[99:107], "big")


async def test_other_shares_in_the_place_of_the_right_ones(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid(4, SMALL) as grid:
        data = bytes(range(200))
        file = await made(grid, key, file_format, data)
        first, second, *_ = slots(grid)
        (a, share_a), (b, share_b) = next(iter(first.items())), next(iter(second.items()))
        first[a], second[b] = share_b, share_a
        assert await file.read() == data
        check = await file.check(verify=True)
        assert (check.healthy, len(check.corrupt)) == (False, 2)
        assert (await file.repair()).kept_version
        assert (await file.check(verify=True)).healthy


async def test_servers_that_accept_and_forget(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"old")
        for store in holders(grid)[:7]:
            store.faults.drops_writes = True
        await file.overwrite(b"new")
        assert await file.read() == b"new"
        assert not (await file.check()).healthy


async def test_lying_reads_are_no_collision(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"old")
        for store in holders(grid)[:3]:
            ((_, number),) = store.slots.shares
            store.faults.flip = {(number, 12), (number, 70)}
        await file.overwrite(b"new")
        assert await file.read() == b"new"
        assert await file.modify(lambda old, first: old + b"er") == b"newer"


async def test_two_files_do_not_mix(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"mine")
        other = await made(grid, new_signing_key(), file_format, b"other")
        index, theirs = file.cap.storage_index, other.cap.storage_index
        for shares in slots(grid):
            for place in [p for p in shares if p[0] == index][:1]:
                shares[place] = next(s for (i, _), s in shares.items() if i == theirs)
        with pytest.raises(NotEnoughSharesError):
            await file.read()


# -- servers that go back


@pytest.mark.parametrize("liars", range(11))
async def test_old_shares_are_outvoted_or_noticed(
    key: SigningKey, file_format: MutableFormat, liars: int
) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"old")
        old = snapshot(grid)
        await file.overwrite(b"new")
        for name in list(grid.stores)[:liars]:
            grid.stores[name].faults.replay = old[name]
        if liars <= 7:
            assert await file.read() == b"new"
            return
        for operation in (
            file.read(),
            file.modify(lambda o, f: o + b"er"),
            file.update(0, b"N"),
            file.repair(),
        ):
            with pytest.raises(RolledBackError) as error:
                await operation
            assert (error.value.sequence_found, error.value.sequence_remembered) == (1, 2)
        check = await file.check()
        assert check.rolled_back == (liars >= 8)


async def test_a_stranger_is_not_fooled_by_fewer_than_k_liars(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid, grid.another_client() as stranger:
        file = await made(grid, key, file_format, b"old")
        old = snapshot(grid)
        await file.overwrite(b"new")
        for name in list(grid.stores)[:2]:
            grid.stores[name].faults.replay = old[name]
        assert await stranger.mutable.open(file.cap).read() == b"new"


async def test_servers_that_really_went_back_are_cured_by_force(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid:
        file = await made(grid, key, file_format, b"first")
        old = snapshot(grid)
        for i in range(5):
            await file.overwrite(b"later %d" % i)
        for name, store in grid.stores.items():
            store.slots.shares.clear()
            store.slots.shares.update(old[name])
        with pytest.raises(RolledBackError):
            await file.read()
        result = await file.repair(force=True)
        assert result.successful
        assert result.before.rolled_back
        assert (await file.check(verify=True)).sequence == 7
        assert await file.read() == b"first"


# -- other writers


async def test_a_collision_is_told_with_what_was_seen(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid, grid.another_client() as third, grid.another_client() as other:
        file = third.mutable.open((await made(grid, key, file_format, b"old")).cap)
        theirs = other.mutable.open(file.cap)
        interleave(grid, lambda: theirs.overwrite(b"theirs"))
        with pytest.raises(UncoordinatedWriteError, match="someone else") as error:
            await file.overwrite(b"mine")
        assert error.value.sequence_found == 2
        assert await file.read() == b"theirs"


_OTHER: ContextVar[bool] = ContextVar("the other writer", default=False)


def interleave(grid: MemoryGrid, write: Callable[[], Awaitable[object]]) -> None:
    """Let ``write`` happen just before the next write of anybody else."""
    task: asyncio.Task[object] | None = None

    async def of_other() -> object:
        _OTHER.set(True)
        return await write()

    def watch(store: MemoryStorage) -> None:
        original = store.read_test_write

        async def held(*args: Any) -> ReadTestWriteResult:
            nonlocal task
            if not _OTHER.get():
                task = task or asyncio.create_task(of_other())
                await task
            return await original(*args)

        store.read_test_write = held  # type: ignore[method-assign,assignment]

    for store in grid.stores.values():
        watch(store)


@pytest.mark.parametrize("how", ["modify", "modify what was written last", "update"])
async def test_a_change_that_collided_is_applied_to_what_the_other_wrote(
    key: SigningKey, file_format: MutableFormat, how: str
) -> None:
    async with memory_grid() as grid, grid.another_client() as third, grid.another_client() as other:
        file = await made(grid, key, file_format, b"0123456789")
        theirs = other.mutable.open(file.cap)
        if how == "modify":
            file = third.mutable.open(file.cap)
        interleave(grid, lambda: theirs.overwrite(b"abcdefghij"))
        if how != "update":
            firsts: list[bool] = []

            def change(old: bytes, first: bool) -> bytes:
                firsts.append(first)
                return old + b"!"

            assert await file.modify(change) == b"abcdefghij!"
            assert firsts == [True, how != "modify"]  # what was remembered was not there: nothing was tried
        else:
            await file.update(2, b"XY")
            assert await file.read() == b"abXYefghij"
        assert (await file.check(verify=True)).healthy


async def test_a_version_that_may_be_hidden_is_not_buried_by_a_change(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        file = await made(grid, key, file_format, b"old")
        away = holders(grid)[:3]
        for store in away:
            store.faults.dead = True
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publisher, "ROUNDS_MAX", 1)
            for store in holders(grid)[4:]:
                store.faults.failing_calls = {"read_test_write"}
            with pytest.raises(NotEnoughServersError):
                await file.overwrite(b"unfinished")
        for store in grid.stores.values():
            store.faults.failing_calls = set()
        stranger = other.mutable.open(file.cap)
        with pytest.raises(NotEnoughSharesError, match="newest"):
            await stranger.modify(lambda old, first: old + b"!")
        with pytest.raises(ConflictError, match="newer"):
            await stranger.repair()
        for store in away:
            store.faults.dead = False
        await asyncio.sleep(0)
        for server in other.known.all():
            server.retry_now()
        assert await stranger.modify(lambda old, first: old + b"!") == b"old!"
        assert (await stranger.check(verify=True)).healthy


async def test_a_writer_that_never_comes_through_gives_up(
    key: SigningKey, file_format: MutableFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        file = await made(grid, key, file_format, b"old")
        theirs = other.mutable.open(file.cap)
        attempts = 0

        async def meddle(op: Operation, *args: Any) -> Outcome:
            nonlocal attempts
            if not _OTHER.get():
                attempts += 1
                await asyncio.create_task(of_other())
            return await publish(op, *args)

        async def of_other() -> None:
            _OTHER.set(True)
            await theirs.overwrite(b"theirs %d" % attempts)

        publish = Operation.publish
        monkeypatch.setattr(Operation, "publish", meddle)
        with pytest.raises(UncoordinatedWriteError):
            await file.modify(lambda old, first: old + b"!")
        assert attempts == 1 + ATTEMPTS_MAX  # the first one with what was remembered
        assert await file.read() == b"theirs %d" % attempts


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_writer_that_dies_leaves_old_or_new(
    key: SigningKey, file_format: MutableFormat, steps: int
) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        file = await made(grid, key, file_format, b"old")
        task = asyncio.create_task(file.modify(lambda old, first: b"new"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stranger = other.mutable.open(file.cap)
        found = await stranger.read()
        assert found in (b"old", b"new")
        assert await stranger.modify(lambda old, first: old + b"er") in (b"older", b"newer")
        assert (await stranger.check(verify=True)).healthy


async def test_a_server_that_comes_back_in_the_middle_of_a_change_does_not_disturb_it(
    key: SigningKey, file_format: MutableFormat
) -> None:
    async with memory_grid() as grid, grid.another_client() as client:
        cap = (await grid.grid.mutable.create(b"old", format=file_format, key=key)).cap
        lost = client.known.all()[0]
        store = grid.stores[lost.id]
        store.faults.dead = True
        lost._failed(ServerError("gone"))
        assert lost.down
        lost.retry_at = time.monotonic() + 60
        file = client.mutable.open(cap)

        def change(contents: bytes, first: bool) -> bytes:
            store.faults.dead = False
            lost.retry_now()
            return contents + b"er"

        assert await file.modify(change) == b"older"
        assert await file.read() == b"older"
