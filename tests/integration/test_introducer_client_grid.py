"""Grids that form, and go on, through real introducers over TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import UnavailableError
from holdfast.grid.announced_servers import ServerFeed
from holdfast.grid.announcement_cache import AnnouncementCache
from holdfast.grid.client import Grid, open_grid
from holdfast.grid.hello import hello
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_publishing import Announcer
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.introducer import Introducer
from holdfast.node.storage_identity import create_storage_identity
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.storage.engine import open_storage
from holdfast.servers.storage.handler import storage_handler
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.introducer_clients import (
    FAST_SETTINGS,
    Heard,
    Time,
    announcer,
    introducer_client,
    until,
)
from holdfast.testing.introducer_server import ServedIntroducer
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.memory_introducer import MemoryIntroducer
from holdfast.wire.server import serve, server_ssl_context

SETTINGS = replace(FAST_SETTINGS, allow_private_addresses=True)
ENCODING = EncodingSettings(shares_needed=2, happiness=3, shares_total=4)
DAY_S = 86400
DATA = bytes(range(256)) * 1000


# -- hello and new_peers, in process and over the network


class Peer:
    """A node of 2007: it says hello, and is told of new peers."""

    def __init__(self, name: str, introducers: dict[str, Introducer], directory: Path) -> None:
        self.node = AnnouncingNode(name)
        self.told: list[frozenset[str]] = []
        self.client = introducer_client(
            introducers, signer=announcer(self.node, directory), on_new_peers=self._new_peers
        )

    async def _new_peers(self, nurls: frozenset[str]) -> None:
        self.told.append(nurls)

    @property
    def peers(self) -> frozenset[str]:
        return frozenset().union(*self.told)


@pytest.fixture(params=["in process", "over HTTP"])
async def connect_to_introducer(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[AsyncIterator[None] | object]:
    """Give what makes the reference of one node to the introducer."""
    if request.param == "in process":
        introducer = MemoryIntroducer()
        yield lambda: introducer
        return
    async with ServedIntroducer(tmp_path / "introducer") as served:
        made: list[HttpIntroducer] = []

        def connect() -> HttpIntroducer:
            made.append(HttpIntroducer(parse_nurl(served.nurl(publish=True))))
            return made[-1]

        yield connect
        for one in made:
            one.close()


@pytest.mark.seed("S-019", "S-022")
async def test_after_hello_each_node_knows_all_itself_included(
    connect_to_introducer: object, tmp_path: Path
) -> None:
    assert callable(connect_to_introducer)
    peers = [Peer(f"peer {i}", {"one": connect_to_introducer()}, tmp_path) for i in range(4)]
    nurls = {peer.node.nurl() for peer in peers}
    late = peers[3]

    async with AsyncExitStack() as stack:
        for peer in peers[:3]:
            await stack.enter_async_context(peer.client.running())
            await hello(peer.client, peer.node.nurl())
        await until(lambda: all(peer.peers == nurls - {late.node.nurl()} for peer in peers[:3]))

        await stack.enter_async_context(late.client.running())
        await hello(late.client, late.node.nurl())
        await until(lambda: all(peer.peers == nurls for peer in peers))

        # The same again says nothing new.
        await hello(late.client, late.node.nurl())
        await late.client.new_peers(frozenset(nurls))

    for peer in peers:
        assert sum(map(len, peer.told)) == len(nurls)  # each once


# -- a grid of storage servers


class Server:
    """A storage server that announces itself while it runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = create_storage_identity(directory / "private")
        self.port = 0
        self._stack = AsyncExitStack()

    async def start(self, introducers: Sequence[str], port: int = 0) -> None:
        """Serve at ``port``, 0: any, and announce it."""
        identity, tls = self.identity, str(self.identity.tls_path)
        storage = self.directory / "storage"
        engine = await self._stack.enter_async_context(
            open_storage(storage, StorageSettings(), identity.server_seed)
        )
        server = await self._stack.enter_async_context(
            serve(storage_handler(engine, identity.swissnum), "127.0.0.1", port, server_ssl_context(tls, tls))
        )
        self.port = server.port
        client = await open_client(self._stack, introducers, signer=self._announcer())
        nurl = f"pb://{identity.spki_hash}@127.0.0.1:{self.port}/{identity.swissnum}#v=1"
        properties = {"permutation-seed": identity.permutation_seed, "server-seed": identity.server_seed}
        client.publish("storage", properties, [nurl])

    async def stop(self) -> None:
        await self._stack.aclose()

    def _announcer(self) -> Announcer:
        return Announcer(
            seed=self.identity.node.signing_seed,
            tls_key=self.identity.node.tls_key(),
            nickname=self.directory.name,
            version=("0.1.0", "0.1.0"),
            sequence_file=self.directory / "private" / "announcement-seq",
        )


async def open_client(
    stack: AsyncExitStack,
    introducers: Sequence[str],
    *,
    signer: Announcer | None = None,
    cache: Path | None = None,
    clock: Time | None = None,
) -> IntroducerClient:
    made = {f"introducer {i}": HttpIntroducer(parse_nurl(nurl)) for i, nurl in enumerate(introducers)}
    for one in made.values():
        stack.callback(one.close)
    client = introducer_client(
        dict(made),
        signer=signer,
        cache=None if cache is None else AnnouncementCache(cache),
        settings=SETTINGS,
        time=clock,
    )
    await stack.enter_async_context(client.running())
    return client


@asynccontextmanager
async def open_node(
    introducers: Sequence[str], cache: Path | None = None, clock: Time | None = None
) -> AsyncIterator[tuple[Grid, IntroducerClient]]:
    """Yield a client of the grid that these introducers, or the cache, know of."""
    settings = ClientSettings(lease_secret=bytes(32), encoding=ENCODING)
    async with open_grid([], settings) as grid, AsyncExitStack() as stack:
        client = await open_client(stack, introducers, cache=cache, clock=clock)
        ServerFeed(grid.known, client, [], SETTINGS)
        yield grid, client


@asynccontextmanager
async def open_introducers(directory: Path, count: int) -> AsyncIterator[list[ServedIntroducer]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServedIntroducer(directory / f"introducer {i}"))
            for i in range(count)
        ]


def publish_nurls(introducers: Sequence[ServedIntroducer]) -> list[str]:
    return [introducer.nurl(publish=True) for introducer in introducers]


def subscribe_nurls(introducers: Sequence[ServedIntroducer]) -> list[str]:
    return [introducer.nurl(publish=False) for introducer in introducers]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[list[Server]]:
    servers = [Server(tmp_path / f"server {i}") for i in range(5)]
    yield servers
    for server in servers:
        await server.stop()


@pytest.mark.seed("S-018", "S-021", "S-022")
async def test_five_servers_and_three_clients_meet_through_two_introducers_one_of_them_dead(
    tmp_path: Path, servers: list[Server]
) -> None:
    async with open_introducers(tmp_path, 2) as introducers, AsyncExitStack() as stack:
        publish, subscribe = publish_nurls(introducers), subscribe_nurls(introducers)
        await introducers[0].stop()
        for server in servers[:4]:
            await server.start(publish)
        grids = [(await stack.enter_async_context(open_node(subscribe)))[0] for _ in range(3)]
        await until(lambda: all(len(grid.known) == 4 for grid in grids))

        await servers[4].start(publish)  # a late joiner
        await until(lambda: all(len(grid.known) == 5 for grid in grids), within_s=2)

        uri = (await grids[0].upload(DataSource(DATA))).uri
        assert (await grids[2].download(uri, DataTarget())).value == DATA
        # The other one is back, and learns of all.
        await introducers[0].start()
        await until(lambda: introducers[0].engine.counts()["announcements"] == 5)


async def test_without_introducers_and_after_restarts_the_cache_is_enough(
    tmp_path: Path, servers: list[Server]
) -> None:
    cache = tmp_path / "announcements.cbor"
    async with open_introducers(tmp_path, 2) as introducers:
        publish, subscribe = publish_nurls(introducers), subscribe_nurls(introducers)
        for server in servers:
            await server.start(publish)
        async with open_node(subscribe, cache) as (grid, _):
            await until(lambda: len(grid.known) == 5)
            uri = (await grid.upload(DataSource(DATA))).uri

    # All introducers are gone for good. The servers restart where they were.
    for server in servers:
        await server.stop()
        await server.start(publish, server.port)
    async with open_node(subscribe, cache) as (grid, client):
        assert len(grid.known) == 5
        assert (await grid.download(uri, DataTarget())).value == DATA
        await grid.upload(DataSource(DATA[1:]))
        assert not client.connected_to_introducer()

    # Long after, without a contact: the servers are read from, and get nothing new.
    later = Time(time.time() + 20 * DAY_S)
    async with open_node(subscribe, cache, later) as (grid, _):
        assert [server.uploads for server in grid.servers] == [False] * 5
        with pytest.raises(UnavailableError):
            await grid.upload(DataSource(DATA[2:]))
        assert (await grid.download(uri, DataTarget())).value == DATA
        # Those that have answered live, whatever their announcement says.
        await until(lambda: any(server.uploads for server in grid.servers))


async def test_a_server_that_moves_is_found_again_and_an_old_announcement_is_ignored(
    tmp_path: Path, servers: list[Server]
) -> None:
    async with open_introducers(tmp_path, 1) as introducers, AsyncExitStack() as stack:
        publish, server = publish_nurls(introducers), servers[0]
        await server.start(publish)
        grid, client = await stack.enter_async_context(open_node(subscribe_nurls(introducers)))
        await until(lambda: len(grid.known) == 1)
        (known,) = grid.known.all()
        old_port = known.record.nurls[0].port
        old = await introducers[0].engine.own(server.identity.node.verify_key)

        await server.stop()
        await server.start(publish)  # at another port
        await until(lambda: grid.known.all()[0].record.nurls[0].port != old_port)
        assert grid.known.all()[0].record.nurls[0].port == server.port

        hostile = MemoryIntroducer()
        hostile.faults.besides, hostile.faults.restless = old, True
        reader, heard = introducer_client({"honest": introducers[0].engine, "hostile": hostile}), Heard()
        reader.subscribe_to("storage", heard)
        async with reader.running():
            await until(lambda: hostile.calls.get("announcements", 0) > 3 and heard.news)
            await until(lambda: f":{server.port}/" in reader.known("storage")[0].nurls[0])
            await asyncio.sleep(0.05)
            assert f":{server.port}/" in reader.known("storage")[0].nurls[0]
        assert client.connected_to_introducer()


@pytest.mark.seed("X-13")
async def test_an_introducer_that_restarts_or_loses_its_database_costs_nobody_anything(
    tmp_path: Path, servers: list[Server]
) -> None:
    async with open_introducers(tmp_path, 1) as introducers, AsyncExitStack() as stack:
        (introducer,) = introducers
        for server in servers[:3]:
            await server.start(publish_nurls(introducers))
        grid, client = await stack.enter_async_context(open_node(subscribe_nurls(introducers)))
        await until(lambda: len(grid.known) == 3)
        epoch = introducer.engine.epoch

        await introducer.restart()
        assert introducer.engine.epoch == epoch
        assert introducer.engine.counts()["announcements"] == 3

        await introducer.stop()
        for file in introducer.database.parent.glob("introducer.sqlite*"):
            file.unlink()
        await introducer.start()
        assert introducer.engine.epoch != epoch
        await until(lambda: introducer.engine.counts()["announcements"] == 3)

        # The reader goes on with the new numbering.
        await servers[3].start(publish_nurls(introducers))
        await until(lambda: len(grid.known) == 4)
        assert client.connected_to_introducer()
