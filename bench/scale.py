"""How large a grid may grow: one introducer with many nodes and subscribers, one client
that knows many servers. Prints figures; `docs/scale.md` holds those of one run.

    python bench/scale.py introducer [--nodes 1000] [--subscribers 1000]
    python bench/scale.py client [--servers 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from holdfast import __version__
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.introducer import SignedBytes
from holdfast.node.config import NodeSettings
from holdfast.node.control.calls import call
from holdfast.node.creation import create_client_node, create_introducer
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.protocol.announcement import LIFE_DEFAULT_S, Announcement, prove_location, sign_announcement
from holdfast.protocol.nurl import Nurl, parse_nurl
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.node_processes import NodeProcess
from holdfast.testing.storage_server import ServedStorage
from holdfast.wire.local_client import LocalClient
from holdfast.wire.pinning import pinning_ssl_context

NO_EPOCH = bytes(16)
FARM_PROCESSES = 10
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
IDLE_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    introducer = commands.add_parser("introducer")
    introducer.add_argument("--nodes", type=int, default=1000)
    introducer.add_argument("--subscribers", type=int, default=1000)
    client = commands.add_parser("client")
    client.add_argument("--servers", type=int, default=1000)
    farm = commands.add_parser("farm")
    farm.add_argument("directory", type=Path)
    farm.add_argument("servers", type=int)
    arguments = parser.parse_args()
    if arguments.command == "farm":
        asyncio.run(run_farm(arguments.directory, arguments.servers))
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-scale-") as place:
        if arguments.command == "introducer":
            asyncio.run(measure_introducer(Path(place), arguments.nodes, arguments.subscribers))
        else:
            asyncio.run(measure_client(Path(place), arguments.servers))


# -- what is measured


class Usage:
    """Memory and processor time of another process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def memory_mib(self, name: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise ValueError(name)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def say(what: str, value: str) -> None:
    print(f"{what:64} {value}", flush=True)


@asynccontextmanager
async def introducer_process(place: Path) -> AsyncIterator[tuple[NodeProcess, Usage]]:
    create_introducer(place, NodeSettings(nickname="scale"))
    process = NodeProcess(place)
    running = await asyncio.to_thread(process.start)
    try:
        yield process, Usage(running.pid)
    finally:
        process.end()


# -- one introducer


async def measure_introducer(place: Path, nodes: int, subscribers: int) -> None:
    async with introducer_process(place / "introducer") as (process, usage), AsyncExitStack() as stack:
        nurls = read_introducer_nurls(process.private)
        say("introducer, nobody there: memory", f"{usage.memory_mib():.0f} MiB")
        announced = [AnnouncingNode(f"node {i}").announce() for i in range(nodes)]
        context = pinning_ssl_context()

        def connect(nurl: str) -> HttpIntroducer:
            introducer = HttpIntroducer(parse_nurl(nurl), context)
            stack.callback(introducer.close)
            return introducer

        followers = [Follower(connect(nurls.subscribe), nodes) for _ in range(subscribers)]
        publishers = [connect(nurls.publish) for _ in range(nodes)]
        began, cpu = time.monotonic(), usage.cpu_s()
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.first())
        say(f"{subscribers} subscribers connect: seconds, CPU", f"{elapsed(began)}, {spent(usage, cpu)}")
        began, cpu = time.monotonic(), usage.cpu_s()
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.until_all())
            for publisher, one in zip(publishers, announced, strict=True):
                group.create_task(publisher.publish([one]))
        say(
            f"{nodes} nodes announce, all hear of all: seconds, CPU", f"{elapsed(began)}, {spent(usage, cpu)}"
        )
        say("memory with all connected", f"{usage.memory_mib():.0f} MiB")
        await measure_waiting(followers, publishers[0], usage)
        say("highest memory of the introducer", f"{usage.memory_mib('VmHWM'):.0f} MiB")


async def measure_waiting(followers: Sequence[Follower], publisher: HttpIntroducer, usage: Usage) -> None:
    """All wait; one more node comes."""
    waiting = [asyncio.create_task(follower.next()) for follower in followers]
    await asyncio.sleep(1)
    cpu = usage.cpu_s()
    await asyncio.sleep(IDLE_S)
    say("all wait: CPU", f"{100 * (usage.cpu_s() - cpu) / IDLE_S:.1f} % of a core")
    began, cpu = time.monotonic(), usage.cpu_s()
    await publisher.publish([AnnouncingNode("one more").announce()])
    arrived = sorted([await task - began for task in waiting])
    half, last = arrived[len(arrived) // 2], arrived[-1]
    say(
        "one more node: half know it after, all after, CPU",
        f"{half:.2f} s, {last:.2f} s, {spent(usage, cpu)}",
    )


class Follower:
    """A subscriber that reads all there is."""

    def __init__(self, introducer: HttpIntroducer, expected: int) -> None:
        self._introducer = introducer
        self._expected = expected
        self._epoch, self._since, self._seen = NO_EPOCH, 0, 0

    async def first(self) -> None:
        page = await self._introducer.announcements(["storage"], 0, NO_EPOCH, wait_s=0)
        self._epoch = page.epoch

    async def until_all(self) -> None:
        while self._seen < self._expected:
            await self.next()

    async def next(self) -> float:
        """Wait for news; return when they came."""
        page = await self._introducer.announcements(["storage"], self._since, self._epoch, wait_s=50)
        self._since, self._seen = page.cursor, self._seen + len(page.announcements)
        return time.monotonic()


def elapsed(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def spent(usage: Usage, before: float) -> str:
    return f"{usage.cpu_s() - before:.1f} s"


# -- one client


async def measure_client(place: Path, servers: int) -> None:
    (place / "f").write_bytes(os.urandom(1_000_000))
    async with introducer_process(place / "introducer") as (process, _), AsyncExitStack() as stack:
        nurls = read_introducer_nurls(process.private)
        announced = await start_farms(stack, place, servers)
        introducer = HttpIntroducer(parse_nurl(nurls.publish))
        stack.callback(introducer.close)
        for pair in announced:
            await introducer.publish([pair])
        say("servers announced", str(len(announced)))
        create_client_node(
            place / "client", EncodingSettings(), nickname="client", introducers={"scale": nurls.subscribe}
        )
        client = NodeProcess(place / "client")
        stack.callback(client.end)
        for start in ("first start, nothing remembered", "second start, all remembered"):
            await measure_start(client, start, place / "f", servers)
            await asyncio.to_thread(client.stop)


async def measure_start(client: NodeProcess, start: str, file: Path, servers: int) -> None:
    began = time.monotonic()
    running = await asyncio.to_thread(client.start)
    say(f"{start}: the node serves after", elapsed(began))
    control, usage = LocalClient(client.private), Usage(running.pid)
    while (known := len((await status(control))["servers"])) < servers:
        assert time.monotonic() - began < 60, known
        await asyncio.sleep(0.02)
    say("  knows all servers after", elapsed(began))
    with open(file, "rb") as source:
        answer = await asyncio.to_thread(
            lambda: control.request("POST", "/control/v1/upload", body=source, length=file.stat().st_size)
        )
        assert answer.status == 200, answer.status
        answer.read_json()
    say("  has stored a file of 1 MB after", elapsed(began))
    while sum(s["state"] == "up" for s in (await status(control))["servers"]) < servers:
        assert time.monotonic() - began < 180
        await asyncio.sleep(0.2)
    say("  has met every server, without haste, after", elapsed(began))
    say("  memory then, and at most", f"{usage.memory_mib():.0f} MiB, {usage.memory_mib('VmHWM'):.0f} MiB")
    cpu = usage.cpu_s()
    await asyncio.sleep(IDLE_S)
    say("  watches over all of them with", f"{100 * (usage.cpu_s() - cpu) / IDLE_S:.0f} % of a core")


async def status(control: LocalClient) -> dict[str, list[dict[str, object]]]:
    return await asyncio.to_thread(call, control, "GET", "status")


# -- many servers in few processes


async def start_farms(stack: AsyncExitStack, place: Path, servers: int) -> list[SignedBytes]:
    """Start real storage servers; return their announcements."""
    processes = min(FARM_PROCESSES, servers)
    announced: list[SignedBytes] = []
    for i in range(processes):
        count = servers // processes + (i < servers % processes)
        farm = subprocess.Popen(
            [sys.executable, __file__, "farm", str(place / f"farm{i}"), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.callback(farm.communicate)
        stack.callback(farm.kill)
        assert farm.stdout is not None
        for ann, signature in json.loads(await asyncio.to_thread(farm.stdout.readline)):
            announced.append((bytes.fromhex(ann), bytes.fromhex(signature)))
    return announced


async def run_farm(directory: Path, count: int) -> None:
    """Run ``count`` servers; print their announcements; end with standard input."""
    async with AsyncExitStack() as stack:
        announced = []
        for i in range(count):
            place = directory / f"s{i}"
            place.mkdir(parents=True)
            server = await stack.enter_async_context(ServedStorage(place))
            announced.append([part.hex() for part in announcement_of(server, f"{directory.name}-{i}")])
        print(json.dumps(announced), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def announcement_of(server: ServedStorage, nickname: str) -> SignedBytes:
    identity = server.identity
    node, issued = identity.node, int(time.time())
    nurl = Nurl("pb", node.spki_hash, "127.0.0.1", server.port, identity.swissnum).to_text()
    announcement = Announcement(
        service="storage",
        verify_key=node.verify_key,
        sequence=1,
        issued=issued,
        expires=issued + LIFE_DEFAULT_S,
        locations=(prove_location(node.verify_key, nurl, node.tls_key()),),
        nickname=nickname,
        version=(__version__, OLDEST_SUPPORTED),
        properties={
            "permutation-seed": identity.permutation_seed,
            "server-seed": identity.server_seed,
            "accepts": True,
        },
    )
    return sign_announcement(announcement, node.signing_seed).bytes_pair


if __name__ == "__main__":
    main()
