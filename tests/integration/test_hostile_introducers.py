"""Impostors of an introducer, introducers that lie, and nodes that lie to introducers: the honest
part of the grid goes on, and nobody is told what is not meant for him.
"""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from holdfast.interfaces.introducer import AnnouncementPage, PublishResult, SignedBytes
from holdfast.node.control.calls import download, upload
from holdfast.node.identity import load_node_identity
from holdfast.node.introducer_list import write_introducers
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.node.storage_identity import load_storage_identity
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.announcement import Announcement, prove_location, sign_announcement
from holdfast.protocol.introducer_calls import AnnouncementsQuery
from holdfast.protocol.nurl import Nurl, parse_nurl
from holdfast.testing.hostile_introducer import EPOCH, Eavesdropper, HostileIntroducer, cbor
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.node_processes import (
    NodeProcess,
    NodeProcesses,
    Status,
    introducer_of,
    server_of,
    state_of,
)
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.testing.tcp_proxy import TcpProxy
from holdfast.wire.http import Response

TEN_YEARS_S = 3652 * 86400
VERSION = ["0.1.0", "0.1.0"]
GROWTH_MAX = 150 << 20  # bytes of memory that lies may cost a node, whatever is sent


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcesses]:
    with NodeProcesses(tmp_path_factory.mktemp("hostile")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def introducer(nodes: NodeProcesses) -> NodeProcess:
    introducer = nodes.introducer()
    introducer.start()
    return introducer


@pytest.fixture(scope="module")
def server(nodes: NodeProcesses, introducer: NodeProcess) -> NodeProcess:
    server = nodes.server("amber", [introducer])
    server.start()
    return server


@pytest.fixture(scope="module")
def client(nodes: NodeProcesses, introducer: NodeProcess, server: NodeProcess) -> NodeProcess:
    client = nodes.client("client", [introducer])
    client.start()
    client.wait_for(lambda status: state_of(status, "amber") == "up")
    return client


def stores_and_fetches(client: NodeProcess) -> bool:
    data = os.urandom(20_000)
    uri = upload(client.client(), data, random_key=True)["uri"]
    received = io.BytesIO()
    download(client.client(), uri, received)
    return received.getvalue() == data


def memory_of_process(node: NodeProcess) -> int:
    """Return the bytes of memory that a node has in use."""
    return int(node.call("GET", "memory")["extra"]["VmRSS"])


# -- impostors


def is_refused(status: Status) -> bool:
    seen = introducer_of(status, "introducer")
    return "another TLS key" in seen["reason"] and not seen["connected"]


def test_an_impostor_of_the_introducer_is_refused_by_all_shown_and_told_nothing(
    nodes: NodeProcesses,
) -> None:
    introducer = nodes.introducer("true-introducer")
    introducer.start()
    nurls = {"introducer": read_introducer_nurls(introducer.private)}
    server = nodes.server("basil", [introducer])
    client = nodes.client("friend", [introducer])
    write_introducers(server.private, {"introducer": nurls["introducer"].publish})
    write_introducers(client.private, {"introducer": nurls["introducer"].subscribe})
    nodes.start(server, client)
    client.wait_for(lambda status: state_of(status, "basil") == "up")
    introducer.kill()

    impostor = nodes.introducer("impostor", port=introducer.port)
    impostor.configure('level = "info"', 'level = "debug"')
    impostor.start()
    client.wait_for(is_refused)
    for node in (server, client):
        node.stop()
    nodes.start(server, client)  # as they do who know the introducer only from their files
    for node in (server, client):
        node.wait_for(is_refused)
    client.wait_for(lambda status: state_of(status, "basil") == "up")
    assert stores_and_fetches(client)
    for node in (server, client, impostor):
        node.stop()

    with sqlite3.connect(impostor.private / "introducer.sqlite") as database:
        itself = load_node_identity(impostor.private).verify_key
        for table in ("in_ann", "in_key"):
            assert set(database.execute(f"SELECT vk FROM {table}")) <= {(itself,)}
    for nurl in (nurls["introducer"].publish, nurls["introducer"].subscribe):
        assert parse_nurl(nurl).swissnum not in impostor.log + impostor.output

    with Eavesdropper(nodes.directory / "ear", introducer.port) as ear:
        nodes.start(server, client)
        for node in (server, client):
            node.wait_for(is_refused)
            node.stop()
    assert ear.callers >= 2
    assert ear.heard == b""


# -- lies told to an introducer


@pytest.fixture
async def raw(introducer: NodeProcess) -> AsyncIterator[RawConnection]:
    connection = await RawConnection.open(introducer.port)
    yield connection
    await connection.close()


def authorised(introducer: NodeProcess) -> list[tuple[str, str | bytes]]:
    swissnum = parse_nurl(read_introducer_nurls(introducer.private).publish).swissnum
    return [("Authorization", calls.authorization_value(swissnum)), ("Content-Type", "application/cbor")]


async def publish(raw: RawConnection, introducer: NodeProcess, *pairs: SignedBytes) -> list[PublishResult]:
    """Hand announcements in as they are, over raw HTTPS; return what became of each."""
    body = messages.encode_publish_request(pairs)
    answer = await raw.request("POST", calls.PUBLISH_PATH, authorised(introducer), body)
    assert answer.status == 200, answer
    return messages.decode_publish_answer(answer.body)


def changed(data: bytes, at: int = -1) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + (data[at + 1 :] if at != -1 else b"")


async def test_an_introducer_takes_neither_replayed_nor_forged_nor_misdated_announcements(
    introducer: NodeProcess, client: NodeProcess, raw: RawConnection
) -> None:
    node, other, now = AnnouncingNode("liar"), AnnouncingNode("victim of lies"), int(time.time())
    older, newer = node.announce(6), node.announce(7)
    results = await publish(
        raw, introducer, newer, older, node.announce(3), newer, node.announce(7, life_s=99)
    )
    assert [one.status for one in results] == ["stored", "stale", "stale", "duplicate", "conflict"]
    assert results[1].current == newer

    stolen = other.announce_raw({3: node.verify_key, 4: 9}, nurls=[other.nurl()])
    borrowed = other.announce_raw({7: [node._raw_location(node.nurl())]})
    forged = (node.announce(8)[0], changed(node.announce(8)[1]))
    altered = (changed(node.announce(8)[0]), node.announce(8)[1])
    huge = other.announce_raw({10: {"filling": bytes(16_000)}}, nurls=[other.nurl()])
    results = await publish(raw, introducer, stolen, borrowed, forged, altered, huge)
    assert [one.status for one in results] == ["refused"] * 5
    assert all(one.reason for one in results)

    past = other.announce(1, issued=now - TEN_YEARS_S)
    future = other.announce(2, issued=now + TEN_YEARS_S)
    results = await publish(raw, introducer, past, future)
    assert [(one.status, one.reason) for one in results] == [
        ("refused", "it is expired"),
        ("refused", "it was issued in the future: a clock is wrong"),
    ]

    known = {entry["nickname"] for entry in client.status()["servers"]}
    assert "victim of lies" not in known
    assert state_of(client.status(), "amber") == "up"


async def test_oversized_and_senseless_requests_cost_an_introducer_nothing(
    introducer: NodeProcess, client: NodeProcess
) -> None:
    before = memory_of_process(introducer)
    for _ in range(10):
        for body, declared, status in (
            (b"\xff" * 1000, 1000, 400),
            (b"\x81" * 200_000, 200_000, 400),  # as deep as it is long
            (bytes(300_000), 300_000, 413),
            (b"", 10 << 30, 413),
        ):
            answer = await post(introducer, body, declared)
            assert answer.status == status, answer
    assert memory_of_process(introducer) - before < GROWTH_MAX / 3
    assert "Traceback" not in introducer.log + introducer.output
    assert introducer_of(client.status(), "introducer")["connected"]
    assert stores_and_fetches(client)


async def post(introducer: NodeProcess, body: bytes, declared: int) -> RawAnswer:
    raw = await RawConnection.open(introducer.port)
    try:
        length = ("Content-Length", str(declared))
        raw.send_head("POST", calls.PUBLISH_PATH, [*authorised(introducer), length])
        raw.send(body)
        return await raw.answer()
    finally:
        await raw.close()


# -- lies told by an introducer


class Liar:
    """Signs with the keys of a real server what that server said once, or never."""

    def __init__(self, server: NodeProcess) -> None:
        self._node = load_node_identity(server.private)
        self._storage = load_storage_identity(server.private)

    def moved_to(self, place: str, sequence: int, issued: int) -> SignedBytes:
        """Return a genuine announcement of a storage server at another place."""
        host, _, port = place.partition(":")
        nurl = Nurl("pb", self._node.spki_hash, host, int(port), self._storage.swissnum).to_text()
        announcement = Announcement(
            service="storage",
            verify_key=self._node.verify_key,
            sequence=sequence,
            issued=issued,
            expires=issued + 7 * 86400,
            locations=(prove_location(self._node.verify_key, nurl, self._node.tls_key()),),
            nickname="amber",
            version=("0.1.0", "0.1.0"),
            properties={
                "server-seed": self._storage.server_seed,
                "permutation-seed": self._storage.permutation_seed,
            },
        )
        return sign_announcement(announcement, self._node.signing_seed).bytes_pair


def knows(client: NodeProcess, hostile: dict[str, HostileIntroducer], introducer: NodeProcess) -> None:
    """Let a client that was made know an honest introducer, and others."""
    honest = read_introducer_nurls(introducer.private).subscribe
    places = {name: one.nurl for name, one in hostile.items()}
    write_introducers(client.private, {"honest": honest, **places})


def test_what_a_hostile_introducer_replays_forges_or_misdates_changes_nothing_for_honest_servers(
    nodes: NodeProcesses, introducer: NodeProcess, server: NodeProcess
) -> None:
    now, liar = int(time.time()), Liar(server)
    stranger = AnnouncingNode("stranger")
    old_clock, new_clock = AnnouncingNode("of the past"), AnnouncingNode("of the future")
    with ExitStack() as stack:
        trap = stack.enter_context(TcpProxy(server.port))
        newest = liar.moved_to(trap.location, 2**62, now)
        lies = [
            liar.moved_to(trap.location, 1, now - 86400),  # it was there once
            (newest[0], changed(newest[1])),
            (changed(newest[0], 40), newest[1]),
            (newest[0][:-1], newest[1]),
            stranger.announce_raw({3: load_node_identity(server.private).verify_key, 4: 2**62}),
            stranger.announce_raw({7: [stranger._raw_location(trap_nurl(server, trap))]}),
            stranger.announce_raw({10: {"filling": bytes(20_000)}}),
            old_clock.announce_raw(
                {5: now - TEN_YEARS_S, 6: now - TEN_YEARS_S + 86400, 8: "of the past", 9: VERSION},
                nurls=[old_clock.nurl(trap.location)],
            ),
            new_clock.announce_raw(
                {5: now + TEN_YEARS_S, 6: now + TEN_YEARS_S + 86400, 8: "of the future", 9: VERSION},
                nurls=[new_clock.nurl(trap.location)],
            ),
        ]
        hostile = stack.enter_context(HostileIntroducer(nodes.directory / "liar", lies))
        client = nodes.client("deceived", [])
        knows(client, {"liar": hostile}, introducer)
        client.start()
        status = client.wait_for(
            lambda status: (
                state_of(status, "amber") == "up"
                and "not used" in introducer_of(status, "liar")["reason"]
                and state_of(status, "of the future") == "down"
            )
        )
        assert server_of(status, "amber")["addresses"] == [f"127.0.0.1:{server.port}"]
        assert server_of(status, "of the past").get("uploads") is not True
        assert "another TLS key" in server_of(status, "of the future")["reason"]
        assert state_of(status, "stranger") == ""
        assert stores_and_fetches(client)

        # The same afterwards, as news, and in the wrong order.
        hostile.pairs += [liar.moved_to(trap.location, number, now - 86400) for number in (5, 3, 4, 3)]
        status = client.wait_for(lambda status: hostile.taken == len(hostile.pairs))
        assert server_of(status, "amber")["addresses"] == [f"127.0.0.1:{server.port}"]
        assert introducer_of(status, "honest")["reason"] == "answers"
        client.stop()
        client.start()  # nor has it remembered any of it
        status = client.wait_for(lambda status: state_of(status, "amber") == "up")
        assert server_of(status, "amber")["addresses"] == [f"127.0.0.1:{server.port}"]
        client.stop()


def trap_nurl(server: NodeProcess, trap: TcpProxy) -> str:
    return f"pb://{load_node_identity(server.private).spki_hash}@{trap.location}/swissnumswissnumswissnum#v=1"


def never_ending(length: int | None) -> Response:
    """Return an answer of so many bytes, which nobody should wait for; None: without an end."""

    async def bytes_for_ever() -> AsyncIterator[bytes]:
        piece = bytes(1 << 20)
        while True:
            yield piece
            await asyncio.sleep(0)

    return Response(200, (("Content-Type", "application/cbor"),), bytes_for_ever(), length=length)


def circles(query: AnnouncementsQuery) -> Response:
    return cbor(messages.encode_page(AnnouncementPage(EPOCH, query.since, True, [])))


NONSENSE: dict[str, Callable[[AnnouncementsQuery], Response]] = {
    "garbage": lambda query: cbor(b"\xff" * 1000),
    "deep": lambda query: cbor(b"\x81" * 1_000_000),
    "long": lambda query: never_ending(100 << 30),
    "endless": lambda query: never_ending(None),
    "web-page": lambda query: Response(200, (("Content-Type", "text/html"),), b"<html>"),
    "broken": lambda query: Response(500),
    "circles": circles,
}


def test_a_client_among_introducers_that_answer_nonsense_uses_the_honest_one(
    nodes: NodeProcesses, introducer: NodeProcess, server: NodeProcess
) -> None:
    with ExitStack() as stack:
        hostile = {
            name: stack.enter_context(HostileIntroducer(nodes.directory / name, answer=answer))
            for name, answer in NONSENSE.items()
        }
        client = nodes.client("patient", [])
        knows(client, hostile, introducer)
        client.start()
        client.wait_for(lambda status: state_of(status, "amber") == "up")
        before = memory_of_process(client)
        status = client.wait_for(lambda status: all(one.asked >= 2 for one in hostile.values()))
        reasons = {one["petname"]: one["reason"] for one in status["introducers"]}
        assert reasons.pop("honest") == "answers"
        assert set(reasons) == set(NONSENSE)
        for name, reason in reasons.items():
            assert reason.startswith(("its answer", "it broke", "it failed", "it answered")), (name, reason)
        assert stores_and_fetches(client)
        assert memory_of_process(client) - before < GROWTH_MAX
        assert "Traceback" not in client.log + client.output
        client.stop()


def test_a_crowd_of_invented_servers_is_bounded_and_leaves_room_for_honest_ones(
    nodes: NodeProcesses, introducer: NodeProcess, server: NodeProcess
) -> None:
    crowd = [invented(number) for number in range(2500)]  # 30 MB, of which half must be refused
    with HostileIntroducer(nodes.directory / "crowd") as hostile:
        client = nodes.client("besieged", [])
        knows(client, {"crowd": hostile}, introducer)
        client.start()
        client.wait_for(lambda status: state_of(status, "amber") == "up")
        before = memory_of_process(client)
        hostile.pairs += crowd
        status = client.wait_for(lambda status: hostile.taken == len(crowd))
        assert 100 < len(status["servers"]) < len(crowd) * 2 / 3
        nodes.server("newcomer", [introducer]).start()
        client.wait_for(lambda status: state_of(status, "newcomer") == "up")
        assert state_of(client.status(), "amber") == "up"
        assert stores_and_fetches(client)
        assert memory_of_process(client) - before < GROWTH_MAX
        client.stop()
        assert (client.private / "announcements.cbor").stat().st_size < 64 << 20
        nodes["newcomer"].stop()


def invented(number: int) -> SignedBytes:
    """Return a large announcement of a server that does not exist."""
    node = AnnouncingNode(f"invented {number}")
    properties = {"filling": number.to_bytes(2, "big") * 6000}
    return node.announce_raw({9: VERSION, 10: properties}, nurls=[node.nurl(f"127.0.0.1:{1 + number}")])
