"""Mutable files over servers that behave: what was written last is read, by whoever may."""

from __future__ import annotations

import asyncio
import gc
import io
import random
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import (
    BadCapabilityError,
    CancelledTransferError,
    ConflictError,
    InputError,
    NoServersError,
    NoSharesError,
    NotCapableError,
    UncoordinatedWriteError,
)
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.formats.mutable_share import verify_share
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.progress import Progress
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import FileHandleSource, StreamSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.types import Buffer
from holdfast.protocol.storage_extensions import READ_SLOT
from holdfast.testing.memory_grid import MemoryGrid, memory_grid

FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")
SEGMENT = 131_073  # bytes of an MDMF segment, 3 of 10
SIZES = [0, 1, 2, 3, 4, 100, 5000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 7]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


def contents(size: int, start: int = 0) -> bytes:
    return bytes((start + i * 7 + (i >> 8)) % 251 for i in range(size))


def shares(grid: MemoryGrid) -> dict[tuple[str, int], bytes]:
    """Return all mutable shares of a grid, by server and number."""
    return {
        (name, number): share
        for name, store in grid.stores.items()
        for (_, number), share in store.slots.shares.items()
    }


def sequences(grid: MemoryGrid, file: MutableFile) -> list[int]:
    """Verify each share, and return the sequence numbers found."""
    fingerprint = file.cap.fingerprint
    return [verify_share(s, fingerprint, n).header.sequence for (_, n), s in shares(grid).items()]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", SIZES)
async def test_what_was_written_is_read(key: SigningKey, file_format: MutableFormat, size: int) -> None:
    async with memory_grid() as grid:
        data = contents(size)
        file = await grid.grid.mutable.create(data, format=file_format, key=key)
        assert file.writeable
        assert await file.read() == data
        assert await file.size() == size
        await file.overwrite(data + b"more")
        assert await file.read() == data + b"more"
        assert sequences(grid, file) == [2] * 10
        await file.overwrite(b"")
        assert await file.read() == b""


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("extensions", [frozenset(), frozenset((READ_SLOT,))], ids=["1.20", "Holdfast"])
async def test_any_range_is_read(
    key: SigningKey, file_format: MutableFormat, extensions: frozenset[str]
) -> None:
    async with memory_grid() as grid:
        for store in grid.stores.values():
            store.extensions = extensions
        data = contents(2 * SEGMENT + 1000)
        file = await grid.grid.mutable.create(data, format=file_format, key=key)
        edges = [
            0,
            1,
            SEGMENT - 1,
            SEGMENT,
            SEGMENT + 1,
            2 * SEGMENT,
            len(data) - 1,
            len(data),
            len(data) + 9,
        ]
        for begin in edges:
            for size in (0, 1, SEGMENT, None):
                end = None if size is None else begin + size
                assert await file.read(begin, size) == data[begin:end]


async def test_a_read_capability_reads_and_a_verify_capability_checks(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"contents", key=key)
        reader = grid.grid.mutable.open(file.cap.read_only)
        assert not reader.writeable
        assert await reader.read() == b"contents"
        verifier = grid.grid.mutable.open(file.cap.verify_cap)
        assert await verifier.size() == 8
        assert (await verifier.check(verify=True)).healthy
        with pytest.raises(NotCapableError):
            await verifier.read()
        for weak in (reader, verifier):
            for write in (
                weak.overwrite(b"x"),
                weak.modify(lambda old, first: b"x"),
                weak.update(0, b"x"),
                weak.repair(),
            ):
                with pytest.raises(NotCapableError):
                    await write
        assert await reader.read() == b"contents"


async def test_one_object_for_one_capability_while_it_is_held(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"contents", key=key)
        cap = file.cap
        assert grid.grid.mutable.open(cap) is file
        assert grid.grid.mutable.open(cap.read_only) is not file
        name = id(file)
        del file
        gc.collect()
        again = grid.grid.mutable.open(cap)
        assert await again.read() == b"contents", name


async def test_contents_can_depend_on_the_write_key() -> None:
    async with memory_grid() as grid:
        seen: list[bytes] = []

        def make(write_key: bytes) -> bytes:
            seen.append(write_key)
            return b"for " + write_key

        file = await grid.grid.mutable.create_with(make, format="MDMF")
        assert await file.read() == b"for " + seen[0]
        assert getattr(file.cap, "write_key", None) == seen[0]


async def test_contents_come_from_handles_and_streams(key: SigningKey) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield contents(100_000)

    async with memory_grid() as grid:
        source = FileHandleSource(io.BytesIO(b"from a handle"))
        file = await grid.grid.mutable.create(source, format="MDMF", key=key)
        assert await file.read() == b"from a handle"
        await file.overwrite(StreamSource(pieces()))
        assert await file.read() == contents(100_000) * 3


async def test_progress_is_told(key: SigningKey) -> None:
    async with memory_grid() as grid:
        told: list[Progress] = []
        data = contents(3 * SEGMENT)
        file = await grid.grid.mutable.create(data, format="MDMF", key=key, progress=told.append)
        assert [p.done for p in told] == [len(data) * (i + 1) // 10 for i in range(10)]
        assert told[-1] == Progress("uploading", len(data), len(data))
        result = await file.read_into(DataTarget(), progress=told.append)
        assert (result.value, result.size) == (data, len(data))
        assert len(result.used) == 3
        assert told[-1] == Progress("downloading", len(data), len(data))


async def test_the_target_can_cancel(key: SigningKey) -> None:
    class Cancelling(DataTarget):
        def register_canceller(self, cb: Callable[[], None]) -> None:
            self.cancel = cb

        def write(self, data: Buffer) -> None:
            self.cancel()

        def fail(self, why: BaseException) -> None:
            self.why = why

    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(contents(20 * SEGMENT), format="MDMF", key=key)
        target = Cancelling()
        with pytest.raises(CancelledTransferError):
            await file.read_into(target)
        assert isinstance(target.why, CancelledTransferError)
        assert len(await file.read()) == 20 * SEGMENT


@pytest.mark.seed("S-189")
async def test_a_version_is_written_only_as_the_next_one(key: SigningKey) -> None:
    async with memory_grid() as grid, grid.another_client() as other:
        file = await grid.grid.mutable.create(b"first", key=key)
        write, read = file.cap.to_text(), file.cap.read_only.to_text()
        upload = grid.grid.mutable.upload_ssk
        assert await upload(write, 2, b"second") == read
        before = shares(grid)
        for stale in (1, 2, 4):
            with pytest.raises(UncoordinatedWriteError, match="version 2") as error:
                await upload(write, stale, b"never")
            assert error.value.sequence_found == 2
        assert shares(grid) == before
        with pytest.raises(NotCapableError):
            await upload(read, 3, b"never")
        with pytest.raises(BadCapabilityError):
            await upload("URI:LIT:", 3, b"never")
        assert await upload(write, None, b"third") == read
        racing = [uploader(write, 4, b"racing") for uploader in (upload, other.mutable.upload_ssk)]
        ends = await asyncio.gather(*racing, return_exceptions=True)
        assert any(isinstance(end, UncoordinatedWriteError) for end in ends)
        assert await file.read() == b"racing"


async def test_a_key_serves_one_file(key: SigningKey) -> None:
    async with memory_grid() as grid:
        await grid.grid.mutable.create(b"first", key=key)
        async with grid.another_client() as other:
            with pytest.raises(UncoordinatedWriteError):
                await other.mutable.create(b"second", key=key)


async def test_a_file_that_is_not_there(key: SigningKey) -> None:
    async with memory_grid() as grid, memory_grid() as elsewhere, memory_grid(0) as nowhere:
        cap = (await elsewhere.grid.mutable.create(b"there", key=key)).cap
        file = grid.grid.mutable.open(cap)
        for operation in (
            file.read(),
            file.overwrite(b""),
            file.modify(lambda o, f: b""),
            file.update(0, b"x"),
        ):
            with pytest.raises(NoSharesError):
                await operation
        check = await file.check()
        assert not check.recoverable
        assert not check.healthy
        assert not (await file.repair(force=True)).attempted
        with pytest.raises(NoServersError):
            await nowhere.grid.mutable.open(cap).read()
        with pytest.raises(NoServersError):
            await nowhere.grid.mutable.create(b"")


# -- encodings


@pytest.mark.parametrize(
    ("needed", "total", "servers"), [(1, 1, 3), (1, 5, 5), (5, 5, 5), (3, 10, 2), (20, 60, 7), (255, 255, 4)]
)
@pytest.mark.parametrize("file_format", FORMATS)
async def test_all_encodings(
    key: SigningKey, file_format: MutableFormat, needed: int, total: int, servers: int
) -> None:
    encoding = EncodingSettings(shares_needed=needed, happiness=1, shares_total=total)
    async with memory_grid(servers, encoding) as grid:
        file = await grid.grid.mutable.create(b"contents", format=file_format, key=key)
        assert await file.read() == b"contents"
        assert await file.modify(lambda old, first: old + b", more") == b"contents, more"
        await file.update(0, b"C")
        assert await file.read() == b"Contents, more"
        assert (await file.check(verify=True)).healthy
        assert len(shares(grid)) == total


async def test_a_file_keeps_its_encoding_until_another_is_asked_for(key: SigningKey) -> None:
    async with memory_grid() as grid:
        wide = EncodingSettings(shares_needed=4, happiness=1, shares_total=20)
        file = await grid.grid.mutable.create(b"contents", key=key, encoding=wide)
        async with grid.another_client() as other:
            same = other.mutable.open(file.cap)
            await same.overwrite(b"of the other")
            assert len(shares(grid)) == 20
            narrow = EncodingSettings(shares_needed=2, happiness=1, shares_total=5)
            await same.overwrite(b"narrow", encoding=narrow)
        assert len(shares(grid)) == 5
        assert await file.read() == b"narrow"
        check = await file.check(verify=True)
        assert (check.shares_needed, check.shares_total, check.healthy) == (2, 5, True)


# -- changes


@pytest.mark.parametrize("file_format", FORMATS)
async def test_modify_gives_what_is_published(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"a", format=file_format, key=key)
        seen: list[tuple[bytes, bool]] = []

        def change(old: bytes, first: bool) -> bytes:
            seen.append((old, first))
            return old + b"b"

        assert await file.modify(change) == b"ab"
        assert seen == [(b"a", True)]
        before = shares(grid)
        assert await file.modify(lambda old, first: None) == b"ab"
        assert await file.modify(lambda old, first: old) == b"ab"
        with pytest.raises(ZeroDivisionError):
            await file.modify(lambda old, first: bytes([1 // 0]))
        assert shares(grid) == before


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [0, 10, SEGMENT - 1, SEGMENT, 2 * SEGMENT, 2 * SEGMENT + 5])
async def test_updates_at_every_boundary(key: SigningKey, file_format: MutableFormat, size: int) -> None:
    async with memory_grid() as grid:
        expected = contents(size)
        file = await grid.grid.mutable.create(expected, format=file_format, key=key)
        offsets = sorted({0, 1, size // 2, max(0, size - 1), size, SEGMENT - 1, SEGMENT, SEGMENT + 1})
        for step, offset in enumerate(offsets):
            for length in (1, SEGMENT):
                if offset > len(expected):
                    with pytest.raises(InputError):
                        await file.update(offset, b"x")
                    continue
                new = contents(length, step + 1)
                await file.update(offset, new)
                expected = expected[:offset] + new + expected[offset + length :]
                assert await file.read() == expected
        assert (await file.check(verify=True)).healthy
        assert len(set(sequences(grid, file))) == 1


async def test_an_update_in_place_leaves_other_segments_alone(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(contents(3 * SEGMENT), format="MDMF", key=key)
        before = shares(grid)
        await file.update(SEGMENT + 5, b"changed")
        after = shares(grid)
        record = 16 + SEGMENT // 3
        for place, share in after.items():
            changed = [
                i
                for i in range(3)
                if before[place][2167 + i * record :][:record] != share[2167 + i * record :][:record]
            ]
            assert changed == [1]


@pytest.mark.parametrize("loss", ["share", "server", "record", "tree"])
async def test_an_update_of_a_file_that_is_not_whole_heals_it(key: SigningKey, loss: str) -> None:
    async with memory_grid() as grid:
        expected = contents(2 * SEGMENT)
        file = await grid.grid.mutable.create(expected, format="MDMF", key=key)
        (server, number), share = next(iter(shares(grid).items()))
        store = grid.stores[server]
        place = next(p for p in store.slots.shares if p[1] == number)
        if loss == "share":
            del store.slots.shares[place]
        elif loss == "server":
            store.faults.dead = True
        else:
            at = len(share) - 5 if loss == "tree" else 2167 + 40
            store.slots.shares[place] = share[:at] + bytes([share[at] ^ 1]) + share[at + 1 :]
        await file.update(3, b"new")
        expected = expected[:3] + b"new" + expected[6:]
        store.faults.dead = False
        assert await file.read() == expected
        check = await file.check(verify=True)
        assert len(check.shares) == 10


async def test_nothing_happens_for_no_bytes(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"contents", key=key)
        before = shares(grid)
        await file.update(3, b"")
        assert shares(grid) == before
        with pytest.raises(InputError):
            await file.update(-1, b"x")


async def test_operations_of_one_process_take_turns(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"", key=key)
        await asyncio.gather(*(file.modify(lambda old, first, i=i: old + bytes([i])) for i in range(10)))  # type: ignore[misc]
        assert sorted(await file.read()) == list(range(10))
        assert set(sequences(grid, file)) == {11}


# -- checking and repairing


async def test_a_check_renews_leases_if_asked_to(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"contents", key=key)
        grid.forget_calls()
        await file.check()
        assert "add_lease" not in grid.calls()
        await file.check(add_lease=True)
        assert grid.calls().count("add_lease") == 10


@pytest.mark.parametrize("file_format", FORMATS)
async def test_repair_of_a_healthy_file_writes_nothing(key: SigningKey, file_format: MutableFormat) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"contents", format=file_format, key=key)
        before = shares(grid)
        result = await file.repair()
        assert (result.attempted, result.successful) == (False, True)
        assert shares(grid) == before


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [0, 1, 5000, SEGMENT + 1])
async def test_missing_and_bad_shares_are_made_again_byte_for_byte(
    key: SigningKey, file_format: MutableFormat, size: int
) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(contents(size), format=file_format, key=key)
        await file.overwrite(contents(size, 5))
        before = shares(grid)
        for i, (server, number) in enumerate(sorted(before)[:7]):
            store = grid.stores[server].slots.shares
            place = next(p for p in store if p[1] == number)
            if i % 2:
                del store[place]
            else:
                store[place] = store[place][:-1] + bytes([store[place][-1] ^ 4])
        check = await file.check(verify=True)
        assert check.recoverable
        assert not check.healthy
        assert check.needs_repair
        assert len(check.corrupt) == 4
        result = await file.repair()
        assert (result.attempted, result.successful, result.kept_version) == (True, True, True)
        by_number = {number: share for (_, number), share in before.items()}
        assert {number: share for (_, number), share in shares(grid).items()} == by_number
        assert (await file.check(verify=True)).healthy


async def test_competing_versions_are_repaired_only_by_force(key: SigningKey) -> None:
    async with memory_grid() as grid:
        file = await grid.grid.mutable.create(b"old", key=key)
        old = {name: dict(store.slots.shares) for name, store in grid.stores.items()}
        async with grid.another_client() as other:
            await other.mutable.open(file.cap).overwrite(b"of the other")
        theirs = {name: dict(store.slots.shares) for name, store in grid.stores.items()}
        for name, store in grid.stores.items():
            store.slots.shares.update(old[name])
        await file.overwrite(b"mine")
        for name in list(grid.stores)[:5]:
            grid.stores[name].slots.shares.update(theirs[name])
        check = await file.check()
        assert (check.recoverable_versions, check.needs_merge, check.healthy) == (2, True, False)
        with pytest.raises(ConflictError, match="merge"):
            await file.repair()
        result = await file.repair(force=True)
        assert (result.successful, result.kept_version) == (True, False)
        assert await file.read() in (b"mine", b"of the other")
        check = await file.check(verify=True)
        assert (check.healthy, check.sequence) == (True, 3)


# -- histories


STEP = st.tuples(
    st.sampled_from(["overwrite", "modify", "update", "append", "repair", "lose"]),
    st.integers(0, 1),
    st.integers(0, 40),
    st.binary(max_size=30),
)


@pytest.mark.parametrize("file_format", FORMATS)
@given(steps=st.lists(STEP, max_size=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history_of_two_writers_in_turn(
    key: SigningKey, file_format: MutableFormat, steps: list[tuple[str, int, int, bytes]]
) -> None:
    async with (
        memory_grid(5, EncodingSettings(shares_needed=2, happiness=1, shares_total=5)) as grid,
        grid.another_client() as other,
    ):
        first = await grid.grid.mutable.create(b"", format=file_format, key=key)
        files = [first, other.mutable.open(first.cap)]
        expected = b""
        for what, who, place, data in steps:
            file = files[who]
            if what == "overwrite":
                await file.overwrite(data)
                expected = data
            elif what == "modify":
                expected = await file.modify(lambda old, first, data=data: data + old)  # type: ignore[misc]
            elif what in ("update", "append"):
                at = len(expected) if what == "append" else min(place, len(expected))
                await file.update(at, data)
                expected = expected[:at] + data + expected[at + len(data) :]
            elif what == "repair":
                await file.repair()
            else:
                store = grid.stores[f"s{place % 5}"].slots.shares
                if sum(len(s.slots.shares) for s in grid.stores.values()) > 3:
                    store.clear()
            assert await files[1 - who].read() == expected


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("seed", range(10))
async def test_two_writers_at_once_lose_no_change(
    key: SigningKey, file_format: MutableFormat, seed: int
) -> None:
    async with (
        memory_grid(5, EncodingSettings(shares_needed=2, happiness=1, shares_total=5)) as grid,
        grid.another_client() as other,
    ):
        first = await grid.grid.mutable.create(b"", format=file_format, key=key)
        files = [first, other.mutable.open(first.cap)]
        turns = random.Random(seed)
        for store in grid.stores.values():
            store.faults.turns = lambda: turns.randrange(8)
        stored: list[int] = []

        async def append(file: MutableFile, value: int) -> None:
            try:
                await file.modify(lambda old, first: old if bytes([value]) in old else old + bytes([value]))
                stored.append(value)
            except UncoordinatedWriteError:
                pass

        await asyncio.gather(*(append(files[i % 2], i) for i in range(6)))
        found = await first.read()
        assert set(stored) <= set(found)
        assert len(found) == len(set(found))
        assert stored
