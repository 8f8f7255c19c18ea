"""Long polls of the introducer: woken by news of their services, by nothing else, cheaply in thousands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from holdfast.servers.introducer.waiters import PAUSE_MAX_S, Waiters


async def waiting(waiters: Waiters, *services: str, wait_s: float = 30) -> asyncio.Task[None]:
    task = asyncio.create_task(waiters.wait(services, wait_s))
    await asyncio.sleep(0)
    return task


async def settled(tasks: Collection[asyncio.Task[None]]) -> list[bool]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_news_wakes_those_who_wait_for_it() -> None:
    waiters = Waiters(0)
    tasks = [
        await waiting(waiters, "storage"),
        await waiting(waiters, "node", "storage"),
        await waiting(waiters),
        await waiting(waiters, "node"),
    ]

    waiters.news(["storage"], 1)

    assert await settled(tasks) == [True, True, True, False]
    assert (waiters.count, waiters.told) == (1, 1)
    waiters.release()
    await asyncio.gather(*tasks)
    assert waiters.count == 0


async def test_waiting_ends_in_time() -> None:
    waiters = Waiters(0)
    async with asyncio.timeout(5):
        await waiters.wait(["storage"], 0.01)
    assert waiters.count == 0


async def test_who_gives_up_is_forgotten() -> None:
    waiters = Waiters(0)
    task = await waiting(waiters, "storage", "node")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waiters.count == 0
    waiters.news(["storage", "node"], 1)


async def test_after_the_release_nobody_waits() -> None:
    waiters = Waiters(0)
    task = await waiting(waiters)
    waiters.release()
    async with asyncio.timeout(5):
        await task
        await waiters.wait([], 30)


async def test_news_close_behind_other_news_is_told_together() -> None:
    waiters = Waiters(0)
    crowd = [await waiting(waiters) for _ in range(1000)]
    waiters.news(["storage"], 1)
    assert all(await settled(crowd))
    late = [await waiting(waiters, "storage"), await waiting(waiters, "node")]

    waiters.news(["storage"], 2)
    waiters.news(["node"], 3)

    assert await settled(late) == [False, False]
    assert waiters.told == 1
    async with asyncio.timeout(PAUSE_MAX_S + 5):
        await asyncio.gather(*late)
    assert waiters.told == 3


async def test_for_a_few_nothing_is_held_back() -> None:
    waiters = Waiters(0)
    for number in range(1, 20):
        task = await waiting(waiters)
        waiters.news(["storage"], number)
        async with asyncio.timeout(0.1):
            await task


async def test_five_thousand_cost_little() -> None:
    waiters = Waiters(0)
    begun = time.process_time()
    for number in range(1, 4):
        tasks = [asyncio.create_task(waiters.wait(["storage", "node"], 50)) for _ in range(5000)]
        await asyncio.sleep(0)
        assert waiters.count == 5000
        waiters.news(["storage"], number)
        await asyncio.gather(*tasks)
    assert time.process_time() - begun < 3
