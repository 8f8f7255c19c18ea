"""The introducer over real TLS: who may do what, how refusals look, what a hostile client achieves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.introducer import SignedBytes
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.invitation import REDEEM_PATH, decode_welcome, redeem_authorization
from holdfast.servers.introducer.settings import IntroducerSettings
from holdfast.testing.introducer_server import PUBLISH, SUBSCRIBE, UNLIMITED, ServedIntroducer
from holdfast.testing.introducer_suite import AnnouncingNode, bad_announcement, published
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.testing.storage_server import FakeClock

CBOR = [("Content-Type", "application/cbor")]
NO_EPOCH = bytes(16)


@pytest.fixture
async def introducer(tmp_path: Path) -> AsyncIterator[ServedIntroducer]:
    async with ServedIntroducer(tmp_path) as served:
        yield served


async def publish(
    introducer: ServedIntroducer, *announcements: SignedBytes, swissnum: str | None = PUBLISH
) -> RawAnswer:
    body = messages.encode_publish_request(announcements)
    return await introducer.request("POST", calls.PUBLISH_PATH, body, swissnum=swissnum, headers=CBOR)


async def publish_body(introducer: ServedIntroducer, body: bytes) -> RawAnswer:
    return await introducer.request("POST", calls.PUBLISH_PATH, body, headers=CBOR)


def statuses(answer: RawAnswer) -> list[str]:
    assert answer.status == 200
    return [result.status for result in messages.decode_publish_answer(answer.body)]


def read_target(since: int = 0, epoch: bytes = NO_EPOCH, wait_s: float = 0, limit: int = 500) -> str:
    return f"{calls.ANNOUNCEMENTS_PATH}?{calls.announcements_query((), since, epoch, wait_s, limit)}"


async def read(introducer: ServedIntroducer, swissnum: str | None = SUBSCRIBE) -> list[SignedBytes]:
    answer = await introducer.request("GET", read_target(), swissnum=swissnum)
    assert answer.status == 200
    return [(ann, sig) for _, ann, sig in messages.decode_page(answer.body).announcements]


def error_of(answer: RawAnswer) -> tuple[int, str]:
    assert answer.header("content-type") == "application/cbor"
    code, message = messages.decode_error(answer.body)
    assert message
    assert PUBLISH not in message
    assert SUBSCRIBE not in message
    return answer.status, code


@pytest.mark.seed("S-021")
async def test_what_one_node_announces_another_reads(introducer: ServedIntroducer) -> None:
    node = AnnouncingNode("alice")
    one = node.announce()

    assert statuses(await publish(introducer, one)) == ["stored"]

    assert await read(introducer) == [one]
    own = await introducer.request("GET", f"{calls.OWN_PATH}?{calls.own_query(node.verify_key)}")
    assert messages.decode_own(own.body) == [one]
    version = messages.decode_version((await introducer.request("GET", calls.VERSION_PATH)).body)
    assert version.verify_key == introducer.identity.verify_key


async def test_the_subscribe_swissnum_reads_and_cannot_publish(introducer: ServedIntroducer) -> None:
    one = AnnouncingNode("alice").announce()

    refused = await publish(introducer, one, swissnum=SUBSCRIBE)

    assert error_of(refused) == (403, "PublishNotAllowed")
    assert await read(introducer, SUBSCRIBE) == []
    assert await read(introducer, PUBLISH) == []


async def test_without_a_swissnum_nothing_can_be_done(introducer: ServedIntroducer) -> None:
    for swissnum in (None, "x", PUBLISH[:-1], PUBLISH + "2", PUBLISH.upper()):
        for method, target in (
            ("GET", calls.VERSION_PATH),
            ("GET", read_target()),
            ("GET", read_target(wait_s=30)),
            ("GET", calls.OWN_PATH),
            ("POST", calls.PUBLISH_PATH),
            ("GET", "/"),
        ):
            answer = await introducer.request(method, target, swissnum=swissnum, headers=CBOR)
            assert error_of(answer) == (401, "Unauthorized")


async def test_after_the_publish_swissnum_was_replaced_subscribers_notice_nothing(
    introducer: ServedIntroducer,
) -> None:
    one, two = AnnouncingNode("alice").announce(), AnnouncingNode("bob").announce()
    assert statuses(await publish(introducer, one)) == ["stored"]

    introducer.publish_swissnum = "replacedreplacedreplaced22222222"
    await introducer.restart()

    assert error_of(await publish(introducer, two)) == (401, "Unauthorized")
    assert statuses(await publish(introducer, two, swissnum=introducer.publish_swissnum)) == ["stored"]
    assert await read(introducer, SUBSCRIBE) == [one, two]


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/introducer/v1/", 404, "NotFound"),
        ("GET", "/introducer/v2/version", 404, "NotFound"),
        ("GET", "/introducer/v1/version/", 404, "NotFound"),
        ("GET", "/introducer/v1/status", 404, "NotFound"),
        ("POST", "/introducer/v1/version", 405, "MethodNotAllowed"),
        ("DELETE", "/introducer/v1/announcements", 405, "MethodNotAllowed"),
        ("GET", "/introducer/v1/publish", 405, "MethodNotAllowed"),
        ("GET", "/invitation/v1/redeem", 405, "MethodNotAllowed"),
        ("GET", "/introducer/v1/announcements?since=-1", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?wait=56", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?limit=501", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?epoch=00", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?service=Storage", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?service=%ff", 400, "Malformed"),
        ("GET", "/introducer/v1/announcements?more=1", 400, "Malformed"),
        ("GET", "/introducer/v1/own", 400, "Malformed"),
        ("GET", "/introducer/v1/own?key=00", 400, "Malformed"),
    ],
)
async def test_requests_outside_the_protocol_are_refused(
    introducer: ServedIntroducer, method: str, target: str, status: int, code: str
) -> None:
    answer = await introducer.request(method, target)

    assert error_of(answer) == (status, code)
    assert (answer.header("allow") is not None) == (status == 405)


async def test_bodies_that_are_no_publication_are_refused(introducer: ServedIntroducer) -> None:
    one = AnnouncingNode("a").announce()
    nine = messages.encode_publish_request([one] * 9)

    for body in (b"", b"\xa0", b"\xff" * 100, bytes(100_000), b"\x9f" * 1000, nine, nine[:-1]):
        assert error_of(await publish_body(introducer, body)) == (400, "Malformed")
    oversized = bytes(calls.BODY_MAX + 1)
    assert error_of(await publish_body(introducer, oversized)) == (413, "TooLarge")
    for kind in ("text/plain", "application/json"):
        answer = await introducer.request("POST", calls.PUBLISH_PATH, nine, headers=[("Content-Type", kind)])
        assert error_of(answer) == (415, "UnsupportedMediaType")
    assert error_of(await introducer.request("POST", calls.PUBLISH_PATH, nine)) == (
        415,
        "UnsupportedMediaType",
    )
    assert await read(introducer) == []


async def test_an_oversized_chunked_body_is_refused(introducer: ServedIntroducer) -> None:
    connection = await RawConnection.open(introducer.port)
    headers = [*introducer.headers(PUBLISH, CBOR), ("Transfer-Encoding", "chunked")]
    connection.send_head("POST", calls.PUBLISH_PATH, headers)
    for _ in range(20):
        connection.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
    connection.send(b"0\r\n\r\n")

    assert error_of(await connection.answer()) == (413, "TooLarge")
    await connection.close()


def test_no_body_makes_the_introducer_fail(tmp_path_factory: pytest.TempPathFactory) -> None:
    one = AnnouncingNode("a").announce()
    good = messages.encode_publish_request([one])

    @given(st.one_of(st.binary(max_size=300), damaged(good)))
    def check(body: bytes) -> None:
        answer = runner.run(publish_body(introducer, body))
        assert answer.status in (200, 400)

    with asyncio.Runner() as runner:
        introducer = ServedIntroducer(tmp_path_factory.mktemp("introducer"))
        runner.run(introducer.start())
        check()
        runner.run(introducer.stop())


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for bytes that differ from the good ones in one place."""
    return st.builds(
        lambda place, byte: good[:place] + bytes([byte]) + good[place + 1 :],
        st.integers(0, len(good) - 1),
        st.integers(0, 255),
    )


@pytest.mark.seed("S-020")
async def test_a_ninth_location_stops_none_of_the_others(introducer: ServedIntroducer) -> None:
    one, two = AnnouncingNode("a").announce(), AnnouncingNode("b").announce()
    bad = [bad_announcement("nine locations"), bad_announcement("nurl of 1001 characters")]

    answer = await publish(introducer, one, *bad, two)

    assert statuses(answer) == ["stored", "refused", "refused", "stored"]
    assert await read(introducer) == [one, two]


async def test_an_announcement_of_another_size_stops_none_of_the_others(
    introducer: ServedIntroducer,
) -> None:
    node = AnnouncingNode("a")
    huge = node.announce_raw({10: {"x": bytes(17_000)}})

    assert statuses(await publish(introducer, huge, (b"", b""), node.announce())) == [
        "refused",
        "refused",
        "stored",
    ]


# -- limits


async def test_too_many_requests_of_one_address_are_told_when_to_come_again(tmp_path: Path) -> None:
    settings = replace(UNLIMITED, requests_burst=3, requests_per_s=0.5, limit_loopback=True)
    clock = FakeClock(time.time())
    async with ServedIntroducer(tmp_path, settings, clock=clock) as introducer:
        for swissnum in (PUBLISH, None, SUBSCRIBE):  # who shows no secret is counted too
            assert (await introducer.request("GET", calls.VERSION_PATH, swissnum=swissnum)).status != 429
        for _ in range(3):
            refused = await introducer.request("GET", calls.VERSION_PATH)
            assert error_of(refused) == (429, "TooManyRequests")
            assert refused.header("retry-after") == "2"
        clock.now += 2
        assert (await introducer.request("GET", calls.VERSION_PATH)).status == 200


async def test_this_machine_itself_is_not_limited(tmp_path: Path) -> None:
    settings = replace(UNLIMITED, requests_burst=1, requests_per_s=0.001, polls_per_address=1)
    async with ServedIntroducer(tmp_path, settings) as introducer:
        for _ in range(5):
            assert (await introducer.request("GET", calls.VERSION_PATH)).status == 200


async def wait_until_polls(introducer: ServedIntroducer, count: int) -> None:
    async with asyncio.timeout(10):
        while introducer.engine.counts()["waiting_polls"] != count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "settings",
    [
        replace(UNLIMITED, polls_max=2),
        replace(UNLIMITED, polls_per_address=2, limit_loopback=True, requests_burst=1000),
    ],
)
async def test_only_so_many_polls_wait_and_one_that_leaves_makes_room(
    tmp_path: Path, settings: IntroducerSettings
) -> None:
    async with ServedIntroducer(tmp_path, settings) as introducer:
        target = read_target(epoch=introducer.engine.epoch, wait_s=50)
        connections = [await RawConnection.open(introducer.port) for _ in range(2)]
        for connection in connections:
            connection.send_head("GET", target, introducer.headers(SUBSCRIBE))
        await wait_until_polls(introducer, 2)

        refused = await introducer.request("GET", target)
        assert error_of(refused) == (429, "TooManyRequests")
        assert refused.header("retry-after") == "30"
        assert (await introducer.request("GET", read_target())).status == 200  # who does not wait

        await connections[0].close()
        await wait_until_polls(introducer, 1)
        third = asyncio.create_task(introducer.request("GET", target))
        await wait_until_polls(introducer, 2)
        await publish(introducer, AnnouncingNode("a").announce())
        assert (await third).status == (await connections[1].answer()).status == 200
        await connections[1].close()


async def test_new_keys_of_one_address_are_limited_and_known_ones_are_not(tmp_path: Path) -> None:
    settings = replace(UNLIMITED, new_keys_per_hour_and_address=2, limit_loopback=True)
    clock = FakeClock(time.time())
    async with ServedIntroducer(tmp_path, settings, clock=clock) as introducer:
        nodes = [AnnouncingNode(str(i)) for i in range(3)]
        assert statuses(await publish(introducer, *(n.announce(1) for n in nodes[:2]))) == ["stored"] * 2

        refused = await publish(introducer, nodes[2].announce(1))

        assert error_of(refused) == (429, "TooManyRequests")
        assert refused.header("retry-after") == "1800"
        assert statuses(await publish(introducer, nodes[2].announce(1), nodes[0].announce(2))) == [
            "refused",
            "stored",
        ]
        clock.now += 1800
        assert statuses(await publish(introducer, nodes[2].announce(1))) == ["stored"]


async def test_a_full_introducer_says_so(tmp_path: Path) -> None:
    async with ServedIntroducer(tmp_path, replace(UNLIMITED, announcements_max=2)) as introducer:
        nodes = [AnnouncingNode(str(i)) for i in range(3)]
        await publish(introducer, nodes[0].announce(1), nodes[1].announce(1))

        assert error_of(await publish(introducer, nodes[2].announce(1))) == (507, "Full")
        assert statuses(await publish(introducer, nodes[0].announce(2))) == ["stored"]


# -- polls


@pytest.mark.seed("S-021")
async def test_a_poll_is_answered_within_a_tenth_of_a_second(introducer: ServedIntroducer) -> None:
    delays = []
    reader, writer = await RawConnection.open(introducer.port), await RawConnection.open(introducer.port)
    for number in range(1, 6):  # the best of five: others use this machine too
        cursor = number - 1
        target = read_target(cursor, introducer.engine.epoch, 50)
        reader.send_head("GET", target, introducer.headers(SUBSCRIBE))
        await wait_until_polls(introducer, 1)
        body = messages.encode_publish_request([AnnouncingNode("a").announce(number)])

        begun = time.monotonic()
        await writer.request("POST", calls.PUBLISH_PATH, introducer.headers(PUBLISH, CBOR), body)
        page = messages.decode_page((await reader.answer()).body)

        delays.append(time.monotonic() - begun)
        assert [cursor for cursor, _, _ in page.announcements] == [number]
    assert min(delays) < 0.1
    await reader.close()
    await writer.close()


async def test_stopping_answers_the_polls_that_wait(introducer: ServedIntroducer) -> None:
    target = read_target(epoch=introducer.engine.epoch, wait_s=50)
    polls = [asyncio.create_task(introducer.request("GET", target)) for _ in range(3)]
    await wait_until_polls(introducer, 3)

    begun = time.monotonic()
    await introducer.stop()

    assert [(await poll).status for poll in polls] == [200] * 3
    assert time.monotonic() - begun < 3
    await introducer.start()


async def test_a_poll_asked_without_its_client_staying_holds_no_place(introducer: ServedIntroducer) -> None:
    target = read_target(epoch=introducer.engine.epoch, wait_s=50)
    for _ in range(20):
        connection = await RawConnection.open(introducer.port)
        connection.send_head("GET", target, introducer.headers(SUBSCRIBE))
        await wait_until_polls(introducer, 1)
        await connection.close()
        await wait_until_polls(introducer, 0)


# -- invitations


async def redeem(introducer: ServedIntroducer, secret: bytes) -> RawAnswer:
    headers = [("Authorization", redeem_authorization(secret))]
    return await introducer.request("POST", REDEEM_PATH, swissnum=None, headers=headers)


async def test_an_invitation_is_redeemed_once(introducer: ServedIntroducer) -> None:
    for role in ("client", "server"):
        secret = await introducer.engine.create_invitation(role, "carol", 3600)

        welcome = decode_welcome((await redeem(introducer, secret)).body)

        assert (welcome.role, welcome.nickname) == (role, "carol")
        assert welcome.introducers == (introducer.nurl(publish=role == "server"),)
        for _ in range(2):
            assert error_of(await redeem(introducer, secret)) == (401, "Unauthorized")


async def test_an_invitation_redeemed_many_times_at_once_is_redeemed_once(
    introducer: ServedIntroducer,
) -> None:
    secret = await introducer.engine.create_invitation("client", "", 3600)

    answers = await asyncio.gather(*(redeem(introducer, secret) for _ in range(10)))

    assert sorted(answer.status for answer in answers) == [200] + [401] * 9


async def test_what_is_no_invitation_is_worth_nothing(introducer: ServedIntroducer) -> None:
    await introducer.engine.create_invitation("client", "", 3600)

    for secret in (bytes(10), b"", bytes(11), bytes(32)):
        assert error_of(await redeem(introducer, secret or b"x")) == (401, "Unauthorized")
    for shown in (None, PUBLISH, SUBSCRIBE, "!"):
        answer = await introducer.request("POST", REDEEM_PATH, swissnum=shown)
        assert error_of(answer) == (401, "Unauthorized")


# -- secrets


async def test_secrets_and_addresses_are_never_logged(
    introducer: ServedIntroducer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    node = AnnouncingNode("alice")
    assert await published(introducer.engine, node.announce(1)) == ["stored"]
    for one in (node.announce(1, properties={"x": 1}), bad_announcement("somebody else's place")):
        await publish(introducer, one)
    await introducer.request("GET", "/nothing")
    await redeem(introducer, b"0123456789")

    assert any("announced two different things" in record.getMessage() for record in caplog.records)
    for secret in (PUBLISH, SUBSCRIBE, "pb://", "swissnumswissnum"):
        assert secret not in caplog.text
