"""Redeeming an invitation: from a real introducer, and from servers that are none, lie, hang or talk
nonsense. The secret goes to the invited key alone, every failure has an end, and no message repeats it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.crypto import base32
from holdfast.errors import HoldfastError, ServerError, WrongServerKeyError
from holdfast.grid.invitation_client import InvitationError, redeem
from holdfast.node.identity import NodeIdentity, create_node_identity
from holdfast.protocol.invitation import Invitation, Welcome, encode_welcome, pin_of
from holdfast.testing.introducer_server import ServedIntroducer
from holdfast.wire.server import server_ssl_context

NOT_USED, PERHAPS = "was not used", "may be used up"
WELCOME = Welcome("client", "ann", (f"pb://{'Q' * 43}@192.0.2.1:1/{'a' * 32}#v=1",), (1, 2, 3), "friends")

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Clock:
    """Goes as told."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def introducer(tmp_path: Path) -> AsyncIterator[ServedIntroducer]:
    async with ServedIntroducer(tmp_path / "introducer", clock=Clock()) as introducer:
        yield introducer


@pytest.fixture
def identity(tmp_path: Path) -> NodeIdentity:
    return create_node_identity(tmp_path / "keys")


def invitation_to(identity: NodeIdentity, port: int, secret: bytes | None = None) -> Invitation:
    return Invitation(secret or os.urandom(10), pin_of(identity.spki_hash), "127.0.0.1", port)


@asynccontextmanager
async def raw_server(talk: Talk, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Let ``talk`` speak on every connection; yield the port."""
    talks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def tls_of(identity: NodeIdentity) -> ssl.SSLContext:
    return server_ssl_context(str(identity.tls_path), str(identity.tls_path))


def answering(answer: bytes) -> Talk:
    """Return a talk that reads a request and sends ``answer``."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk


def answer_with(body: bytes, *, status: int = 200, media_type: str = "application/cbor") -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def failure(invitation: Invitation, timeout_s: float = 10) -> HoldfastError:
    """Return the error that redeeming ends with, which must not hold the secret."""
    with pytest.raises(HoldfastError) as caught:
        await redeem(invitation, timeout_s)
    shown = f"{caught.value} {caught.value!r}"
    assert base32.encode(invitation.secret) not in shown
    assert base32.encode(invitation.secret + invitation.pin) not in shown
    assert f"127.0.0.1:{invitation.port}" in shown
    return caught.value


# -- an introducer


@pytest.mark.parametrize("role", ["client", "server"])
async def test_who_redeems_is_told_what_the_invitation_is_for(
    introducer: ServedIntroducer, role: str
) -> None:
    secret = await introducer.engine.create_invitation(role, "zed", 60)
    welcome = await redeem(invitation_to(introducer.identity, introducer.port, secret))
    assert (welcome.role, welcome.nickname) == (role, "zed")
    assert welcome.introducers == (introducer.nurl(publish=role == "server"),)


async def test_used_expired_and_unknown_are_one_error_that_says_to_ask_again(
    introducer: ServedIntroducer,
) -> None:
    used = await introducer.engine.create_invitation("client", "", 60)
    await redeem(invitation_to(introducer.identity, introducer.port, used))
    expired = await introducer.engine.create_invitation("client", "", 60)
    assert isinstance(introducer.clock, Clock)
    introducer.clock.now += 61
    errors = [
        await failure(invitation_to(introducer.identity, introducer.port, secret))
        for secret in (used, expired, os.urandom(10))
    ]
    assert len({str(error) for error in errors}) == 1
    assert isinstance(errors[0], InvitationError)
    assert "ask for a new one" in str(errors[0])


async def test_of_many_at_once_one_gets_in(introducer: ServedIntroducer) -> None:
    secret = await introducer.engine.create_invitation("client", "", 60)
    invitation = invitation_to(introducer.identity, introducer.port, secret)
    outcomes = await asyncio.gather(*(redeem(invitation) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Welcome) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InvitationError) for outcome in outcomes) == 9


async def test_an_introducer_that_is_down_leaves_the_invitation_good(introducer: ServedIntroducer) -> None:
    secret = await introducer.engine.create_invitation("client", "", 60)
    invitation = invitation_to(introducer.identity, introducer.port, secret)
    await introducer.stop()
    error = await failure(invitation)
    assert type(error) is ServerError
    assert "connection refused" in str(error)
    assert NOT_USED in str(error)
    await introducer.start()
    assert (await redeem(invitation)).role == "client"


async def test_a_name_that_means_nothing_is_said_to(introducer: ServedIntroducer) -> None:
    with pytest.raises(ServerError, match=NOT_USED):
        await redeem(Invitation(bytes(10), bytes(16), "nowhere.invalid", 1))
    with pytest.raises(ServerError, match=NOT_USED):
        await redeem(Invitation(bytes(10), bytes(16), f"{'x' * 70}.invalid", 1))


# -- impostors


@pytest.mark.parametrize("bit", [0, 127])
async def test_another_key_gets_not_a_byte(identity: NodeIdentity, bit: int) -> None:
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())

    async with raw_server(listen, tls_of(identity)) as port:
        good = invitation_to(identity, port)
        pin = (int.from_bytes(good.pin, "big") ^ 1 << bit).to_bytes(16, "big")
        error = await failure(Invitation(good.secret, pin, good.host, port))
    assert isinstance(error, WrongServerKeyError)
    assert NOT_USED in str(error)
    assert received == b""


async def test_a_key_that_changes_between_the_two_connections_gets_not_a_byte(
    identity: NodeIdentity, tmp_path: Path
) -> None:
    other = create_node_identity(tmp_path / "other")
    context = tls_of(identity)
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context.load_cert_chain(str(other.tls_path))
        received.append(await reader.read())

    async with raw_server(listen, context) as port:
        error = await failure(invitation_to(identity, port))
    assert isinstance(error, WrongServerKeyError)
    assert b"".join(received) == b""


# -- servers that hang


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nContent-Length: 60000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("talk", "over_tls", "consequence"),
    [(hang, False, NOT_USED), (hang, True, PERHAPS), (drip, True, PERHAPS)],
)
async def test_a_hung_server_is_given_up_in_time(
    identity: NodeIdentity, talk: Talk, over_tls: bool, consequence: str
) -> None:
    async with raw_server(talk, tls_of(identity) if over_tls else None) as port:
        begin = time.monotonic()
        error = await failure(invitation_to(identity, port), timeout_s=0.4)
        assert time.monotonic() - begin < 5
    assert type(error) is ServerError
    assert "hung" in str(error)
    assert consequence in str(error)


# -- servers that talk nonsense


async def test_a_server_without_tls_is_not_told_the_secret(identity: NodeIdentity) -> None:
    received = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(talk, None) as port:
        invitation = invitation_to(identity, port)
        error = await failure(invitation)
    assert NOT_USED in str(error)
    assert base32.encode(invitation.secret).encode() not in received


GOOD = encode_welcome(WELCOME)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", PERHAPS),
        (b"220 mail.example ESMTP\r\n\r\n", PERHAPS),
        (b"x" * 200_000, PERHAPS),
        (answer_with(GOOD)[:-1], PERHAPS),
        (answer_with(b""), PERHAPS),
        (answer_with(b"\xff" * 100), PERHAPS),
        (answer_with(b"\x9f" * 60_000), PERHAPS),
        (answer_with(b"\x80"), PERHAPS),
        (answer_with(GOOD + b"\x00"), PERHAPS),
        (answer_with(GOOD.replace(b"pb://", b"pc://")), PERHAPS),
        (answer_with(GOOD.replace(b"client", b"master")), PERHAPS),
        (answer_with(bytes(64 * 1024 + 1)), PERHAPS),
        (answer_with(GOOD, media_type="text/html"), PERHAPS),
        (answer_with(GOOD, status=500), PERHAPS),
        (answer_with(GOOD, status=302), PERHAPS),
        (answer_with(GOOD, status=404), PERHAPS),
        (answer_with(b"", status=429), NOT_USED),
        (answer_with(b"", status=503), NOT_USED),
    ],
)
async def test_nonsense_is_refused_and_its_consequence_told(
    identity: NodeIdentity, answer: bytes, said: str
) -> None:
    async with raw_server(answering(answer), tls_of(identity)) as port:
        error = await failure(invitation_to(identity, port))
    assert type(error) is ServerError
    assert said in str(error)
    assert "mail.example" not in str(error)


async def test_the_answer_that_nonsense_differs_from_is_taken(identity: NodeIdentity) -> None:
    async with raw_server(answering(answer_with(GOOD)), tls_of(identity)) as port:
        assert await redeem(invitation_to(identity, port)) == WELCOME


async def test_the_request_is_sent_once_whatever_comes_of_it(identity: NodeIdentity) -> None:
    requests: list[bytes] = []

    async def take_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))

    async with raw_server(take_and_leave, tls_of(identity)) as port:
        await failure(invitation_to(identity, port))
    assert len(requests) == 1
    assert requests[0].startswith(b"POST /invitation/v1/redeem HTTP/1.1\r\n")
