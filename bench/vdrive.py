"""Measure directories at a virtual drive server: a server in a process of its own, on SQLite and on
PostgreSQL, and clients as they come, over TLS, every change on stable storage before it is answered.

    python bench/vdrive.py [--quick] [--database sqlite|postgresql] [--listed 100000] [--million 1000000]

`measure_vdrive` returns the figures; run as a program it prints them as a table. `docs/scale.md` holds those
of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parent))

from holdfast.caps import ImmutableReadCap
from holdfast.caps.vdrive import VdrivePlace, VdriveWriteCap
from holdfast.drive.nodes import Drive
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.interfaces.drive import NewChild
from holdfast.interfaces.vdrive_errors import ContendedDirectoryError
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash_bytes
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.postgres_server import postgres_server
from holdfast.testing.vdrive_directories import vdrive_node, write_cap
from holdfast.testing.vdrive_filling import fill
from holdfast.testing.vdrive_server import ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter
from holdfast_side import figure, run
from scale import Usage

JOBS = {
    "vdrive_add": ("add a child to a directory of 2,000 (virtual drive: a million)", 0.0),
    "vdrive_rate": ("add children to it, many at a time", 50.0),
}
"""What is compared with tahoe-lafs, and the least ratio that is wanted (0: none was set)."""

CHILD = ImmutableReadCap(b"k" * 16, b"h" * 32, 3, 10, 28_733).to_text()
DATABASES = ("sqlite", "postgresql")
SMALL, MIDDLE = 10, 10_000  # children
AT_ONCE = 200  # changes that one client makes at a time
WRITERS = 200
WRITER_PROCESSES = 2
SLICE_PAGES = 100
PAGE = 1000


class Sizes(NamedTuple):
    """How much is done.

    Attributes:
        large: children of the largest directory.
        listed: children of the one that is listed.
        adds: how often a child is added to each directory, one after the other.
        each: how many children each of many writers adds.
    """

    large: int
    listed: int
    adds: int
    each: int


USUAL = Sizes(1_000_000, 100_000, 400, 5)
QUICK = Sizes(100_000, 10_000, 60, 2)


# -- the server


@contextmanager
def process(directory: Path, database: str | None) -> Iterator[tuple[Nurl, int]]:
    """Run a server in a process of its own; give where it is, and the number of the process."""
    command = [sys.executable, "-m", "holdfast.testing.vdrive_server", str(directory)]
    server = subprocess.Popen(
        [*command, *([database] if database else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        yield parse_nurl(server.stdout.readline().decode().strip()), server.pid
    finally:
        server.communicate()


async def filled(directory: Path, database: str | None, count: int) -> bytes:
    """Make a directory of so many children that nobody can open; return its write key."""
    async with ServedVdrive(directory, database_url=database, accounts="open", listening=False) as server:
        writer = DirectoryWriter(server.sid)
        await server.engine.commit(writer.creation(), writer.authority())
        now = int(time.time())
        await server.engine.database.write(lambda connection: fill(connection, writer, count, now))
        return writer.keys.write_key


def place_of(nurl: Nurl) -> VdrivePlace:
    return VdrivePlace(spki_hash_bytes(nurl.spki_hash), nurl.swissnum, (nurl.address,))


# -- clients


@asynccontextmanager
async def client(memory: Path) -> AsyncIterator[VdriveClient]:
    """Give a client that remembers on disk, as that of a node does."""
    servers, remembered = VdriveServers(), VdriveMemory(memory)
    made = VdriveClient(servers, remembered, VdriveSettings(lease_seed=os.urandom(32)))
    try:
        yield made
    finally:
        await made.close()
        servers.close()
        remembered.close()


def names(count: int) -> list[str]:
    return [f"child number {number}" for number in range(count)]


async def timed(job: Awaitable[object]) -> float:
    began = time.perf_counter()
    await job
    return time.perf_counter() - began


def milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the median, and what one in a hundred takes at least."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000
    return figure(statistics.median(ordered) * 1000, "ms", ordered, p99=p99)


class Measuring:
    """One client and the figures so far."""

    def __init__(self, vdrive: VdriveClient, drive: Drive, place: VdrivePlace, sizes: Sizes) -> None:
        self.client = vdrive
        self.drive = drive
        self.place = place
        self.sizes = sizes
        self.figures: dict[str, Any] = {}

    def note(self, name: str, found: dict[str, Any]) -> None:
        """Keep a figure, and tell it."""
        self.figures[name] = found
        title, show = ROWS[name]
        print(f"  {title}: {show(found)}", file=sys.stderr, flush=True)

    def node(self, write_key: bytes) -> VdriveDirectoryNode:
        return vdrive_node(self.drive.node(VdriveWriteCap(self.place, write_key).to_text()))

    async def directory(self, count: int) -> VdriveDirectoryNode:
        """Make a directory with so many children."""
        node = self.node(os.urandom(32))
        child = NewChild(self.drive.node(CHILD))
        await self.client.create(self.place, write_cap(node).write_key)
        if count:
            await node.set_children(dict.fromkeys(names(count), child))
        return node

    # -- what is measured

    async def add_to(self, directories: dict[str, VdriveDirectoryNode]) -> None:
        """Add one child at a time, in turn to each directory, so that all have the same machine."""
        seconds: dict[str, list[float]] = {name: [] for name in directories}
        for number in range(-5, self.sizes.adds):
            for name, node in directories.items():
                taken = await timed(node.set_uri(f"new {number}", CHILD))
                if number >= 0:
                    seconds[name].append(taken)
        for name, some in seconds.items():
            self.note(f"add_{name}", milliseconds(some))

    async def add_at_once(self, node: VdriveDirectoryNode) -> None:
        """Add many at a time, as many programs of one node do."""
        count = self.sizes.adds * 5
        limit = asyncio.Semaphore(AT_ONCE)

        async def add(number: int) -> None:
            async with limit:
                await node.set_uri(f"at once {number}", CHILD)

        taken = await timed(asyncio.gather(*map(add, range(count))))
        self.note("add_at_once", figure(count / taken, "children/s", [taken]))

    async def list_all(self, node: VdriveDirectoryNode) -> None:
        """List a directory, proven: as pages, as nodes with their capabilities, and names alone."""

        async def pages() -> AsyncIterator[object]:
            async for page in node.contents.directory.iter_pages():
                for entry in page:
                    yield entry

        for name, listed in (
            ("list", pages()),
            ("list_nodes", node.iter_unordered()),
            ("list_names", node.iter_names()),
        ):
            count, began = 0, time.perf_counter()
            async for _ in listed:
                count += 1
            taken = time.perf_counter() - began
            if count != self.sizes.listed:
                raise RuntimeError(f"{count} children were listed")
            self.note(name, figure(count / taken, "children/s", [taken]))

    async def read_slice(self, index: bytes, nurl: Nurl) -> None:
        """Read the first pages of the largest directory: for the memory of the server."""
        server = HttpVirtualDriveServer([nurl])
        page = await server.page(index, limit=PAGE)
        for _ in range(SLICE_PAGES):
            if page.next is None:
                break
            page = await server.page(index, limit=PAGE, after=page.next)
        server.close()


# -- many writers


async def write_much(
    place: VdrivePlace, write_key: bytes, writers: int, each: int, directory: Path
) -> dict[str, Any]:
    """Be some of the writers, each a client of its own.

    Returns:
        When each change began and ended, and how many had to be tried again after half a minute.
    """
    cap, events = VdriveWriteCap(place, write_key), []
    told = {"too late": 0}

    async def write(number: int, node: VdriveDirectoryNode) -> None:
        for turn in range(each):
            began = time.time()
            while True:
                try:
                    await node.set_uri(f"{os.getpid()} {number} {turn}", CHILD, replace=True)
                    break
                except ContendedDirectoryError:
                    told["too late"] += 1
            events.append((began, time.time()))

    async with memory_grid(1) as grid, AsyncExitStack() as stack:
        nodes = []
        for number in range(writers):
            one = await stack.enter_async_context(client(directory / f"memory-{os.getpid()}-{number}"))
            drive = Drive(grid.grid, MemoryMutableFiles(), one)
            nodes.append(vdrive_node(drive.node(cap.to_text())))
        await asyncio.gather(*(write(number, node) for number, node in enumerate(nodes)))
    return told | {"events": events}


async def many_writers(measuring: Measuring, place: VdrivePlace, directory: Path) -> None:
    node = await measuring.directory(0)
    arguments = {
        "sid": place.sid.hex(),
        "swissnum": place.swissnum,
        "hints": list(place.hints),
        "write_key": write_cap(node).write_key.hex(),
        "writers": WRITERS // WRITER_PROCESSES,
        "each": measuring.sizes.each,
        "directory": str(directory),
    }
    command = [sys.executable, __file__, "--writers", json.dumps(arguments)]
    running = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, limit=1 << 26)
        for _ in range(WRITER_PROCESSES)
    ]
    outputs = [(await one.communicate())[0] for one in running]
    if any(one.returncode for one in running):
        raise RuntimeError("a writer did not come through")
    told = [json.loads(output) for output in outputs]
    events = [event for one in told for event in one["events"]]
    count = WRITERS * measuring.sizes.each
    listed = [name async for name in node.iter_names()]
    if not len(events) == len(set(listed)) == count:
        raise RuntimeError(f"of {count} children, {len(set(listed))} are there")
    ends = sorted(end for _, end in events)
    waits = [end - began for began, end in events]
    taken = ends[-1] - min(began for began, _ in events)
    measuring.note("writers", figure(count / taken, "children/s", [taken]))
    late = sum(one["too late"] for one in told)
    measuring.note("writers_wait", milliseconds(waits) | {"longest": max(waits), "late": late})
    gap = max((b - a for a, b in pairwise(ends)), default=0.0)
    measuring.note("writers_gap", figure(gap, "s", [gap]))


# -- all of it


async def measure(directory: Path, database: str | None, sizes: Sizes) -> dict[str, Any]:
    """Measure one server on one database."""
    began = time.perf_counter()
    large = await filled(directory, database, sizes.large)
    fill_s = time.perf_counter() - began
    with process(directory, database) as (nurl, pid):
        usage, place = Usage(pid), place_of(nurl)
        idle = usage.memory_mib()
        async with memory_grid(1) as grid, client(directory / "memory") as one:
            drive = Drive(grid.grid, MemoryMutableFiles(), one, vdrive_place=place)
            measuring = Measuring(one, drive, place, sizes)
            largest = measuring.node(large)
            middle = await measuring.directory(MIDDLE)
            small = await measuring.directory(SMALL)
            await measuring.add_to({"small": small, "middle": middle, "large": largest})
            await measuring.add_at_once(largest)
            await measuring.read_slice(write_cap(largest).index, nurl)
            measuring.note("memory", figure(usage.memory_mib("VmHWM"), "MiB", [], idle=idle))
            began = time.perf_counter()
            listed = await measuring.directory(sizes.listed)
            taken = time.perf_counter() - began
            measuring.note("fill", figure(sizes.listed / taken, "children/s", [taken]))
            await measuring.list_all(listed)
            await many_writers(measuring, place, directory)
            measuring.note("memory_highest", figure(usage.memory_mib("VmHWM"), "MiB", []))
    print(f"  ({sizes.large} children were put into the database in {fill_s:.0f} s)", file=sys.stderr)
    return measuring.figures


def measure_vdrive(directory: Path, *, quick: bool, databases: Sequence[str] = DATABASES) -> dict[str, Any]:
    """Return the figures of each database, by its name."""
    sizes, found = QUICK if quick else USUAL, {}
    for name in databases:
        place = directory / name
        place.mkdir(parents=True)
        if name == "sqlite":
            found[name] = run(measure(place, None, sizes))
        else:
            with postgres_server(durable=True) as server:
                found[name] = run(measure(place, server.new_database(), sizes))
    return found


def compared(one_by_one: dict[str, Any], many: dict[str, Any]) -> dict[str, Any]:
    """Return figures under the names of the jobs that are compared."""
    return {"vdrive_add": one_by_one, "vdrive_rate": many}


ROWS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "add_small": (f"add a child to {SMALL} children: median, 99 of 100", lambda f: spread(f)),
    "add_middle": (f"add a child to {MIDDLE:,} children", lambda f: spread(f)),
    "add_large": ("add a child to the largest directory", lambda f: spread(f)),
    "add_at_once": (f"add {AT_ONCE} at a time to it, one client", lambda f: rate(f)),
    "fill": ("fill a new directory, 1,000 children in a change", lambda f: rate(f)),
    "list": ("list it, all entries proven and their names opened", lambda f: rate(f)),
    "list_nodes": ("list it as nodes: all capabilities and metadata opened", lambda f: rate(f)),
    "list_names": ("list its names alone, proven", lambda f: rate(f)),
    "writers": (f"{WRITERS} writers, each a client, on one directory", lambda f: rate(f)),
    "writers_wait": (
        "  a change then: median, 99 of 100, longest",
        lambda f: f"{spread(f)}, {f['longest']:.1f} s",
    ),
    "writers_gap": ("  longest time in which nobody got on", lambda f: f"{f['value']:.2f} s"),
    "memory": ("memory of the server, after the additions", lambda f: f"{f['value']:.0f} MiB"),
    "memory_highest": ("memory of the server, highest of all", lambda f: f"{f['value']:.0f} MiB"),
}


def spread(found: dict[str, Any]) -> str:
    return f"{found['value']:.1f} ms, {found['p99']:.1f} ms"


def rate(found: dict[str, Any]) -> str:
    return f"{found['value']:,.0f} {found['unit']}"


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [f"| what | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}"]
    for key, (title, show) in ROWS.items():
        lines.append(f"| {title} | {' | '.join(show(figures[key]) for figures in found.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller directories, and less often")
    parser.add_argument("--database", choices=DATABASES, action="append", help="only this one")
    parser.add_argument("--writers", help="be some of many writers, as this JSON says; prints JSON")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if arguments.writers:
        told = json.loads(arguments.writers)
        place = VdrivePlace(bytes.fromhex(told["sid"]), told["swissnum"], tuple(told["hints"]))
        key, memories = bytes.fromhex(told["write_key"]), Path(told["directory"])
        print(json.dumps(run(write_much(place, key, told["writers"], told["each"], memories))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        databases = arguments.database or DATABASES
        print(table(measure_vdrive(Path(directory), quick=arguments.quick, databases=databases)))


if __name__ == "__main__":
    main()
