"""The introducer's engine on a database of its own: what it takes, keeps and hands out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from holdfast.errors import ConfigError, InputError
from holdfast.interfaces.introducer import SignedBytes
from holdfast.servers.introducer import waiters
from holdfast.servers.introducer.engine import IntroducerEngine, open_introducer
from holdfast.servers.introducer.keys import KEEP_UNDECIDED_S
from holdfast.servers.introducer.pages import PAGE_SIZE_MAX
from holdfast.servers.introducer.refusals import (
    FullError,
    IntroducerRefusalError,
    MalformedError,
    TooManyRequestsError,
)
from holdfast.servers.introducer.settings import DAY_S, IntroducerSettings
from holdfast.testing.introducer_server import UNLIMITED
from holdfast.testing.introducer_suite import (
    NO_EPOCH,
    AnnouncingNode,
    IntroducerSuite,
    bad_announcement,
    caught_up,
    published,
    read_all,
)
from holdfast.testing.storage_server import FakeClock

VERIFY_KEY = bytes(range(32))
START = 1_800_000_000


class TestEngine(IntroducerSuite):
    @pytest.fixture
    async def introducer(self, tmp_path: Path) -> AsyncIterator[IntroducerEngine]:
        async with open_introducer(tmp_path / "introducer.sqlite", UNLIMITED, VERIFY_KEY) as engine:
            yield engine


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


class Opener:
    """Opens the introducer of one test, with settings that differ from those without limits."""

    def __init__(self, database: Path, clock: FakeClock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, **changed: object) -> AbstractAsyncContextManager[IntroducerEngine]:
        settings = dataclasses.replace(UNLIMITED, **changed)  # type: ignore[arg-type]  # as a test names them
        return open_introducer(self._database, settings, VERIFY_KEY, self._clock)


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock) -> Opener:
    return Opener(tmp_path / "introducer.sqlite", clock)


def node(name: str) -> AnnouncingNode:
    return AnnouncingNode(name, START)


# -- what may be published at once


async def test_no_announcement_and_too_many_are_malformed(opened: Opener) -> None:
    async with opened() as introducer:
        for announcements in ([], [node("a").announce()] * 9):
            with pytest.raises(MalformedError):
                await introducer.publish(announcements)


async def test_a_later_copy_with_a_forged_signature_is_refused(opened: Opener) -> None:
    async with opened() as introducer:
        ann, signature = node("a").announce()
        await introducer.publish([(ann, signature)])

        assert await published(introducer, (ann, bytes(64)), (ann, signature)) == ["refused", "duplicate"]
        assert await introducer.own(node("a").verify_key) == [(ann, signature)]


# -- admission


async def test_where_keys_are_admitted_others_are_refused_until_they_are(opened: Opener) -> None:
    async with opened(admission="approve") as introducer:
        alice, bob = node("alice"), node("bob")
        await introducer.admit(bob.verify_key)

        results = await introducer.publish([alice.announce(), bob.announce()])

        assert [result.status for result in results] == ["refused", "stored"]
        assert results[0].reason.startswith("NotAdmitted: ")
        assert len(await read_all(introducer)) == 1
        known = {key.verify_key: key for key in await introducer.known()}
        assert known[alice.verify_key].standing == "undecided"
        assert known[alice.verify_key].label == "alice"
        assert known[alice.verify_key].server_id.startswith("v0-")
        assert known[bob.verify_key].standing == "admitted"
        assert known[bob.verify_key].services == ("storage",)

        await introducer.admit(alice.verify_key)
        assert await published(introducer, alice.announce()) == ["stored"]


async def test_an_expelled_key_is_gone_and_does_not_come_back(opened: Opener) -> None:
    async with opened() as introducer:
        alice, bob = node("alice"), node("bob")
        kept = bob.announce()
        await introducer.publish([alice.announce(1), alice.announce(1, "node"), kept])

        await introducer.expel(alice.verify_key)

        assert await read_all(introducer) == [kept]
        assert await introducer.own(alice.verify_key) == []
        (result,) = await introducer.publish([alice.announce(2)])
        assert (result.status, result.reason.partition(":")[0]) == ("refused", "NotAdmitted")
        await introducer.admit(alice.verify_key)
        assert await published(introducer, alice.announce(2)) == ["stored"]


async def test_keys_that_wait_are_bounded_the_oldest_go(opened: Opener, clock: FakeClock) -> None:
    async with opened(admission="approve", keys_waiting_max=3) as introducer:
        admitted = node("admitted")
        await introducer.admit(admitted.verify_key)
        for number in range(5):
            clock.now += 1
            await introducer.publish([node(str(number)).announce()])

        known = [key.label for key in await introducer.known()]
        assert known == ["4", "3", "2", ""]

        clock.now += KEEP_UNDECIDED_S + 1
        await introducer.sweep()
        assert [key.verify_key for key in await introducer.known()] == [admitted.verify_key]


async def test_only_keys_can_be_admitted(opened: Opener) -> None:
    async with opened() as introducer:
        for call in (introducer.admit, introducer.expel):
            with pytest.raises(InputError):
                await call(b"short")


# -- limits


async def test_a_node_that_changes_too_often_waits(opened: Opener, clock: FakeClock) -> None:
    async with opened(changes_burst=2, change_every_s=60) as introducer:
        alice, bob = node("alice"), node("bob")
        for sequence in (1, 2):
            assert await published(introducer, alice.announce(sequence)) == ["stored"]

        with pytest.raises(TooManyRequestsError) as refused:
            await introducer.publish([alice.announce(3)])

        assert refused.value.retry_after_s == 60
        assert await published(introducer, alice.announce(3), alice.announce(1, "node")) == [
            "refused",
            "stored",
        ]
        assert await published(introducer, bob.announce(1)) == ["stored"]
        clock.now += 60
        assert await published(introducer, alice.announce(3)) == ["stored"]


async def test_what_changes_nothing_is_not_limited(opened: Opener) -> None:
    async with opened(changes_burst=1) as introducer:
        alice = node("alice")
        second = alice.announce(2)
        await introducer.publish([second])
        for _ in range(5):
            assert await published(introducer, second, alice.announce(1)) == ["duplicate", "stale"]
            assert await published(introducer, alice.announce(2, properties={"x": 1})) == ["conflict"]


async def test_nobody_uses_up_the_changes_of_somebody_else(opened: Opener) -> None:
    async with opened(changes_burst=1, new_keys_per_hour=1) as introducer:
        for _ in range(3):
            assert await published(introducer, bad_announcement("forged")) == ["refused"]

        assert await published(introducer, node("bad").announce(1)) == ["stored"]


async def test_new_keys_are_limited_and_known_or_admitted_ones_are_not(
    opened: Opener, clock: FakeClock
) -> None:
    async with opened(new_keys_per_hour=2) as introducer:

        async def heard(*announcements: SignedBytes) -> list[str]:
            results = await introducer.publish_from("publisher", "192.0.2.1", announcements)
            return [result.status for result in results]

        await heard(node("a").announce(1), node("b").announce(1))
        await introducer.admit(node("admitted").verify_key)

        with pytest.raises(TooManyRequestsError):
            await heard(node("c").announce(1))
        assert await heard(node("a").announce(2)) == ["stored"]
        assert await heard(node("admitted").announce(1)) == ["stored"]
        clock.now += 1800
        assert await heard(node("c").announce(1)) == ["stored"]


async def test_nodes_of_the_introducers_own_machine_are_not_counted(opened: Opener) -> None:
    async with opened(new_keys_per_hour=1, new_keys_per_hour_and_address=1) as introducer:
        for name in "abc":
            assert await published(introducer, node(name).announce(1)) == ["stored"]


async def test_one_node_has_so_many_services(opened: Opener) -> None:
    async with opened(services_per_key=2) as introducer:
        alice = node("alice")
        assert await published(introducer, alice.announce(1, "a"), alice.announce(1, "b")) == ["stored"] * 2

        with pytest.raises(FullError):
            await introducer.publish([alice.announce(1, "c")])
        assert await published(introducer, alice.announce(2, "a")) == ["stored"]


async def test_when_full_the_expired_ones_make_room(opened: Opener, clock: FakeClock) -> None:
    async with opened(announcements_max=3) as introducer:
        short, shorter, long = node("short"), node("shorter"), node("long")
        await introducer.publish(
            [short.announce(1, life_s=200), shorter.announce(1, life_s=100), long.announce(1)]
        )
        with pytest.raises(FullError):
            await introducer.publish([node("d").announce(1)])

        clock.now += 300
        newcomers = [node("d").announce(1), node("e").announce(1)]
        assert await published(introducer, newcomers[0]) == ["stored"]
        assert await introducer.own(shorter.verify_key) == []  # the first to expire went first
        assert await introducer.own(short.verify_key) != []
        assert await published(introducer, newcomers[1]) == ["stored"]
        with pytest.raises(FullError):
            await introducer.publish([node("f").announce(1)])
        assert (await read_all(introducer))[1:] == newcomers
        assert introducer.counts()["announcements"] == 3


# -- age


@pytest.mark.seed("X-13")
async def test_expired_ones_are_handed_out_for_a_week_and_withdrawn_ones_for_ninety_days(
    opened: Opener, clock: FakeClock
) -> None:
    async with opened() as introducer:
        expiring, leaving = node("expiring").announce(1, life_s=1000), node("leaving")
        await introducer.publish([expiring, leaving.announce(1)])
        withdrawal = leaving.announce(2, withdrawn=True)
        await introducer.publish([withdrawal])

        for later, expected in (
            (1000 + 7 * DAY_S, [expiring, withdrawal]),
            (1000 + 7 * DAY_S + 2, [withdrawal]),
            (90 * DAY_S, [withdrawal]),
            (90 * DAY_S + 2, []),
        ):
            clock.now = START + later
            await introducer.sweep()
            assert await read_all(introducer) == expected
        assert introducer.counts()["announcements"] == 0


async def test_an_expired_one_is_not_taken_again(opened: Opener, clock: FakeClock) -> None:
    async with opened() as introducer:
        one = node("a").announce(1, life_s=1000)
        assert await published(introducer, one) == ["stored"]
        clock.now += 1000
        assert await published(introducer, one) == ["refused"]


# -- pages


async def test_a_page_of_large_announcements_is_short(opened: Opener) -> None:
    async with opened() as introducer:
        large = [node(str(i)).announce(properties={"x": bytes(15_000)}) for i in range(12)]
        for begin in (0, 6):
            await introducer.publish(large[begin : begin + 6])

        page = await introducer.announcements((), 0, NO_EPOCH, wait_s=0)

        assert page.more
        assert 0 < sum(len(ann) + len(sig) for _, ann, sig in page.announcements) <= PAGE_SIZE_MAX
        assert await read_all(introducer) == large


async def test_news_close_behind_other_news_is_read_together(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PAUSE_PER_WAITER_S", "PAUSE_MAX_S"):
        monkeypatch.setattr(waiters, name, 1.0)
    announced = [node(str(i)).announce() for i in range(3)]
    async with opened() as introducer:
        cursor, epoch = await caught_up(introducer)
        first = asyncio.create_task(introducer.announcements((), cursor, epoch, wait_s=20))
        await asyncio.sleep(0)
        await introducer.publish(announced[:1])
        cursor = (await first).cursor

        await introducer.publish(announced[1:2])
        hurried = await read_all(introducer, (), cursor, epoch)
        second = asyncio.create_task(introducer.announcements((), cursor, epoch, wait_s=20))
        await asyncio.sleep(0)
        await introducer.publish(announced[2:])

        assert hurried == announced[1:2]  # whoever does not wait sees everything at once
        assert [(ann, sig) for _, ann, sig in (await second).announcements] == announced[1:]


async def test_a_poll_that_is_given_up_leaves_nothing_behind(opened: Opener) -> None:
    async with opened() as introducer:
        cursor, epoch = await caught_up(introducer)
        polls = [
            asyncio.create_task(introducer.announcements(["storage"], cursor, epoch, wait_s=30))
            for _ in range(10)
        ]
        await asyncio.sleep(0.01)
        assert introducer.counts()["waiting_polls"] == 10
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        assert introducer.counts()["waiting_polls"] == 0


# -- invitations


async def test_an_invitation_is_worth_something_once_and_until_it_expires(
    opened: Opener, clock: FakeClock
) -> None:
    async with opened() as introducer:
        first, second = [await introducer.create_invitation("server", "carol", 100) for _ in range(2)]
        assert len(first) == len(second) == 10
        assert first != second

        redeemed = await introducer.redeem(first)

        assert redeemed is not None
        assert (redeemed.role, redeemed.nickname) == ("server", "carol")
        assert await introducer.redeem(first) is None
        assert await introducer.redeem(bytes(10)) is None
        clock.now += 100
        assert await introducer.redeem(second) is None


async def test_many_who_redeem_one_invitation_at_once_are_one(opened: Opener) -> None:
    async with opened() as introducer, opened() as another_process:
        secret = await introducer.create_invitation("client", "", 100)

        outcomes = await asyncio.gather(
            *(who.redeem(secret) for _ in range(20) for who in (introducer, another_process))
        )

        assert len([outcome for outcome in outcomes if outcome is not None]) == 1


async def test_outstanding_invitations_are_bounded(opened: Opener, clock: FakeClock) -> None:
    async with opened(invitations_max=2) as introducer:
        secrets = [await introducer.create_invitation("client", "", 100) for _ in range(2)]
        with pytest.raises(FullError):
            await introducer.create_invitation("client", "", 100)
        await introducer.redeem(secrets[0])
        await introducer.create_invitation("client", "", 100)
        clock.now += 101
        await introducer.create_invitation("client", "", 100)
        with pytest.raises(InputError):
            await introducer.create_invitation("friend", "", 100)


# -- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"admission": "closed"},
        {"durability": "never"},
        {"announcements_max": 0},
        {"requests_per_s": -1.0},
        {"services_per_key": 17},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"introducer: {next(iter(wrong))}"):
        IntroducerSettings(**wrong)  # type: ignore[arg-type]


async def test_counts_tell_what_happened(opened: Opener) -> None:
    async with opened() as introducer:
        one = node("a").announce()
        await introducer.publish([one, bad_announcement("forged"), node("b").announce()])
        await introducer.publish([one])

        assert introducer.counts() == {
            "announcements": 2,
            "keys": 2,
            "waiting_polls": 0,
            "published_duplicate": 1,
            "published_refused": 1,
            "published_stored": 2,
        }


def test_every_refusal_has_a_status_and_a_name() -> None:
    kinds = IntroducerRefusalError.__subclasses__()
    assert {kind.status for kind in kinds} == {400, 401, 403, 404, 405, 413, 415, 429, 503, 507}
    assert len({kind.code for kind in kinds}) == len(kinds)
