"""Many writers of a few directories, with requests and answers lost: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.caps.immutable import LiteralCap
from holdfast.formats.vdrive.head import parse_head
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.views import DeleteEntry, EntriesView, EntryChange, PutEntry
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of, literal, put

DIRECTORIES, WRITERS, COUNTERS, TOKENS = 5, 50, 3, 12


def number_in(view: EntriesView, name: str) -> int:
    entry = view.get(name)
    assert entry is not None and isinstance(entry.child.cap, LiteralCap)
    return int(entry.child.cap.data)


async def count(client: VdriveClient, directory: VdriveDirectory, name: str) -> None:
    """Add one to the number that a child is."""

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        return [[PutEntry(name, literal(f"{number_in(views[0], name) + 1}"), {})]]

    await client.change([(directory, [name])], plan, deadline_s=60)


async def move(client: VdriveClient, here: VdriveDirectory, there: VdriveDirectory, name: str) -> None:
    """Move a child, if it is here."""

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        entry = views[0].get(name)
        if entry is None:
            return [[], []]
        assert views[1].get(name) is None, "a token is in one place"
        return [[DeleteEntry(name)], [PutEntry(name, entry.child, {})]]

    await client.change([(here, [name]), (there, [name])], plan, deadline_s=60)


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
            elif self._random.random() < 0.03:
                self._server.faults.lost_answers[name] = 1
            return await call(*args, **options)

        return lossy


async def storm(server: MemoryVdriveServer, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    founder = client_of(server)
    caps = [await founder.create(server.place) for _ in range(DIRECTORIES)]
    for cap in caps:
        names = [f"counter {number}" for number in range(COUNTERS)]
        await put(founder, founder.directory(cap), *names, text="0")
    for token in range(TOKENS):
        await put(founder, founder.directory(caps[token % DIRECTORIES]), f"token {token}")
    counted: Counter[tuple[int, str]] = Counter()
    lossy = LossyServer(server, seed)
    clients = [client_of(lossy) for _ in range(WRITERS // 2)]

    async def write(number: int) -> None:
        client = clients[number // 2]  # two tasks of each client
        directories = [client.directory(cap) for cap in caps]
        for _ in range(steps):
            if chance.random() < 0.7:
                place, name = chance.randrange(DIRECTORIES), f"counter {chance.randrange(COUNTERS)}"
                await count(client, directories[place], name)
                counted[place, name] += 1
            else:
                here, there = chance.sample(range(DIRECTORIES), 2)
                token = f"token {chance.randrange(TOKENS)}"
                await move(client, directories[here], directories[there], token)

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    server.faults.lost_requests.clear()
    server.faults.lost_answers.clear()
    places: Counter[str] = Counter()
    for place, cap in enumerate(caps):
        reader = client_of(server).directory(cap.read_only)
        for entry in await reader.all_entries():
            if entry.name.startswith("token"):
                places[entry.name] += 1
            else:
                assert isinstance(entry.child.cap, LiteralCap)
                assert int(entry.child.cap.data) == counted[place, entry.name], "each count once"
    assert len(places) == TOKENS and set(places.values()) == {1}, "each token in one place"
    heads = {section.head for request in server.received for section in request.sections}
    made = {head for directory in server.directories.values() for head in directory.heads[1:]}
    assert made <= heads
    by_version = Counter((parse_head(head.head).index, parse_head(head.head).version) for head in made)
    assert max(by_version.values()) == 1


async def test_nothing_is_lost_or_done_twice_in_a_crowd_of_writers() -> None:
    await storm(MemoryVdriveServer(), 1, 4)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 8))
async def test_nothing_is_lost_or_done_twice_in_long_crowds_of_writers(seed: int) -> None:
    await storm(MemoryVdriveServer(), seed, 20)
