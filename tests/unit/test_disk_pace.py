"""Waiting for the disk: on the event loop while it is quick, else in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from holdfast.servers.storage.disk_pace import DiskPace
from holdfast.servers.storage.workers import Workers

AT_ONCE_S = 0.01


def with_pace(job: Callable[[DiskPace], Awaitable[None]]) -> None:
    async def main() -> None:
        workers = Workers(1)
        try:
            await job(DiskPace(workers, AT_ONCE_S))
        finally:
            workers.close()

    asyncio.run(main())


def quick() -> str:
    return threading.current_thread().name


def slow() -> str:
    time.sleep(10 * AT_ONCE_S)
    return threading.current_thread().name


def test_a_disk_counts_as_slow_until_it_has_shown_otherwise() -> None:
    async def job(pace: DiskPace) -> None:
        assert not pace.quick
        assert await pace.run(quick) != threading.current_thread().name

    with_pace(job)


def test_calls_that_are_quick_are_made_on_the_event_loop() -> None:
    async def job(pace: DiskPace) -> None:
        names = [await pace.run(quick) for _ in range(20)]
        assert names[-1] == threading.current_thread().name
        assert pace.quick

    with_pace(job)


def test_after_one_slow_call_the_next_ones_go_to_a_thread_until_they_are_quick_again() -> None:
    async def job(pace: DiskPace) -> None:
        for _ in range(20):
            await pace.run(quick)
        await pace.run(slow)
        assert not pace.quick
        names = [await pace.run(quick) for _ in range(20)]
        assert names[0] != threading.current_thread().name
        assert names[-1] == threading.current_thread().name

    with_pace(job)


def test_a_failing_call_raises_and_its_time_counts_too() -> None:
    def fail() -> None:
        time.sleep(10 * AT_ONCE_S)
        raise OSError("full")

    async def job(pace: DiskPace) -> None:
        for _ in range(20):
            await pace.run(quick)
        with pytest.raises(OSError, match="full"):
            await pace.run(fail)
        assert not pace.quick
        with pytest.raises(OSError, match="full"):
            await pace.run(fail)

    with_pace(job)
