"""Many writers of a few directories, with requests and answers lost: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from holdfast.formats.vdrive.head import parse_head
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of
from holdfast.testing.vdrive_counting import Crowd

WRITERS = 50


class LossyServer:
    """The server in memory over a line that loses requests and answers, and takes its time."""

    def __init__(self, server: MemoryVdriveServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self.sid, self.place = server.sid, server.place

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._server, name)

        async def lossy(*args: Any, **options: Any) -> Any:
            await asyncio.sleep(self._random.uniform(0, 0.004))
            if self._random.random() < 0.03:
                self._server.faults.lost_requests[name] = 1
            elif self._random.random() < 0.03 and name != "turn":  # nobody could write until it ends
                self._server.faults.lost_answers[name] = 1
            return await call(*args, **options)

        return lossy


async def storm(seed: int, steps: int) -> None:
    server = MemoryVdriveServer()
    crowd = Crowd(seed)
    await crowd.found(client_of(server), server.place)
    lossy = LossyServer(server, seed)
    await crowd.write([client_of(lossy) for _ in range(WRITERS // 2)], WRITERS, steps)
    server.faults.lost_requests.clear()
    server.faults.lost_answers.clear()
    await crowd.check(client_of(server))
    sent = {section.head for request in server.received for section in request.sections}
    made = [head for directory in server.directories.values() for head in directory.heads[1:]]
    assert set(made) <= sent
    by_version = Counter((parse_head(head.head).index, parse_head(head.head).version) for head in made)
    assert max(by_version.values()) == 1


async def test_nothing_is_lost_or_done_twice_in_a_crowd_of_writers() -> None:
    await storm(1, 3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 8))
async def test_nothing_is_lost_or_done_twice_in_long_crowds_of_writers(seed: int) -> None:
    await storm(seed, 20)
