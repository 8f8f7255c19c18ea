"""The watch over the servers of a long-lived client. Its periods are milliseconds here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from holdfast.grid import known_server
from holdfast.grid.attempt_queue import AttemptQueue
from holdfast.grid.server_watch import ServerWatch, WatchSettings
from holdfast.interfaces.types import StorageIndex
from holdfast.testing.memory_grid import MemoryGrid, memory_grid, memory_record
from holdfast.testing.memory_storage import MemoryStorage

QUICK = WatchSettings(period_s=0.02, probe_timeout_s=0.05, suspicion_s=0.01, idle_check_s=0.01)
RARE = WatchSettings(period_s=1000, suspicion_s=0.01)


@pytest.fixture
async def grid(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryGrid]:
    monkeypatch.setattr(known_server, "RETRY_FIRST_S", 0.01)
    async with memory_grid(5) as grid:
        yield grid


def watch_of(grid: MemoryGrid, settings: WatchSettings = QUICK) -> ServerWatch:
    return ServerWatch(grid.grid.known, settings)


def states(grid: MemoryGrid) -> list[str]:
    return [server.state for server in grid.grid.servers]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


# -- seeing servers come and go


async def test_every_known_server_is_contacted_at_once(grid: MemoryGrid) -> None:
    grid.stores["s3"].faults.dead = True
    async with watch_of(grid).running():
        await until(lambda: states(grid) == ["up", "up", "up", "down", "up"])
    assert grid.grid.servers[0].version == "memory/1"


async def test_a_server_that_becomes_known_is_contacted_and_one_removed_is_left_alone(
    grid: MemoryGrid,
) -> None:
    async with watch_of(grid).running():
        grid.grid.known.add_or_change(memory_record(7))
        await until(lambda: states(grid) == ["up"] * 6)
        grid.grid.known.remove("s0")
        await asyncio.sleep(0.1)  # a probe that runs may end
        grid.forget_calls()
        await until(lambda: len(grid.stores["s7"].calls) >= 3)
        assert grid.stores["s0"].calls == []


@pytest.mark.parametrize("fault", ["dead", "hung"])
async def test_a_server_that_dies_or_hangs_is_seen_to_be_down_and_up_again_afterwards(
    grid: MemoryGrid, fault: str
) -> None:
    async with watch_of(grid).running():
        await until(lambda: states(grid) == ["up"] * 5)
        setattr(grid.stores["s2"].faults, fault, True)
        await until(lambda: states(grid) == ["up", "up", "down", "up", "up"])
        setattr(grid.stores["s2"].faults, fault, False)
        await until(lambda: states(grid) == ["up"] * 5)


async def test_a_broken_connection_makes_the_watch_ask_at_once(grid: MemoryGrid) -> None:
    async with watch_of(grid, RARE).running():
        await until(lambda: states(grid) == ["up"] * 5)
        grid.stores["s2"].faults.dead = True
        grid.stores["s2"].connection_lost()
        await until(lambda: states(grid) == ["up", "up", "down", "up", "up"])


async def test_a_server_that_ends_every_connection_is_not_asked_without_pause(grid: MemoryGrid) -> None:
    store = grid.stores["s2"]
    settings = WatchSettings(period_s=1000, suspicion_s=0.05)
    async with watch_of(grid, settings).running():
        await until(lambda: states(grid) == ["up"] * 5)
        grid.forget_calls()
        began = time.monotonic()
        while time.monotonic() < began + 0.5:
            store.connection_lost()
            await asyncio.sleep(0.002)
        assert 2 <= len(store.calls) <= (time.monotonic() - began) / 0.05 + 1


async def test_an_incompatible_server_is_not_contacted_until_it_is_compatible(grid: MemoryGrid) -> None:
    grid.grid.known.add_or_change(memory_record(0), incompatible="too old")
    async with watch_of(grid).running():
        await until(lambda: states(grid) == ["incompatible", "up", "up", "up", "up"])
        assert grid.stores["s0"].calls == []
        grid.grid.known.add_or_change(memory_record(0))
        await until(lambda: states(grid) == ["up"] * 5)


async def test_servers_that_are_down_are_tried_less_and_less(grid: MemoryGrid) -> None:
    store = grid.stores["s2"]
    store.faults.dead = True
    async with watch_of(grid).running():
        await until(lambda: len(store.calls) >= 2)
        await asyncio.sleep(0.5)
        assert len(store.calls) <= 10  # 50 without


# -- waiting for connections


async def test_waiting_for_no_connection_ends_at_once(grid: MemoryGrid) -> None:
    assert await watch_of(grid).wait_for_connections(0) == 0


async def test_waiting_ends_with_the_connection_that_was_waited_for(grid: MemoryGrid) -> None:
    for number in range(1, 5):
        grid.stores[f"s{number}"].faults.hung = True
    watch = watch_of(grid, WatchSettings(probe_timeout_s=30))
    async with watch.running():
        assert await watch.wait_for_connections(1, 5) == 1
        waiting = [asyncio.create_task(watch.wait_for_connections(2, 5)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        grid.grid.known.add_or_change(memory_record(5))
        assert await asyncio.gather(*waiting) == [2, 2, 2]


async def test_waiting_ends_at_the_time_out_with_the_number_there_is(grid: MemoryGrid) -> None:
    watch = watch_of(grid)
    async with watch.running():
        assert await watch.wait_for_connections(6, 0.1) == 5


async def test_waiting_tries_servers_again_that_are_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_server, "RETRY_FIRST_S", 1000.0)
    async with memory_grid(5) as grid:
        watch = watch_of(grid)
        for store in grid.stores.values():
            store.faults.dead = True
        async with watch.running():
            await until(lambda: states(grid) == ["down"] * 5)
            for store in grid.stores.values():
                store.faults.dead = False
            assert await watch.wait_for_connections(5, 5) == 5


# -- restraint


async def test_attempts_are_limited_in_number_at_once() -> None:
    async with memory_grid(12) as grid:
        for store in grid.stores.values():
            store.faults.hung = True
        settings = WatchSettings(attempts_at_once=4, probe_timeout_s=1000)
        async with watch_of(grid, settings).running():
            await until(lambda: len(grid.calls()) >= 4)
            await asyncio.sleep(0.02)
            assert len(grid.calls()) == 4


async def test_attempts_are_limited_in_each_second() -> None:
    async with memory_grid(12) as grid:
        settings = WatchSettings(attempts_per_s=5, period_s=1000)
        async with watch_of(grid, settings).running():
            await until(lambda: states(grid).count("up") == 5)
            await asyncio.sleep(0.3)
            assert states(grid).count("up") == 5
            await until(lambda: states(grid).count("up") == 10)


async def test_a_crowd_that_never_answers_keeps_nobody_waiting_who_is_new_or_has_answered_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_server, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(known_server, "RETRY_MAX_S", 0.01)
    async with memory_grid(1) as grid:
        settings = WatchSettings(attempts_per_s=20, period_s=1000)
        async with watch_of(grid, settings).running():
            await until(lambda: states(grid) == ["up"])
            for number in range(100, 400):  # a quarter of a minute's turns, and then again and again
                grid.stores[f"s{number}"] = dead = MemoryStorage()
                dead.faults.dead = True
                grid.grid.known.add_or_change(memory_record(number))
            await until(lambda: states(grid).count("down") >= 15)
            grid.grid.known.add_or_change(memory_record(1))
            await until(lambda: states(grid)[-1] == "up")
            grid.stores["s0"].faults.dead = True
            grid.stores["s0"].connection_lost()
            await until(lambda: states(grid)[0] == "down")
            grid.stores["s0"].faults.dead = False
            await until(lambda: states(grid)[0] == "up")


async def test_who_leaves_the_queue_takes_no_turn_with_him() -> None:
    async with memory_grid(2) as grid:
        one, other = grid.grid.known.all()

        async def at_once() -> None:
            await asyncio.sleep(0)

        queue = AttemptQueue(1, at_once)
        giving = asyncio.create_task(queue.run())

        async def attempt() -> None:
            async with queue.turn(other):
                pass

        async with queue.turn(one):
            waiting = asyncio.create_task(attempt())
            await asyncio.sleep(0.01)
            waiting.cancel()
        given = asyncio.create_task(attempt())
        await asyncio.sleep(0)
        given.cancel()
        async with asyncio.timeout(5):
            await attempt()
        giving.cancel()


async def test_incompatible_servers_take_no_turns_from_others() -> None:
    async with memory_grid(17) as grid:
        for number in range(12):
            grid.grid.known.add_or_change(memory_record(number), incompatible="too old")
        watch = watch_of(grid, WatchSettings(attempts_per_s=5))
        async with watch.running():
            assert await watch.wait_for_connections(5, 0.5) == 5


async def test_probes_of_servers_that_are_up_are_limited_in_each_second() -> None:
    async with memory_grid(12) as grid:
        settings = WatchSettings(suspicion_s=0, probes_per_s=20)
        async with watch_of(grid, settings).running():
            await until(lambda: states(grid) == ["up"] * 12)
            grid.forget_calls()
            began = time.monotonic()
            while time.monotonic() < began + 0.5:
                for store in grid.stores.values():
                    store.connection_lost()
                await asyncio.sleep(0.001)
            assert 15 <= len(grid.calls()) <= 20 * (1 + time.monotonic() - began)  # thousands without


async def test_with_many_servers_each_is_asked_less_often() -> None:
    async with memory_grid(20) as grid:
        settings = WatchSettings(period_s=0.001, probes_per_s=20, attempts_per_s=1000)
        async with watch_of(grid, settings).running():
            await until(lambda: states(grid) == ["up"] * 20)
            grid.forget_calls()
            await asyncio.sleep(0.4)
            assert grid.calls() == []  # all are due a second after they answered
            await until(lambda: len(grid.calls()) == 20)


async def test_idle_connections_beyond_the_limit_are_closed_those_unused_for_longest_first(
    grid: MemoryGrid,
) -> None:
    settings = WatchSettings(idle_max=5, idle_check_s=0.01, period_s=1000)
    async with watch_of(grid, settings).running():
        await until(lambda: states(grid) == ["up"] * 5)
        for number in (3, 0, 4, 1, 2):
            await grid.stores[f"s{number}"].list_immutable(StorageIndex(b"i" * 16))
        for server in reversed(grid.grid.known.all()):
            await server.probe(1)  # which is no use
        for store in grid.stores.values():
            store.idle = 2
        await until(lambda: sum(store.idle for store in grid.stores.values()) <= 5)
        await asyncio.sleep(0.03)
        assert [grid.stores[f"s{number}"].idle for number in (3, 0, 4, 1, 2)] == [0, 0, 0, 2, 2]


# -- the end


async def test_nothing_is_left_when_the_block_ends(grid: MemoryGrid) -> None:
    before = asyncio.all_tasks()
    grid.stores["s2"].faults.hung = True
    async with watch_of(grid, RARE).running():
        await until(lambda: states(grid).count("up") == 4)
    assert asyncio.all_tasks() == before
    grid.grid.known.add_or_change(memory_record(8))
    assert asyncio.all_tasks() == before


async def test_an_error_in_the_block_comes_out_as_it_is(grid: MemoryGrid) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with watch_of(grid).running():
            raise KeyError("mine")


async def test_a_mistake_in_the_watch_does_not_go_unseen(
    grid: MemoryGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object, timeout_s: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(known_server.KnownServer, "probe", fail)
    with pytest.raises(ZeroDivisionError):
        async with watch_of(grid).running():
            await asyncio.sleep(10)


async def test_the_watch_can_be_entered_again(grid: MemoryGrid) -> None:
    watch = watch_of(grid)
    async with watch.running():
        assert await watch.wait_for_connections(5, 5) == 5
    grid.stores["s1"].faults.dead = True
    async with watch.running():
        await until(lambda: states(grid)[1] == "down")
