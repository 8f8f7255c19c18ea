"""Crowds of writers in processes of their own, some of which are killed, at servers that are killed and cut
off: what they were told has a serial execution, nothing acknowledged is lost, no move is done by half (V-09).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from holdfast.caps import VdriveWriteCap
from holdfast.formats.vdrive.head import parse_head
from holdfast.formats.vdrive.open_entry import EntryOpener
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.servers.vdrive.checking import check
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.vdrive_clients import client_of, names_in
from holdfast.testing.vdrive_crowd import Crowd, told
from holdfast.testing.vdrive_histories import (
    BrokenHistoryError,
    Doing,
    State,
    Summary,
    Told,
    check_history,
    told_in,
)
from holdfast.testing.vdrive_processes import VdriveProcess, place_of
from holdfast.testing.vdrive_server import ServedVdrive

DIRECTORIES = 5
TIMEOUT_S = 600


class Crowds:
    """Processes of writers, each with a memory of its own."""

    def __init__(self, directory: Path, caps: Sequence[VdriveWriteCap], writers: int, doings: int) -> None:
        self.directory = directory
        self.logs: list[Path] = []
        self._caps = [cap.to_text() for cap in caps]
        self._writers = writers
        self._doings = doings
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int) -> None:
        """Start one, for the first time or, with what it remembers, again."""
        name = f"{number}-{len(self.logs)}"
        log, memory = self.directory / f"log {name}", self.directory / f"memory {number}"
        crowd = Crowd(name, self._caps, str(memory), str(log), self._writers, self._doings)
        self.logs.append(log)
        log.touch()
        command = [sys.executable, "-m", "holdfast.testing.vdrive_crowd", crowd.to_text()]
        self._running[number] = subprocess.Popen(command, stderr=subprocess.PIPE)

    def kill(self, number: int) -> None:
        self._running[number].kill()
        self._running.pop(number).communicate()

    def finish(self) -> None:
        """Wait for those that were not killed."""
        for process in self._running.values():
            _, errors = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, errors.decode()[-3000:]

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.communicate()

    def progress(self) -> int:
        """Return how much was done so far."""
        return sum(log.read_bytes().count(b"versions") for log in self.logs)

    def until(self, count: int) -> None:
        """Wait until so much is done, or everybody is ready."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.progress() < count and any(one.poll() is None for one in self._running.values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(params=["sqlite", "postgresql"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[VdriveProcess]]:
    """One server on SQLite, or two on one PostgreSQL. What they leave is checked."""
    with ExitStack() as stack:
        urls: list[str | None] = [None]
        if request.param == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            urls = [postgres.new_database()] * 2
        servers = [stack.enter_context(VdriveProcess(tmp_path / "server", url)) for url in urls]
        for server in servers:
            server.start()
        yield servers


async def test_what_crowds_were_told_has_a_serial_execution(
    services: list[VdriveProcess], tmp_path: Path
) -> None:
    summary = await storm(services, tmp_path, crowds=2, writers=4, doings=25)
    assert summary.acknowledged > 60


@pytest.mark.soak
async def test_what_large_crowds_were_told_has_a_serial_execution(
    services: list[VdriveProcess], tmp_path: Path
) -> None:
    summary = await storm(services, tmp_path, crowds=5, writers=10, doings=60)
    assert summary.acknowledged > 1000


async def storm(
    servers: Sequence[VdriveProcess], directory: Path, *, crowds: int, writers: int, doings: int
) -> Summary:
    """Let crowds write, do to them what happens to machines and networks, and check what they were told."""
    found = VdriveServers()
    client = client_of(found)
    caps = [await client.create(place_of(*servers)) for _ in range(DIRECTORIES)]
    crowd = Crowds(directory, caps, writers, doings)
    try:
        for number in range(crowds):
            crowd.start(number)
        happenings = what_happens(crowd, servers)
        step = crowds * writers * doings // (len(happenings) + 2)
        for turn, happens in enumerate(happenings, 1):
            await asyncio.to_thread(crowd.until, turn * step)
            await asyncio.to_thread(happens)
        await asyncio.to_thread(crowd.finish)
    finally:
        crowd.end()
    shown = [await names_in(client.directory(cap.read_only)) for cap in caps]
    await client.close()
    found.close()
    for server in servers:
        server.stop()
    url = servers[0].database_url
    async with ServedVdrive(servers[0].directory, database_url=url, listening=False) as served:
        assert (await served.engine.database.read(check)).problems == []
        states = [await states_of(served.engine, cap) for cap in caps]
    assert shown == [versions[-1].keys() for versions in states]
    summary = check_history(told_in(crowd.logs), states)
    print(summary)
    return summary


def what_happens(crowd: Crowds, servers: Sequence[VdriveProcess]) -> list[Callable[[], None]]:
    first, last = servers[0], servers[-1]

    def die(server: VdriveProcess) -> None:
        server.kill()
        server.start()

    def cut(server: VdriveProcess) -> None:
        server.proxy.cut()
        server.proxy.heal()

    def swallow(server: VdriveProcess) -> None:
        server.proxy.black_hole()
        time.sleep(0.2)
        server.proxy.heal()

    def exchange(number: int) -> None:
        crowd.kill(number)
        crowd.start(number)

    return [
        lambda: die(first),
        lambda: cut(last),
        lambda: exchange(0),
        lambda: swallow(first),
        lambda: die(last),
        lambda: cut(first),
    ]


async def states_of(engine: VdriveEngine, cap: VdriveWriteCap) -> list[State]:
    """Return a directory at each version."""
    opener = EntryOpener(cap.keys.read, cap.keys)
    opened: dict[tuple[bytes, int], tuple[str, Told]] = {}
    newest = parse_head((await engine.describe(cap.index)).head.head).version
    states: list[State] = []
    for version in range(newest + 1):
        page = await engine.page(cap.index, at=version)
        assert page.next is None
        for sealed in page.entries:
            if sealed[:2] not in opened:
                entry = opener.open(sealed)
                one = told(entry)
                assert one is not None
                opened[sealed[:2]] = entry.name, Told(*one)
        states.append(dict(opened[sealed[:2]] for sealed in page.entries))
    return states


# -- the checker


def put(op: str, begin: float, end: float, version: int, *, place: int = 0, name: str = "n") -> Doing:
    return Doing(op, "set", [place], [name], begin, end, [version], True, [{name: None}])


def by(op: str, source: str = "") -> Told:
    return Told("text", op, source)


def moved(begin: float = 2, end: float = 3, versions: Sequence[int] = (2, 1)) -> Doing:
    return Doing("b", "move", [0, 1], ["n", "m"], begin, end, versions, True, [{"n": by("a")}, {"m": None}])


A = put("a", 0, 1, 1)
LOOK = Doing("r", "read", [0], ["n"], 2, 3, [1], False, [{"n": by("a")}])
B_THEN_A: list[list[State]] = [[{}, {"n": by("b")}, {"n": by("b"), "m": by("a")}]]
MOVED_STATES: list[list[State]] = [[{}, {"n": by("a")}, {}], [{}, {"m": by("b", "a")}]]


@pytest.mark.parametrize(
    ("doings", "states"),
    [
        ([A, LOOK], [[{}, {"n": by("a")}]]),
        ([A, moved()], MOVED_STATES),
        ([A, Doing("b", "move", [0, 1], ["n", "m"], 2)], MOVED_STATES),
        ([A, Doing("b", "move", [0, 1], ["n", "m"], 2)], [MOVED_STATES[0][:2], [{}]]),
        ([A, Doing("b", "delete", [0], ["n"], 2)], MOVED_STATES[:1]),
        (
            [put("a", 0, 5, 2, name="m"), put("b", 0, 5, 1)],
            [[{}, {"n": by("b")}, {"n": by("b"), "m": by("a")}]],
        ),
    ],
)
def test_histories_that_can_be(doings: Sequence[Doing], states: Sequence[Sequence[State]]) -> None:
    check_history({doing.op: doing for doing in doings}, states)


@pytest.mark.parametrize(
    ("doings", "states", "why"),
    [
        ([A], [[{}]], "lost"),
        ([A], [[{}, {"n": by("x")}]], "nobody tells"),
        ([A, Doing("d", "delete", [0], ["m"], 2)], [[{}, {"n": by("a")}, {}]], "by nobody"),
        ([A], [[{}, {"n": by("a")}, {}, {"n": by("a")}]], "done twice"),
        ([Doing("a", "set", [0], ["n"], 0, failed=True)], [[{}, {"n": by("a")}]], "though it failed"),
        ([A, Doing("b", "move", [0, 1], ["n", "m"], 2)], [MOVED_STATES[0][:2], MOVED_STATES[1]], "by half"),
        ([A, Doing("b", "move", [0, 1], ["n", "m"], 2)], [MOVED_STATES[0], [{}]], "by nobody"),
        ([A, LOOK], [[{}, {"n": by("a")}, {}]], "by nobody"),
        (
            [A, moved(end=2.5), Doing("r", "read", [0], ["n"], 3, 4, [1], False, [{"n": by("a")}])],
            MOVED_STATES,
            "no order",
        ),
        ([A, moved(), Doing("r", "read", [1], ["m"], 2, 3, [1], False, [{"m": None}])], MOVED_STATES, "saw"),
        (
            [put("a", 2, 3, 1), put("b", 0, 1, 2, name="m")],
            [[{}, {"n": by("a")}, {"n": by("a"), "m": by("b")}]],
            "no order",
        ),
    ],
)
def test_histories_that_cannot_be(
    doings: Sequence[Doing], states: Sequence[Sequence[State]], why: str
) -> None:
    with pytest.raises(BrokenHistoryError, match=why):
        check_history({doing.op: doing for doing in doings}, states)
