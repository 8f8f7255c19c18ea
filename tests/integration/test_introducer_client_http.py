"""The introducer's client over real TLS: it does what the engine does, and survives whatever answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid import cbor_service
from holdfast.grid.cbor_service import RefusedCallError
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.interfaces.introducer import AnnouncementPage, IntroducerVersion, PublishResult
from holdfast.node.identity import NodeIdentity, create_node_identity
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.nurl import Nurl, parse_nurl
from holdfast.testing.introducer_clients import FAST, FAST_SETTINGS, Heard, introducer_client, until
from holdfast.testing.introducer_server import ServedIntroducer
from holdfast.testing.introducer_suite import NO_EPOCH, AnnouncingNode, IntroducerSuite
from holdfast.wire.http import Handler, Request, Response
from holdfast.wire.server import ServerLimits, serve, server_ssl_context

SECRET = "veryverysecretswissnumswissnum22"
CBOR = (("Content-Type", "application/cbor"),)


class TestHttpIntroducer(IntroducerSuite):
    @pytest.fixture
    async def introducer(self, tmp_path: Path) -> AsyncIterator[HttpIntroducer]:
        async with ServedIntroducer(tmp_path) as served:
            introducer = HttpIntroducer(parse_nurl(served.nurl(publish=True)))
            yield introducer
            introducer.close()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> NodeIdentity:
    return create_node_identity(tmp_path_factory.mktemp("identity") / "private")


@asynccontextmanager
async def answering(
    identity: NodeIdentity, handler: Handler, *, pinned: str | None = None
) -> AsyncIterator[HttpIntroducer]:
    """Yield a client of whatever ``handler`` pretends to be."""
    tls = str(identity.tls_path)
    limits = ServerLimits(stop_s=0.05)
    async with serve(handler, "127.0.0.1", 0, server_ssl_context(tls, tls), limits) as server:
        introducer = HttpIntroducer(
            Nurl("pb", pinned or identity.spki_hash, "127.0.0.1", server.port, SECRET)
        )
        try:
            yield introducer
        finally:
            introducer.close()


def always(response: Response) -> Handler:
    async def answer(request: Request) -> Response:
        return response

    return answer


async def every_call(introducer: HttpIntroducer) -> list[Exception]:
    """Make every call; return what each raises."""
    errors: list[Exception] = []
    announced = AnnouncingNode("a").announce()
    for call in (
        introducer.version(),
        introducer.publish([announced]),
        introducer.announcements(["storage"], 0, NO_EPOCH, wait_s=1),
        introducer.announcements(["storage"], 0, NO_EPOCH, wait_s=0),
        introducer.own(bytes(32)),
    ):
        with pytest.raises(ServerError) as caught:
            await call
        errors.append(caught.value)
    return errors


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xa0",
        b"\x80",
        b"\xf6",
        b"\xff" * 100,
        b"\xbf" * 1000,
        messages.encode_error("X", SECRET),
    ],
)
async def test_nonsense_is_an_error_that_repeats_nothing_of_it(identity: NodeIdentity, body: bytes) -> None:
    async with answering(identity, always(Response(200, CBOR, body))) as introducer:
        for error in await every_call(introducer):
            assert "malformed" in str(error)
            assert SECRET not in repr(error) + str(error.__cause__) + str(error.__context__)


@pytest.mark.parametrize("headers", [(), (("Content-Type", "text/html"),)])
async def test_something_else_than_cbor_is_refused(
    identity: NodeIdentity, headers: tuple[tuple[str, str], ...]
) -> None:
    body = messages.encode_own([])
    async with answering(identity, always(Response(200, headers, body))) as introducer:
        for error in await every_call(introducer):
            assert "CBOR" in str(error)


@pytest.mark.parametrize("status", [201, 204, 301, 400, 401, 403, 404, 413, 429, 500, 503, 507])
async def test_refusals_say_what_to_do_and_repeat_nothing(identity: NodeIdentity, status: int) -> None:
    body = b"" if status == 204 else messages.encode_error("Anything", f"pb://x@y/{SECRET}")
    refusal = Response(status, (*CBOR, ("Retry-After", "7")), body)
    async with answering(identity, always(refusal)) as introducer:
        for error in await every_call(introducer):
            assert isinstance(error, RefusedCallError)
            assert (error.status, error.retry_after_s) == (status, 7.0)
            assert SECRET not in repr(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("99999999999", 300.0), ("-5", 0.0), ("soon", 0.0), ("١", 0.0), ("1e9", 0.0)],
)
async def test_how_long_to_stay_away_is_bounded(identity: NodeIdentity, value: str, seconds: float) -> None:
    headers = (("Retry-After", value.encode("utf-8").decode("latin-1")),)
    async with answering(identity, always(Response(429, headers))) as introducer:
        with pytest.raises(RefusedCallError) as caught:
            await introducer.version()
    assert caught.value.retry_after_s == seconds


async def test_an_impostor_gets_nothing(identity: NodeIdentity, tmp_path: Path) -> None:
    seen: list[Request] = []

    async def note(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    other = create_node_identity(tmp_path / "private")
    async with answering(identity, note, pinned=other.spki_hash) as introducer:
        errors = await every_call(introducer)

    assert all(isinstance(error, WrongServerKeyError) for error in errors)
    assert not seen


async def test_nobody_there_and_nobody_who_speaks_tls(identity: NodeIdentity) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    introducer = HttpIntroducer(Nurl("pb", identity.spki_hash, "127.0.0.1", port, SECRET))
    try:
        assert all("cannot be reached" in str(error) for error in await every_call(introducer))
        server.close()
        await server.wait_closed()
        assert all("refused" in str(error) for error in await every_call(introducer))
    finally:
        introducer.close()


@pytest.mark.parametrize("declared", [True, False])
async def test_an_endless_answer_is_cut_off(identity: NodeIdentity, declared: bool) -> None:
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield bytes(1 << 16)

    async def answer(request: Request) -> Response:
        if declared:
            return Response(200, CBOR, bytes(9 << 20))
        return Response(200, CBOR, flood())

    async with answering(identity, answer) as introducer:
        for call in (
            introducer.version(),
            introducer.own(bytes(32)),
            introducer.announcements([], 0, NO_EPOCH, wait_s=0),
        ):
            with pytest.raises(ServerError, match="broke the protocol"):
                await call
    assert sent < 64 << 20


async def test_a_full_page_of_the_largest_announcements_is_taken(identity: NodeIdentity) -> None:
    page = AnnouncementPage(NO_EPOCH, 500, True, [(i, bytes(16_314), bytes(64)) for i in range(1, 501)])
    async with answering(identity, always(Response(200, CBOR, messages.encode_page(page)))) as introducer:
        assert await introducer.announcements([], 0, NO_EPOCH, wait_s=0) == page


async def test_results_for_more_than_was_handed_in_are_refused(
    identity: NodeIdentity,
) -> None:
    body = messages.encode_publish_answer([PublishResult("stored")] * 2)
    async with answering(identity, always(Response(200, CBOR, body))) as introducer:
        with pytest.raises(ServerError, match="malformed"):
            await introducer.publish([AnnouncingNode("a").announce()])


async def test_a_hung_introducer_is_given_up_and_so_is_one_that_drips(
    identity: NodeIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbor_service, "SILENCE_S", 0.1)
    monkeypatch.setattr(cbor_service, "CALL_S", 0.3)
    monkeypatch.setattr(cbor_service, "TRANSFER_S", 0.3)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    async def hang(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def trickle(request: Request) -> Response:
        return Response(200, CBOR, drip())

    for handler in (hang, trickle):
        async with answering(identity, handler) as introducer:
            with pytest.raises(ServerError, match="hung"):
                await introducer.version()
            began = time.monotonic()
            with pytest.raises(ServerError, match="hung"):
                await introducer.announcements([], 0, NO_EPOCH, wait_s=0.2)
            assert time.monotonic() - began > 0.2


async def test_a_waiting_poll_holds_up_no_other_call(identity: NodeIdentity) -> None:
    version = messages.encode_version(IntroducerVersion(1, "1.0", "1.0", NO_EPOCH, bytes(32)))

    async def answer(request: Request) -> Response:
        if "wait=" in request.query:
            await asyncio.Event().wait()
        return Response(200, CBOR, version)

    async with answering(identity, answer) as introducer:
        poll = asyncio.create_task(introducer.announcements([], 0, NO_EPOCH, wait_s=50))
        async with asyncio.timeout(5):
            await asyncio.gather(*(introducer.version() for _ in range(20)))
        assert not poll.done()
        poll.cancel()


async def test_the_secret_is_not_shown(identity: NodeIdentity, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    async def answer(request: Request) -> Response:
        shown.append(request.header("authorization") or "")
        return Response(500)

    async with answering(identity, answer) as introducer:
        client = introducer_client({"one": introducer})
        client.subscribe_to("storage", Heard())
        async with client.running():
            await until(lambda: shown)
            await client.ready()
        assert SECRET in shown[0]
        texts = [repr(introducer), str(client.introducer_status()), caplog.text]
        assert not [text for text in texts if SECRET in text]


async def test_the_subscribe_secret_reads_and_does_not_publish(tmp_path: Path) -> None:
    async with ServedIntroducer(tmp_path) as served:
        introducer = HttpIntroducer(parse_nurl(served.nurl(publish=False)))
        try:
            with pytest.raises(RefusedCallError, match="permission") as caught:
                await introducer.publish([AnnouncingNode("a").announce()])
            assert caught.value.status == 403
            assert (await introducer.announcements([], 0, NO_EPOCH, wait_s=0)).announcements == []
        finally:
            introducer.close()


async def test_a_hostile_introducer_over_the_network_harms_no_other(
    identity: NodeIdentity, tmp_path: Path
) -> None:
    garbage = [Response(200, CBOR, b"\xff"), Response(500), Response(200, CBOR, bytes(8 << 20))]
    turns = 0

    async def misbehave(request: Request) -> Response:
        nonlocal turns
        turns += 1
        return garbage[turns % len(garbage)]

    settings = replace(FAST_SETTINGS, periods=replace(FAST, retry_max=0.05))
    async with ServedIntroducer(tmp_path) as served, answering(identity, misbehave) as hostile:
        honest = HttpIntroducer(parse_nurl(served.nurl(publish=True)))
        heard = Heard()
        client = introducer_client({"hostile": hostile, "honest": honest}, settings=settings)
        client.subscribe_to("storage", heard)
        async with client.running():
            await until(lambda: turns > 5)
            for i in range(3):
                await honest.publish([AnnouncingNode(f"server {i}").announce()])
                await until(lambda: f"server {i}" in heard.freshness)  # noqa: B023
            states = {state.petname: state.connected for state in client.introducer_status()}
        honest.close()
    assert states == {"hostile": False, "honest": True}
