"""A process of writers and readers of a few directories, who say what they do before and after they do it.

``python -m holdfast.testing.vdrive_crowd JSON``, a ``Crowd`` as JSON. Every change writes a text that no
other writes, so that who looks at all versions of the directories knows whose doing each was. It may be
killed; a process that is started again with the same memory goes on as the same client.

Source: docs/spec/vdrive.md, section 17, V-09.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.caps import LiteralCap, VdriveWriteCap, parse_cap
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.open_entry import OpenEntry
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.grid.vdrive.views import ChangeResult, DeleteEntry, EntriesView, EntryChange, PutEntry
from holdfast.testing.vdrive_clients import client_of, literal

NAMES = tuple(f"name {number}" for number in range(6))
DEADLINE_S = 120.0
DOINGS = ("set",) * 8 + ("delete",) * 3 + ("move",) * 5 + ("read",) * 4


@dataclass(frozen=True, slots=True)
class Crowd:
    """What one process does.

    Attributes:
        name: no other process, nor an earlier one, has it.
        caps: of the directories.
        memory: path of the client's memory.
        log: path of the file that it tells everything.
        writers: who act at the same time.
        doings: of each.
    """

    name: str
    caps: Sequence[str]
    memory: str
    log: str
    writers: int
    doings: int

    def to_text(self) -> str:
        return json.dumps(asdict(self))


class _Log:
    """Each line is there as soon as it is written, whatever becomes of the process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, op: str, **what: object) -> None:
        line = json.dumps({"op": op, "time": time.monotonic(), **what})
        os.write(self._file, line.encode() + b"\n")


class _Writer:
    def __init__(
        self, client: VdriveClient, directories: Sequence[VdriveDirectory], log: _Log, chance: random.Random
    ) -> None:
        self._client = client
        self._directories = directories
        self._log = log
        self._chance = chance
        self._seen: Sequence[Any] = ()

    async def act(self, op: str) -> None:
        """Do one thing, and tell of it."""
        doing = self._chance.choice(DOINGS)
        places = self._chance.sample(range(len(self._directories)), 2 if doing == "move" else 1)
        names = [self._chance.choice(NAMES) for _ in places]
        self._log.say(op, doing=doing, places=places, names=names)
        try:
            if doing == "read":
                view = await self._directories[places[0]].entries(NAMES)
                seen = {name: told(view.get(name)) for name in NAMES}
                self._log.say(op, versions=[view.version], changed=False, seen=[seen])
                return
            result = await self._change(doing, op, places, names)
        except HoldfastError as error:
            self._log.say(op, failed=repr(error), open=getattr(error, "may_be_applied", False))
        else:
            versions = [head.version for head in result.heads]
            self._log.say(op, versions=versions, changed=result.changed, seen=self._seen)

    async def _change(self, doing: str, op: str, places: Sequence[int], names: Sequence[str]) -> ChangeResult:
        def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
            found = [view.get(name) for view, name in zip(views, names, strict=True)]
            self._seen = [{name: told(entry)} for name, entry in zip(names, found, strict=True)]
            source = found[0]
            if doing == "set":
                return [[PutEntry(names[0], literal(op), {"op": op})]]
            if source is None:
                return [[] for _ in views]
            if doing == "delete":
                return [[DeleteEntry(names[0])]]
            moved = PutEntry(names[1], source.child, {"op": op, "from": source.metadata["op"]})
            return [[DeleteEntry(names[0])], [moved]]

        parts = [(self._directories[place], [name]) for place, name in zip(places, names, strict=True)]
        return await self._client.change(parts, plan, deadline_s=DEADLINE_S)


def told(entry: OpenEntry | None) -> tuple[str, str, str] | None:
    """Return what an entry is: its text, who wrote it, and who wrote what was moved here."""
    if entry is None:
        return None
    assert isinstance(entry.child.cap, LiteralCap)
    metadata = entry.metadata
    return entry.child.cap.data.decode(), str(metadata["op"]), str(metadata.get("from", ""))


async def run(crowd: Crowd) -> None:
    """Do all of it."""
    log = _Log(crowd.log)
    chance = random.Random(crowd.name)  # noqa: S311  (repeatable)
    servers, memory = VdriveServers(), VdriveMemory(Path(crowd.memory))
    client = client_of(servers, memory)
    caps = []
    for text in crowd.caps:
        cap = parse_cap(text)
        assert isinstance(cap, VdriveWriteCap)
        hints = tuple(chance.sample(cap.place.hints, len(cap.place.hints)))
        caps.append(VdriveWriteCap(replace(cap.place, hints=hints), cap.write_key))

    async def act(number: int) -> None:
        writer = _Writer(client, [client.directory(cap) for cap in caps], log, chance)
        for doing in range(crowd.doings):
            await writer.act(f"{crowd.name}.{number}.{doing}")

    await asyncio.gather(*map(act, range(crowd.writers)))
    await client.close()
    servers.close()
    memory.close()


if __name__ == "__main__":
    asyncio.run(run(Crowd(**json.loads(sys.argv[1]))))
