"""A crowd of writers of a few directories, and the proof afterwards that nothing was lost or done twice.

Numbers are counted up, so that a lost or doubled change shows; children are moved about, so that half a move
shows.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

from holdfast.caps.immutable import LiteralCap
from holdfast.caps.vdrive import VdrivePlace, VdriveWriteCap
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.views import DeleteEntry, EntriesView, EntryChange, PutEntry
from holdfast.testing.vdrive_clients import literal, put

DIRECTORIES, COUNTERS, TOKENS = 5, 3, 12
DEADLINE_S = 100.0


class Crowd:
    """Attributes:
    caps: of the directories.
    counted: how often each child was counted up, by the number of its directory and its name.
    """

    def __init__(self, seed: int) -> None:
        self.caps: list[VdriveWriteCap] = []
        self.counted: Counter[tuple[int, str]] = Counter()
        self._random = random.Random(seed)  # noqa: S311  (the same crowd each time)

    async def found(self, client: VdriveClient, place: VdrivePlace) -> None:
        """Make the directories, and what is in them."""
        self.caps = [await client.create(place) for _ in range(DIRECTORIES)]
        for number, cap in enumerate(self.caps):
            directory = client.directory(cap)
            await put(client, directory, *(f"counter {one}" for one in range(COUNTERS)), text="0")
            tokens = [f"token {one}" for one in range(TOKENS) if one % DIRECTORIES == number]
            await put(client, directory, *tokens)

    async def write(self, clients: Sequence[VdriveClient], writers: int, steps: int) -> None:
        """Let so many writers, in the tasks of these clients, do so many things each."""
        await asyncio.gather(*(self._write(clients[one % len(clients)], steps) for one in range(writers)))

    async def check(self, client: VdriveClient) -> None:
        """Raise AssertionError unless everything was done once."""
        places: Counter[str] = Counter()
        for number, cap in enumerate(self.caps):
            for entry in await client.directory(cap.read_only).all_entries():
                if entry.name.startswith("token"):
                    places[entry.name] += 1
                else:
                    count = _number(entry.child.cap)
                    assert count == self.counted[number, entry.name], "each count is there once"
        assert len(places) == TOKENS and set(places.values()) == {1}, "each token is in one place"

    async def _write(self, client: VdriveClient, steps: int) -> None:
        directories = [client.directory(cap) for cap in self.caps]
        for _ in range(steps):
            if self._random.random() < 0.7:
                place = self._random.randrange(DIRECTORIES)
                name = f"counter {self._random.randrange(COUNTERS)}"
                await count(client, directories[place], name)
                self.counted[place, name] += 1
            else:
                here, there = self._random.sample(directories, 2)
                await move(client, here, there, f"token {self._random.randrange(TOKENS)}")


async def count(client: VdriveClient, directory: VdriveDirectory, name: str) -> None:
    """Add one to the number that a child is."""

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        entry = views[0].get(name)
        assert entry is not None
        return [[PutEntry(name, literal(f"{_number(entry.child.cap) + 1}"), {})]]

    await client.change([(directory, [name])], plan, deadline_s=DEADLINE_S)


async def move(client: VdriveClient, here: VdriveDirectory, there: VdriveDirectory, name: str) -> None:
    """Move a child, if it is here."""
    await client.change([(here, [name]), (there, [name])], moving(name), deadline_s=DEADLINE_S)


def moving(name: str) -> Callable[[Sequence[EntriesView]], list[list[EntryChange]]]:
    """Return the plan that moves a child from the first directory to the second, if it is there."""

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        entry = views[0].get(name)
        if entry is None:
            return [[], []]
        assert views[1].get(name) is None, "it is in one place"
        return [[DeleteEntry(name)], [PutEntry(name, entry.child, {})]]

    return plan


def _number(cap: object) -> int:
    assert isinstance(cap, LiteralCap)
    return int(cap.data)
