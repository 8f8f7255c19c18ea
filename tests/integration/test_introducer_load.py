"""A thousand nodes and thousands of subscribers on one introducer: cheap, prompt, nothing lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from holdfast.interfaces.introducer import SignedBytes
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.servers.introducer.engine import IntroducerEngine, open_introducer
from holdfast.testing.introducer_server import SUBSCRIBE, UNLIMITED, ServedIntroducer
from holdfast.testing.introducer_suite import AnnouncingNode, published
from holdfast.testing.raw_https import RawConnection

VERIFY_KEY = bytes(range(32))
NODES = 1000
SUBSCRIBERS = 1000


@pytest.fixture(scope="module")
def announced() -> list[SignedBytes]:
    return [AnnouncingNode(f"node {number}").announce() for number in range(NODES)]


async def follow(introducer: IntroducerEngine, count: int) -> tuple[int, int]:
    """Read until ``count`` announcements were seen; return how many there were, and in how many pages."""
    seen = pages = since = 0
    while seen < count:
        page = await introducer.announcements(["storage"], since, introducer.epoch, wait_s=50)
        seen, pages, since = seen + len(page.announcements), pages + 1, page.cursor
    return seen, pages


async def test_a_thousand_nodes_announce_themselves_to_a_thousand_subscribers(
    tmp_path: Path, announced: list[SignedBytes]
) -> None:
    async with open_introducer(tmp_path / "introducer.sqlite", UNLIMITED, VERIFY_KEY) as introducer:
        begun = time.process_time()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            readers = [group.create_task(follow(introducer, NODES)) for _ in range(SUBSCRIBERS)]
            await asyncio.sleep(0)
            for one in announced:
                group.create_task(introducer.publish([one]))
        used = time.process_time() - begun

    assert {reader.result()[0] for reader in readers} == {NODES}
    assert max(reader.result()[1] for reader in readers) < 200  # told together, not one by one
    assert used < 15


async def test_five_thousand_polls_wait_at_little_cost(tmp_path: Path) -> None:
    async with open_introducer(tmp_path / "introducer.sqlite", UNLIMITED, VERIFY_KEY) as introducer:
        begun = time.process_time()
        polls = [
            asyncio.create_task(introducer.announcements(["storage"], 0, introducer.epoch, wait_s=50))
            for _ in range(5000)
        ]
        await asyncio.sleep(0.1)
        assert introducer.counts()["waiting_polls"] == 5000

        assert await published(introducer, AnnouncingNode("a").announce()) == ["stored"]
        pages = await asyncio.gather(*polls)

        assert time.process_time() - begun < 3
        assert all(page is pages[0] for page in pages)  # one page, made once


@pytest.mark.seed("S-021")
async def test_hundreds_of_polls_over_tls_are_answered_by_one_publication(tmp_path: Path) -> None:
    async with ServedIntroducer(tmp_path) as introducer:
        connections = [await RawConnection.open(introducer.port) for _ in range(200)]
        query = calls.announcements_query(["storage"], 0, introducer.engine.epoch, 50)
        for connection in connections:
            connection.send_head("GET", f"{calls.ANNOUNCEMENTS_PATH}?{query}", introducer.headers(SUBSCRIBE))
        async with asyncio.timeout(20):
            while introducer.engine.counts()["waiting_polls"] < len(connections):
                await asyncio.sleep(0.01)
        one = AnnouncingNode("a").announce()

        begun = time.monotonic()
        await published(introducer.engine, one)
        answers = await asyncio.gather(*(connection.answer() for connection in connections))

        assert time.monotonic() - begun < 5
        for answer in answers:
            page = messages.decode_page(answer.body)
            assert [(ann, signature) for _, ann, signature in page.announcements] == [one]
        await asyncio.gather(*(connection.close() for connection in connections))
