"""What a client does when servers fail, lie, hang, fill up or vanish."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import (
    BadCapabilityError,
    HoldfastError,
    NoServersError,
    NoSharesError,
    NotCapableError,
    NotEnoughSharesError,
    UnhappyError,
    WrongCapabilityTypeError,
)
from holdfast.grid.results import UploadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, FileNameSource
from holdfast.grid.targets import DataTarget
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

SMALL_SEGMENTS = EncodingSettings(segment_size_max=1000, convergence_secret=CONVERGENCE)
DATA = bytes(range(256)) * 40  # 10,240 bytes, 11 segments of 1002


async def stored(grid: MemoryGrid, data: bytes = DATA) -> UploadResult:
    return await grid.grid.upload(DataSource(data), SMALL_SEGMENTS)


async def read(grid: MemoryGrid, uri: str) -> bytes:
    return (await grid.grid.download(uri, DataTarget())).value


@pytest.mark.seed("S-172")
@pytest.mark.parametrize("lost", range(8))
async def test_a_file_is_read_while_any_n_minus_k_servers_are_gone(lost: int) -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for i in range(lost):
            grid.stores[f"s{i}"].faults.dead = True
        if lost <= 7:
            assert await read(grid, result.uri) == DATA


async def test_below_k_servers_the_error_says_what_was_needed_and_found() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for i in range(8):
            grid.stores[f"s{i}"].faults.dead = True
        with pytest.raises(NotEnoughSharesError, match="needs 3 shares, 2 usable") as error:
            await read(grid, result.uri)
        assert (error.value.found, error.value.needed) == (2, 3)


@pytest.mark.seed("S-185")
async def test_no_share_at_all_is_an_error_of_its_own() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for store in grid.stores.values():
            store.shares.clear()
        with pytest.raises(NoSharesError):
            await read(grid, result.uri)


async def test_a_corrupt_block_costs_its_share_and_its_server_is_named_and_told() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        liar = grid.holder(dict(result.shares), 0)
        liar.faults.flip = {(0, 100)}
        download = await grid.grid.download(result.uri, DataTarget())
        assert download.value == DATA
        assert [p.share for p in download.problems] == [0]
        assert "corrupt" in download.problems[0].what
        assert [number for number, _ in liar.advice] == [0]


@pytest.mark.seed("S-172")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(flips=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6000)), max_size=12), data=st.data())
def test_flipped_bytes_never_give_wrong_contents(flips: list[tuple[int, int]], data: st.DataObject) -> None:
    async def play() -> None:
        async with memory_grid() as grid:
            result = await stored(grid)
            for number, offset in flips:
                grid.holder(dict(result.shares), number).faults.flip.add((number, offset))
            try:
                assert await read(grid, result.uri) == DATA
            except HoldfastError:
                assert len({number for number, _ in flips}) > 7

    asyncio.run(play())


@settings(max_examples=40)
@given(cuts=st.dictionaries(st.integers(0, 9), st.integers(0, 6000), max_size=7))
def test_truncated_shares_are_survived_and_named(cuts: dict[int, int]) -> None:
    async def play() -> None:
        async with memory_grid() as grid:
            result = await stored(grid)
            for number, length in cuts.items():
                grid.holder(dict(result.shares), number).faults.cut[number] = length
            assert await read(grid, result.uri) == DATA

    asyncio.run(play())


async def test_a_share_under_a_wrong_number_is_not_believed() -> None:
    five = replace(SMALL_SEGMENTS, happiness=5)
    async with memory_grid(servers=5) as grid:
        result = await grid.grid.upload(DataSource(DATA), five)
        first = grid.holder(dict(result.shares), 0)
        numbers = [n for n, holders in result.shares.items() if grid.stores[holders[0]] is first]
        other = next(n for n in numbers if n != 0)
        first.faults.swap = {0: other, other: 0}
        assert await read(grid, result.uri) == DATA


async def test_servers_that_deny_their_shares_are_passed_over() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for i in range(7):
            grid.stores[f"s{i}"].faults.denied = True
        assert await read(grid, result.uri) == DATA


async def test_a_server_that_hangs_while_reading_is_replaced_within_seconds() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for number in (0, 1):
            grid.holder(dict(result.shares), number).faults.hung_calls.add("read_immutable")
        began = time.monotonic()
        assert await read(grid, result.uri) == DATA
        assert time.monotonic() - began < 10


async def test_servers_that_hang_from_the_start_delay_nothing() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        for i in range(7):
            grid.stores[f"s{i}"].faults.hung = True
        began = time.monotonic()
        assert await read(grid, result.uri) == DATA
        assert time.monotonic() - began < 5


@pytest.mark.seed("S-048", "S-049", "S-051", "S-052")
async def test_a_range_reads_no_more_segments_than_it_touches() -> None:
    async with memory_grid() as grid:
        data = bytes(3_000_000)
        encoding = EncodingSettings(segment_size_max=10_000, convergence_secret=CONVERGENCE)
        result = await grid.grid.upload(DataSource(data), encoding)
        grid.forget_calls()
        download = await grid.grid.download(result.uri, DataTarget(), offset=1_000_000, size=5)
        assert download.value == data[:5]
        assert sum(store.bytes_read for store in grid.stores.values()) < 800_000


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0, 0, b""),
        (0, 1, DATA[:1]),
        (1001, 3, DATA[1001:1004]),
        (10_239, 5, DATA[-1:]),
        (10_240, 5, b""),
        (99_999, 1, b""),
    ],
)
async def test_ranges_are_cut_at_the_end_of_the_file(offset: int, size: int, expected: bytes) -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        download = await grid.grid.download(result.uri, DataTarget(), offset=offset, size=size)
        assert download.value == expected


@pytest.mark.parametrize("writes", range(4))
async def test_an_upload_goes_on_when_servers_die_and_enough_are_left(writes: int) -> None:
    async with memory_grid() as grid:
        for i in range(3):
            grid.stores[f"s{i}"].faults.fail_after_writes = writes
        data = bytes(3_000_000)
        result = await grid.grid.upload(DataSource(data))
        assert result.happiness >= 7
        for i in range(3):
            grid.stores[f"s{i}"].faults.dead = True
        assert await read(grid, result.uri) == data


@pytest.mark.seed("S-166", "X-18")
@pytest.mark.parametrize("writes", range(2))
async def test_an_upload_that_cannot_be_happy_fails_and_leaves_nothing_half_done(writes: int) -> None:
    async with memory_grid() as grid:
        for i in range(4):
            grid.stores[f"s{i}"].faults.fail_after_writes = writes
        with pytest.raises(UnhappyError) as error:
            await grid.grid.upload(DataSource(bytes(3_000_000)))
        assert (error.value.happiness, error.value.happiness_wanted) == (6, 7)
        for i in range(4, 10):
            assert grid.stores[f"s{i}"].uploads == []


async def test_an_upload_passes_over_full_servers() -> None:
    async with memory_grid(servers=12) as grid:
        for i in range(3):
            grid.stores[f"s{i}"].space = 10
        result = await stored(grid)
        assert result.happiness == 9
        assert not {"s0", "s1", "s2"} & {s for holders in result.shares.values() for s in holders}


async def test_servers_beyond_the_first_twenty_are_asked_when_those_are_full() -> None:
    async with memory_grid(servers=30) as grid:
        for store in grid.stores.values():
            store.space = 10
        for i in range(20, 30):
            grid.stores[f"s{i}"].space = 1 << 20
        assert (await stored(grid)).happiness >= 7


async def test_a_hung_server_delays_an_upload_by_seconds_only() -> None:
    async with memory_grid() as grid:
        grid.stores["s0"].faults.hung = True
        grid.stores["s1"].faults.hung_calls.add("write")
        began = time.monotonic()
        result = await stored(grid)
        assert result.happiness == 8
        assert time.monotonic() - began < 20
        assert any("hung" in problem.what for problem in result.problems)


async def test_without_servers_an_upload_says_so() -> None:
    async with memory_grid(servers=0) as grid:
        with pytest.raises(NoServersError, match="no storage server is known"):
            await stored(grid)
    async with memory_grid(servers=3) as grid:
        for store in grid.stores.values():
            store.faults.dead = True
        with pytest.raises(NoServersError):
            await stored(grid)


async def test_too_few_servers_are_an_unhappy_upload_with_the_numbers() -> None:
    async with memory_grid(servers=5) as grid:
        with pytest.raises(UnhappyError, match=r"needs 7 servers.*5 were found") as error:
            await grid.grid.upload(DataSource(DATA))
        assert error.value.servers == 5
        assert all(store.uploads == [] for store in grid.stores.values())


async def test_uploading_again_sends_nothing_and_renews_leases() -> None:
    async with memory_grid() as grid:
        first = await stored(grid)
        grid.forget_calls()
        second = await stored(grid)
        assert (second.uri, second.pushed, second.found) == (first.uri, 0, 10)
        assert "write" not in grid.calls()


@pytest.mark.seed("X-12", "S-057")
async def test_only_missing_shares_are_sent_again() -> None:
    async with memory_grid() as grid:
        first = await stored(grid)
        for number in (2, 7):
            grid.holder(dict(first.shares), number).shares.clear()
        second = await stored(grid)
        assert (second.uri, second.pushed, second.found) == (first.uri, 2, 8)


async def test_an_interrupted_upload_goes_on_where_it_stopped() -> None:
    data = bytes(range(256)) * 60_000  # 15 MB, four batches
    async with memory_grid() as grid:
        for store in grid.stores.values():
            store.faults.fail_after_writes = 2
        with pytest.raises(HoldfastError):
            await grid.grid.upload(DataSource(data))
        # The servers come back with what they had; the client is started anew.
        for store in grid.stores.values():
            store.faults.dead = False
            store.faults.fail_after_writes = None
        grid.forget_calls()
        for server in grid.grid.known.all():
            server.retry_now()
        result = await grid.grid.upload(DataSource(data))
        assert await read(grid, result.uri) == data


async def test_equal_files_stored_at_once_are_stored_once(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(b"x" * 5000)
    async with memory_grid() as memory:
        results = await asyncio.gather(*(memory.grid.upload(FileNameSource(path)) for path in paths))
    assert len({result.uri for result in results}) == 1
    assert sorted(result.pushed for result in results) == [0, 0, 10]


async def test_two_uploads_of_one_file_at_once_both_succeed() -> None:
    async with memory_grid() as grid:
        one, two = await asyncio.gather(stored(grid), stored(grid))
        assert one.uri == two.uri
        assert await read(grid, one.uri) == DATA


async def test_check_counts_shares_and_verify_finds_every_corrupt_one() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        assert (await grid.grid.check(result.uri)).healthy
        grid.holder(dict(result.shares), 4).faults.flip = {(4, 50)}
        grid.holder(dict(result.shares), 5).faults.cut = {5: 60}
        grid.holder(dict(result.shares), 6).shares.clear()
        checked = await grid.grid.check(result.uri)
        assert (checked.healthy, checked.recoverable, len(checked.shares)) == (False, True, 9)
        verified = await grid.grid.verify(result.uri)
        assert sorted(verified.shares) == [0, 1, 2, 3, 7, 8, 9]
        assert [problem.share for problem in verified.corrupt] == [4, 5]


@settings(max_examples=60)
@given(offset=st.integers(0, 10_000))
def test_verify_notices_any_flipped_byte_that_matters(offset: int) -> None:
    async def play() -> None:
        async with memory_grid() as grid:
            result = await stored(grid)
            share = next(iter(grid.holder(dict(result.shares), 3).shares.values()))
            at = offset % len(share)
            grid.holder(dict(result.shares), 3).faults.flip = {(3, at)}
            blocks_end = 36 + -(-len(DATA) // 3)
            ignored = range(4, 16), range(16, 20), range(blocks_end, blocks_end + 31 * 32)
            matters = not any(at in span for span in ignored)
            assert (await grid.grid.verify(result.uri)).healthy is not matters

    asyncio.run(play())


async def test_verify_refuses_a_genuine_share_stored_under_a_wrong_number() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        one, two = (grid.holder(dict(result.shares), n) for n in (1, 2))
        (index, _), share = next(iter(one.shares.items()))
        two.shares[index, 2] = share
        assert [p.share for p in (await grid.grid.verify(result.uri)).corrupt] == [2]


async def test_a_verify_capability_can_check_and_verify_but_not_read() -> None:
    async with memory_grid() as grid:
        result = await stored(grid)
        from holdfast.caps import parse_cap

        verify_cap = parse_cap(result.uri).verify_cap.to_text()
        assert (await grid.grid.verify(verify_cap)).healthy
        with pytest.raises(NotCapableError):
            await read(grid, verify_cap)


@pytest.mark.seed("S-183")
@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("", BadCapabilityError),
        ("hello", BadCapabilityError),
        ("URI:CHK:abc", BadCapabilityError),
        ("URI:DIR2-LIT:", WrongCapabilityTypeError),
        ("URI:SSK:aaaaaaaaaaaaaaaaaaaaaaaaaa:" + "a" * 52, WrongCapabilityTypeError),
        ("URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:" + "a" * 52 + ":3:2:100", BadCapabilityError),
        ("URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:" + "a" * 52 + ":3:10:0", BadCapabilityError),
    ],
)
async def test_capabilities_that_cannot_be_read_from_are_refused_before_any_server_is_asked(
    uri: str, error: type[Exception]
) -> None:
    async with memory_grid() as grid:
        with pytest.raises(error) as raised:
            await read(grid, uri)
        assert "aaaaaaa" not in str(raised.value)
        assert grid.calls() == []


async def test_concurrent_transfers_stay_within_the_memory_budget() -> None:
    async with memory_grid(memory_max=8 << 20) as grid:
        data = [bytes([i]) * 3_000_000 for i in range(6)]
        results = await asyncio.gather(*(grid.grid.upload(DataSource(d)) for d in data))
        assert await asyncio.gather(*(read(grid, r.uri) for r in results)) == data
