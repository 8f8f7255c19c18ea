"""A grid of real processes finds together: who joins is known in moments, who vanishes is known to
be down, introducers may die and come back, and one process can be a whole grid.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

import holdfast
from holdfast.errors import UnhappyError, WrongServerKeyError
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.grid.http_node import HttpNode
from holdfast.grid.servers import http_services
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.introducer import SignedBytes
from holdfast.interfaces.node import NoSuchServiceError
from holdfast.node.config import ClientConfig, IntroducerConfig, NodeConfig, NodeSettings, StorageConfig
from holdfast.node.control.calls import download, upload, wait_for_connections
from holdfast.node.identity import load_node_identity
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.protocol.announcement import Announcement, verified_announcement
from holdfast.protocol.nurl import parse_nurl, spki_hash
from holdfast.protocol.server_record import ServerRecord
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.node_processes import (
    ONE_OF_ONE,
    NodeProcess,
    NodeProcesses,
    Status,
    introducer_of,
    server_of,
    state_of,
)
from holdfast.testing.tcp_proxy import TcpProxy

KNOWN_S = 2.0  # until everybody knows who joined
DOWN_S = 30.0  # until everybody knows who vanished
TWO_OF_TWO = EncodingSettings(shares_needed=1, happiness=2, shares_total=2)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcesses]:
    with NodeProcesses(tmp_path_factory.mktemp("meets")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def introducer(nodes: NodeProcesses) -> NodeProcess:
    introducer = nodes.introducer()
    introducer.start()
    return introducer


@pytest.fixture(scope="module")
def amber(nodes: NodeProcesses, introducer: NodeProcess) -> NodeProcess:
    """A server that is always there, unless a test says otherwise."""
    amber = nodes.server("amber", [introducer])
    amber.start()
    return amber


@pytest.fixture(scope="module")
def clients(nodes: NodeProcesses, introducer: NodeProcess, amber: NodeProcess) -> list[NodeProcess]:
    clients = [nodes.client(name, [introducer]) for name in ("client", "other-client")]
    nodes.start(*clients)
    for client in clients:
        client.wait_for(lambda status: state_of(status, "amber") == "up")
    return clients


def put(node: NodeProcess, data: bytes, encoding: EncodingSettings = ONE_OF_ONE) -> str:
    numbers = (encoding.shares_needed, encoding.happiness, encoding.shares_total)
    return str(upload(node.client(), data, random_key=True, encoding=numbers)["uri"])


def get(node: NodeProcess, uri: str) -> bytes:
    received = io.BytesIO()
    download(node.client(), uri, received)
    return received.getvalue()


def announced(nurl: str, service: str) -> dict[str, Announcement]:
    """Return what an introducer hands out of a service, by nickname."""

    async def ask() -> dict[str, Announcement]:
        introducer = HttpIntroducer(parse_nurl(nurl))
        try:
            page = await introducer.announcements([service], 0, b"", wait_s=0)
        finally:
            introducer.close()
        found = [
            verified_announcement(ann, signature).announcement for _, ann, signature in page.announcements
        ]
        return {one.nickname: one for one in found}

    return asyncio.run(ask())


def publish(introducer: NodeProcess, *pairs: SignedBytes) -> list[str]:
    """Hand announcements in; return what became of each."""

    async def send() -> list[str]:
        service = HttpIntroducer(parse_nurl(read_introducer_nurls(introducer.private).publish))
        try:
            return [result.status for result in await service.publish(pairs)]
        finally:
            service.close()

    return asyncio.run(send())


# -- joining and vanishing


@pytest.mark.seed("S-018", "S-021", "S-022")
def test_a_server_that_joins_is_known_to_every_running_client_within_two_seconds(
    nodes: NodeProcesses, introducer: NodeProcess, clients: list[NodeProcess]
) -> None:
    nodes.server("newcomer", [introducer]).start()
    began = time.monotonic()
    for client in clients:
        status = client.wait_for(lambda status: state_of(status, "newcomer") == "up")
        assert server_of(status, "newcomer")["addresses"] == [f"127.0.0.1:{nodes['newcomer'].port}"]
    assert time.monotonic() - began < KNOWN_S
    nodes["newcomer"].stop()


def test_a_server_that_is_killed_is_marked_down_by_every_client_with_reason_and_time(
    nodes: NodeProcesses, introducer: NodeProcess, clients: list[NodeProcess]
) -> None:
    victim = nodes.server("victim", [introducer])
    victim.start()
    for client in clients:
        client.wait_for(lambda status: state_of(status, "victim") == "up")
    before = time.time()
    victim.kill()
    for client in clients:
        status = client.wait_for(lambda status: state_of(status, "victim") == "down", DOWN_S)
        seen = server_of(status, "victim")
        assert "connection refused" in seen["reason"]
        assert before - 1 <= seen["since"] <= time.time()
        assert seen["errors"] >= 1
        assert state_of(status, "amber") == "up"


def test_a_server_behind_a_black_hole_is_marked_down_within_thirty_seconds_and_comes_back(
    nodes: NodeProcesses, introducer: NodeProcess, clients: list[NodeProcess]
) -> None:
    with TcpProxy() as network:
        far = nodes.server("far", [introducer], location=[network.location])
        network.target = far.start().port
        for client in clients:
            status = client.wait_for(lambda status: state_of(status, "far") == "up")
            assert server_of(status, "far")["addresses"] == [network.location]
        before = time.time()
        network.black_hole()
        for client in clients:
            left = DOWN_S - (time.time() - before)
            status = client.wait_for(lambda status: state_of(status, "far") == "down", left)
            seen = server_of(status, "far")
            assert "hung" in seen["reason"] or "no connection" in seen["reason"]
            assert before <= seen["since"] <= before + DOWN_S
        network.heal()
        for client in clients:
            status = client.wait_for(lambda status: state_of(status, "far") == "up")
            assert server_of(status, "far")["reason"] == "answers"
        far.stop()


# -- introducers that die


def connected(status: Status) -> list[bool]:
    return [one["connected"] and one["reason"] == "answers" for one in status["introducers"]]


def test_everything_goes_on_without_its_introducer_and_it_is_found_again(
    nodes: NodeProcesses, introducer: NodeProcess, amber: NodeProcess, clients: list[NodeProcess]
) -> None:
    introducer.kill()
    first, second = clients
    first.wait_for(lambda status: "refused" in introducer_of(status, "introducer")["reason"])
    data = os.urandom(100_000)
    assert get(second, put(first, data)) == data

    # All nodes start anew, with nothing but what they remember.
    for node in (*clients, amber):
        node.stop()
    nodes.start(amber, *clients)
    for client in clients:
        client.wait_for(lambda status: state_of(status, "amber") == "up")
        assert connected(client.status()) == [False]
    assert get(second, put(first, data)) == data

    introducer.start()
    for node in (*clients, amber):
        node.wait_for(lambda status: connected(status) == [True], what="the introducer is back")
    nodes.server("after", [introducer]).start()
    for client in clients:
        client.wait_for(lambda status: state_of(status, "after") == "up")
    nodes["after"].stop()


@pytest.mark.seed("S-021")
def test_five_servers_and_three_clients_meet_through_two_introducers_one_dead_from_the_start(
    nodes: NodeProcesses, introducer: NodeProcess
) -> None:
    dead = nodes.introducer("dead")
    dead.start()
    dead.kill()
    both = [dead, introducer]
    servers = [nodes.server(f"server{number}", both) for number in range(5)]
    clients = [nodes.client(f"client{number}", both) for number in range(3)]
    nodes.start(*servers, *clients)
    for client in clients:
        status = client.wait_for(
            lambda status: [state_of(status, server.name) for server in servers] == ["up"] * 5
        )
        assert introducer_of(status, "introducer")["connected"]
        assert not introducer_of(status, "dead")["connected"]
        assert "refused" in introducer_of(status, "dead")["reason"]
    dead.start()
    for node in (*servers, *clients):
        node.wait_for(lambda status: introducer_of(status, "dead")["connected"])
    alive = {server.name for server in servers}
    deadline = time.monotonic() + 30
    while not alive <= announced(read_introducer_nurls(dead.private).publish, "storage").keys():
        assert time.monotonic() < deadline, (
            "the servers have not announced themselves to the second introducer"
        )
        time.sleep(0.1)
    for node in (*servers, *clients, dead):
        node.stop()


# -- one process as a grid


@pytest.mark.seed("S-209")
def test_one_process_with_all_services_is_a_grid_by_itself_and_with_others(nodes: NodeProcesses) -> None:
    config = NodeConfig(
        node=NodeSettings(nickname="everything"),
        storage=StorageConfig(enabled=True),
        introducer=IntroducerConfig(enabled=True),
        client=ClientConfig(enabled=True, encoding=ONE_OF_ONE),
    )
    everything = nodes.make("everything", config)
    everything.start()
    assert everything.status()["services"] == ["storage", "introducer", "client"]
    assert wait_for_connections(everything.client(), 1, 20) == 1
    data = os.urandom(50_000)
    alone = put(everything, data)
    assert get(everything, alone) == data
    assert everything.status()["storage"]["shares"] == 1

    server, client = nodes.server("second", [everything]), nodes.client("guest", [everything])
    nodes.start(server, client)
    assert wait_for_connections(everything.client(), 2, 20) == 2
    assert wait_for_connections(client.client(), 2, 20) == 2
    assert get(client, alone) == data
    spread = put(client, data, TWO_OF_TWO)
    assert everything.status()["storage"]["shares"] == 2
    assert server.status()["storage"]["shares"] == 1
    assert get(everything, spread) == data
    for node in (client, server, everything):
        assert node.stop() < 5


# -- what nodes tell of themselves


@pytest.mark.seed("S-023", "S-028", "S-029")
async def test_a_node_tells_its_versions_services_and_id_to_those_who_know_its_address(
    introducer: NodeProcess, amber: NodeProcess
) -> None:
    nurl = read_introducer_nurls(introducer.private).subscribe
    told = await asyncio.to_thread(announced, nurl, "node")
    node = HttpNode(place := parse_nurl(told["amber"].nurls[0]))
    try:
        assert await node.get_versions() == (holdfast.__version__, OLDEST_SUPPORTED)
        document = await node.get_version_document()
        assert document.protocols == {"node": [1], "storage": [1]}
        identity = load_node_identity(amber.private)
        assert place.spki_hash == identity.spki_hash
        assert await node.get_node_id32() == identity.node_id
        assert await node.get_nodeid() == identity.node_id[:20]
        storage = await node.get_service("storage")
        assert storage == await node.get_service("storageserver")
        for name in ("introducer", "control", "web", "vdrive", "../storage", ""):
            with pytest.raises(NoSuchServiceError, match="no service of this name"):
                await node.get_service(name)
    finally:
        node.close()
    record = ServerRecord(told["amber"].server_id, (parse_nurl(storage),), bytes(20), b"seed", "amber")
    service = http_services()(record, lambda error: None)
    try:
        version = await service.version()
        assert version.application_version == f"holdfast/{holdfast.__version__}"
    finally:
        service.close()


@pytest.mark.seed("S-029")
async def test_a_node_with_another_key_at_the_same_place_is_refused(introducer: NodeProcess) -> None:
    told = await asyncio.to_thread(announced, read_introducer_nurls(introducer.private).subscribe, "node")
    place = parse_nurl(told["amber"].nurls[0])
    other = replace(place, spki_hash=spki_hash(AnnouncingNode("somebody").spki))
    node = HttpNode(other)
    try:
        with pytest.raises(WrongServerKeyError, match="another TLS key"):
            await node.get_versions()
    finally:
        node.close()


@pytest.mark.seed("S-025")
def test_an_incompatible_server_is_named_with_the_reason_and_gets_no_share_nor_any_connection(
    introducer: NodeProcess, amber: NodeProcess, clients: list[NodeProcess]
) -> None:
    future = AnnouncingNode("from the future")
    with TcpProxy(amber.port) as place:
        changed = {8: "from the future", 9: ["99.0", "98.0"]}
        pair = future.announce_raw(changed, nurls=[future.nurl(place.location)])
        assert publish(introducer, pair) == ["stored"]
        for client in clients:
            status = client.wait_for(lambda status: state_of(status, "from the future") == "incompatible")
            seen = server_of(status, "from the future")
            assert seen["reason"] == (
                f"this node must upgrade: it runs {holdfast.__version__}, and the peer needs 98.0"
            )
            assert not seen["uploads"]
        client = clients[0]
        others = sum(server["state"] == "up" for server in client.status()["servers"])
        one_more = EncodingSettings(shares_needed=1, happiness=others + 1, shares_total=others + 1)
        with pytest.raises(UnhappyError):
            put(client, os.urandom(10_000), one_more)
        data = os.urandom(10_000)
        assert get(client, put(client, data)) == data
        assert place.accepted == 0
