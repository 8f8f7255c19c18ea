"""A process that commits to a virtual drive server's database as fast as it can, until it is killed.

``python -m holdfast.testing.vdrive_crash URL`` prints a line for each commit that was acknowledged, after
that: index, version and hash of the head, hexadecimal.

Source: docs/spec/vdrive.md, section 17, V-12.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from holdfast.interfaces.vdrive import Authority, CommitRequest, Committed, Section
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.testing.vdrive_writer import DirectoryWriter

SID = b"crashing service".ljust(32, b".")
WRITERS = 6
CHANCE = random.SystemRandom()
CHILD = "URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:3:10:28733"


def settings_for(url: str) -> VdriveServerSettings:
    """Return the settings of the service."""
    return VdriveServerSettings(database=url, sid=SID, private=Path("unused"), accounts="open")


async def write_for_ever(engine: VdriveEngine) -> None:
    """Change directories of one's own, two of them at once now and then."""
    mine = [DirectoryWriter(SID), DirectoryWriter(SID)]
    authority = Authority(enablers={writer.index: writer.enabler for writer in mine})
    answer = await engine.commit(CommitRequest(tuple(one.genesis() for one in mine), ()), authority)
    names: list[set[str]] = [set(), set()]
    while True:
        for committed in answer.directories:
            acknowledge(committed)
        chosen = CHANCE.sample((0, 1), CHANCE.choice((1, 1, 2)))
        sections = tuple(_change(mine[one], names[one]) for one in chosen)
        answer = await engine.commit(CommitRequest((), sections), authority)


def _change(writer: DirectoryWriter, names: set[str]) -> Section:
    """Put some entries, new ones most often, and delete a few."""
    puts = {f"name {CHANCE.randrange(300)}" for _ in range(CHANCE.choice((1, 1, 2, 60)))}
    deletes = set(CHANCE.sample(sorted(names - puts), min(len(names - puts), CHANCE.choice((0, 1, 20)))))
    names |= puts
    names -= deletes
    return writer.section(dict.fromkeys(puts, CHILD), sorted(deletes))


def acknowledge(committed: Committed) -> None:
    """Say that a commit is done, so that whoever killed us knows it."""
    line = f"{committed.index.hex()} {committed.version} {committed.head_hash.hex()}\n"
    os.write(sys.stdout.fileno(), line.encode())


async def _serve(url: str) -> None:
    async with open_vdrive(settings_for(url)) as engine:
        await asyncio.gather(*(write_for_ever(engine) for _ in range(WRITERS)))


def main() -> None:
    """See the module."""
    asyncio.run(_serve(sys.argv[1]))


if __name__ == "__main__":
    main()
