"""What a client of introducers believes, whatever these do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.grid.announcement_book import BookLimits
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.interfaces.introducer import Introducer, KnownAnnouncement, SignedBytes
from holdfast.testing.introducer_clients import (
    FAST,
    FAST_SETTINGS,
    START,
    Heard,
    Time,
    announcer,
    introducer_client,
    until,
)
from holdfast.testing.introducer_suite import AnnouncingNode, IntroducerSuite, bad_announcement
from holdfast.testing.memory_introducer import MemoryIntroducer

DAY_S = 86400
YEAR_S = 365 * DAY_S


class TestMemoryIntroducer(IntroducerSuite):
    @pytest.fixture
    def introducer(self) -> Introducer:
        return MemoryIntroducer()


def node(name: str, time: Time | None = None) -> AnnouncingNode:
    return AnnouncingNode(name, START if time is None else time.now)


async def stocked(time: Time, announced: Iterable[SignedBytes]) -> MemoryIntroducer:
    """Return an introducer that holds what is given."""
    introducer = MemoryIntroducer(time.clock)
    for one in announced:
        (result,) = await introducer.publish([one])
        assert result.status == "stored", result
    return introducer


def names(client: IntroducerClient) -> set[str]:
    return {known.nickname for known in client.known("storage")}


@pytest.fixture
def time() -> Time:
    return Time()


# -- meeting


@pytest.mark.seed("S-018")
async def test_a_client_that_neither_listens_nor_publishes_learns_of_all_servers(time: Time) -> None:
    introducer = await stocked(time, [node(f"server {i}").announce() for i in range(5)])
    client, heard = introducer_client({"one": introducer}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(heard.latest) == 5)

    assert names(client) == {f"server {i}" for i in range(5)}
    assert len(introducer.published) == 5  # none of them by the client
    with pytest.raises(ValueError, match="cannot publish"):
        client.publish("storage", {}, [])


@pytest.mark.seed("S-021", "S-022")
async def test_all_learn_of_all_through_two_introducers_of_which_one_is_dead(
    time: Time, tmp_path: Path
) -> None:
    dead, alive = MemoryIntroducer(time.clock), MemoryIntroducer(time.clock)
    dead.faults.dead = True
    introducers: dict[str, Introducer] = {"dead": dead, "alive": alive}
    servers = [node(f"server {i}") for i in range(5)]
    everybody = {server.name for server in servers}

    async with AsyncExitStack() as stack:
        for server in servers:
            client = introducer_client(introducers, signer=announcer(server, tmp_path), time=time)
            client.publish("storage", {}, [server.nurl()])
            await stack.enter_async_context(client.running())
        clients = [introducer_client(introducers, time=time) for _ in range(3)]
        for client in clients[:2]:
            client.subscribe_to("storage", Heard())
            await stack.enter_async_context(client.running())
        await until(lambda: all(names(client) == everybody for client in clients[:2]))

        late = clients[2]
        late.subscribe_to("storage", Heard())
        await stack.enter_async_context(late.running())
        await until(lambda: names(late) == everybody)

        states = {state.petname: state for state in late.introducer_status()}
        assert (states["alive"].connected, states["dead"].connected) == (True, False)
        assert "cannot be reached" in states["dead"].reason
        assert late.connected_to_introducer()
        # The dead one comes back: it is told everything.
        dead.faults.dead = False
        await until(lambda: {held.nickname for held in dead.held()} == everybody)


async def test_a_hung_introducer_delays_nothing(time: Time, tmp_path: Path) -> None:
    hung, server = MemoryIntroducer(), node("server")
    hung.faults.hung = True
    good = MemoryIntroducer(time.clock)
    client = introducer_client({"hung": hung, "good": good}, signer=announcer(server, tmp_path), time=time)
    client.subscribe_to("storage", Heard())
    client.publish("storage", {}, [server.nurl()])

    async with client.running():
        await until(lambda: names(client) == {"server"})
        await client.ready()

    assert [state.connected for state in client.introducer_status()] == [False, True]


async def test_an_impostor_is_named_and_left_alone_for_long(time: Time) -> None:
    introducer = await stocked(time, [node("server").announce()])
    introducer.faults.impostor = True
    periods = replace(FAST, retry_max=3600.0)
    client = introducer_client(
        {"one": introducer}, time=time, settings=replace(FAST_SETTINGS, periods=periods)
    )
    client.subscribe_to("storage", Heard())

    async with client.running():
        await client.ready()
        await asyncio.sleep(0.05)

    (state,) = client.introducer_status()
    assert (state.connected, "another TLS key" in state.reason) == (False, True)
    assert introducer.calls["announcements"] == 1
    assert names(client) == set()


async def test_an_introducer_counts_as_connected_for_two_minutes_after_an_answer(time: Time) -> None:
    introducer = await stocked(time, [])
    client = introducer_client({"one": introducer}, time=time)
    assert not client.connected_to_introducer()

    async with client.running():
        await until(client.connected_to_introducer)
        introducer.faults.dead = True
        await until(lambda: "reached" in client.introducer_status()[0].reason)
        assert client.connected_to_introducer()
        time.go(121)
        assert not client.connected_to_introducer()
        assert client.introducer_status()[0].last_contact == START
        introducer.faults.dead = False
        await until(client.connected_to_introducer)


# -- subscribing


async def test_a_subscriber_hears_what_is_known_at_once_and_each_change_once(time: Time) -> None:
    server = node("server")
    introducer = await stocked(time, [server.announce(1)])
    client, first, late = introducer_client({"one": introducer}, time=time), Heard(), Heard()
    client.subscribe_to("storage", first)

    async with client.running():
        await until(lambda: first.news)
        client.subscribe_to("storage", late)
        assert [known.sequence for known in late.news] == [1]
        await introducer.publish([server.announce(2)])
        await until(lambda: len(first.news) == 2)

        introducer.faults.restless = True  # says the same again and again
        polls = introducer.calls["announcements"]
        await until(lambda: introducer.calls["announcements"] > polls + 3)

    assert [known.sequence for known in first.news] == [known.sequence for known in late.news] == [1, 2]


async def test_a_service_that_is_asked_for_later_is_delivered_too(time: Time) -> None:
    announced = [
        node("a").announce(1, "storage"),
        node("a").announce(2, "node"),
        node("b").announce(1, "node"),
    ]
    introducer = await stocked(time, announced)
    client, storage, nodes = introducer_client({"one": introducer}, time=time), Heard(), Heard()
    client.subscribe_to("storage", storage)

    async with client.running():
        await until(lambda: storage.latest)
        assert client.known("node") == []
        client.subscribe_to("node", nodes)
        await until(lambda: len(nodes.latest) == 2)

    assert len(storage.news) == 1


async def test_a_subscriber_that_raises_stops_no_other(time: Time) -> None:
    introducer = await stocked(time, [node("a").announce(), node("b").announce()])
    client, heard = introducer_client({"one": introducer}, time=time), Heard()

    def broken(known: KnownAnnouncement) -> None:
        raise RuntimeError("a defect")

    client.subscribe_to("storage", broken)
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(heard.latest) == 2)


async def test_ready_returns_with_the_first_answer_or_when_none_can_answer(time: Time) -> None:
    introducer, dead, hung = (
        await stocked(time, [node("a").announce()]),
        MemoryIntroducer(),
        MemoryIntroducer(),
    )
    dead.faults.dead, hung.faults.hung = True, True
    slow = replace(FAST_SETTINGS, periods=replace(FAST, ready=0.1))

    for introducers, known in (
        ({"hung": hung, "good": introducer}, {"a"}),
        ({"dead": dead}, set[str]()),
        ({"hung": hung}, set[str]()),
        ({}, set[str]()),
    ):
        client = introducer_client(introducers, time=time, settings=slow)
        client.subscribe_to("storage", Heard())
        async with client.running(), asyncio.timeout(5):
            await client.ready()
        assert names(client) == known


# -- believing


async def test_the_highest_number_counts_whoever_hands_it_out(time: Time) -> None:
    server = node("server")
    old, new = await stocked(time, [server.announce(3)]), await stocked(time, [server.announce(5)])
    client, heard = introducer_client({"old": old, "new": new}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: heard.news and heard.news[-1].sequence == 5)
        # A hostile introducer says the old one again and again.
        old.faults.restless = True
        polls = old.calls["announcements"]
        await until(lambda: old.calls["announcements"] > polls + 3)

    assert [known.sequence for known in client.known("storage")] == [5]
    assert [known.sequence for known in heard.news] in ([3, 5], [5])


async def test_of_two_announcements_with_one_number_the_first_stays(time: Time) -> None:
    server = node("server")
    first, second = server.announce(1), server.announce(1, properties={"other": True})
    honest, hostile = await stocked(time, [first]), MemoryIntroducer(time.clock)
    client, heard = introducer_client({"honest": honest, "hostile": hostile}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: heard.news)
        hostile.faults.besides, hostile.faults.restless = [second], True
        await until(lambda: client.equivocations)

    assert [known.properties for known in heard.news] == [{}]


@pytest.mark.seed("S-019", "S-020")
@pytest.mark.parametrize("fault", ["forged", "altered", "truncated", "garbage", "somebody else's place",
                                   "nine locations", "nurl of 1001 characters", "two TLS keys",
                                   "too long a life", "unknown field"])  # fmt: skip
async def test_a_bad_announcement_stops_none_of_the_others(time: Time, fault: str) -> None:
    introducer = await stocked(time, [node("a").announce(), node("b").announce()])
    introducer.faults.besides = [bad_announcement(fault)]
    client, heard = introducer_client({"one": introducer}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await client.ready()

    assert names(client) == {"a", "b"}
    (state,) = client.introducer_status()
    assert "is not used" in state.reason
    assert "pb://" not in state.reason


async def test_what_was_not_asked_for_is_not_taken(time: Time) -> None:
    introducer = await stocked(time, [node("a").announce()])
    introducer.faults.besides = [node("b").announce(1, "other")]
    client = introducer_client({"one": introducer}, time=time)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await client.ready()

    assert client.known("other") == []


# -- hostile introducers


async def test_a_crowd_of_made_up_nodes_is_bounded_and_displaces_nobody(time: Time) -> None:
    honest = await stocked(time, [node(f"honest {i}").announce() for i in range(10)])
    hostile = MemoryIntroducer(time.clock)
    hostile.faults.besides = [node(f"made up {i}").announce() for i in range(60)]
    client = introducer_client(
        {"hostile": hostile, "honest": honest},
        time=time,
        limits=BookLimits(announcements_max=40, per_introducer_max=25),
    )
    client.subscribe_to("storage", Heard())

    async with client.running():
        await until(lambda: len(names(client)) == 35)
        await asyncio.sleep(0.02)

    assert {name for name in names(client) if "honest" in name} == {f"honest {i}" for i in range(10)}
    assert len(names(client)) == 35


async def test_heavy_announcements_are_bounded_by_the_memory_they_take(time: Time) -> None:
    honest = await stocked(time, [node("honest").announce()])
    hostile = MemoryIntroducer(time.clock)
    heavy: dict[str, object] = {"nothing": [[]] * 15_000}
    hostile.faults.besides = [node(f"heavy {i}").announce(properties=heavy) for i in range(10)]
    client = introducer_client({"hostile": hostile, "honest": honest}, time=time,
                               limits=BookLimits(cost_per_introducer_max=4 << 20))  # fmt: skip
    client.subscribe_to("storage", Heard())

    async with client.running():
        await until(lambda: len(names(client)) == 5 and "honest" in names(client))


@pytest.mark.parametrize("fault", ["restless", "endless", "slander", "silent"])
async def test_a_hostile_introducer_neither_harms_others_nor_keeps_us_busy(time: Time, fault: str) -> None:
    announced = [node(f"server {i}").announce() for i in range(20)]
    honest, hostile = await stocked(time, announced), await stocked(time, announced[:15])
    setattr(hostile.faults, fault, True)
    settings = replace(FAST_SETTINGS, announced_burst=50.0, announced_per_s=1.0)
    client, heard = (
        introducer_client({"hostile": hostile, "honest": honest}, time=time, settings=settings),
        Heard(),
    )
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(names(client)) == 20)
        await asyncio.sleep(0.1)

    assert len(heard.news) == 20
    # Three answers spend the allowance; one that leads in circles is an error, and errors take time.
    assert hostile.calls["announcements"] < (6 if fault == "restless" else 40)


async def test_an_introducer_that_does_not_wait_as_asked_is_not_asked_all_the_time(time: Time) -> None:
    hasty = MemoryIntroducer(time.clock)
    hasty.faults.silent = hasty.faults.restless = True
    settings = replace(FAST_SETTINGS, periods=replace(FAST, quiet_min=0.05))
    client = introducer_client({"hasty": hasty}, time=time, settings=settings)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await asyncio.sleep(0.15)

    assert hasty.calls["announcements"] < 7


async def test_an_introducer_that_hands_out_too_much_at_once_is_not_listened_to(time: Time) -> None:
    hostile = MemoryIntroducer(time.clock)
    hostile.faults.besides, hostile.faults.page_max = [node("a").announce()] * 501, 1000
    client = introducer_client({"hostile": hostile}, time=time)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await client.ready()

    assert names(client) == set()
    assert "too many" in client.introducer_status()[0].reason


# -- an introducer that loses its memory


async def test_an_introducer_that_lost_its_memory_is_told_again_and_nobody_forgets(
    time: Time, tmp_path: Path
) -> None:
    introducer, servers = MemoryIntroducer(time.clock), [node(f"server {i}") for i in range(3)]
    everybody = {server.name for server in servers}
    async with AsyncExitStack() as stack:
        for server in servers:
            client = introducer_client({"one": introducer}, signer=announcer(server, tmp_path), time=time)
            client.publish("storage", {}, [server.nurl()])
            await stack.enter_async_context(client.running())
        reader, heard = introducer_client({"one": introducer}, time=time), Heard()
        reader.subscribe_to("storage", heard)
        await stack.enter_async_context(reader.running())
        await until(lambda: names(reader) == everybody)

        introducer.lose_memory()

        await until(lambda: {held.nickname for held in introducer.held()} == everybody)
        polls = introducer.calls["announcements"]
        await until(lambda: introducer.calls["announcements"] > polls + 1)
        assert names(reader) == everybody
        assert len(heard.news) == 3


# -- time


async def test_states_over_a_hundred_days(time: Time) -> None:
    gone, leaving, staying = (node(name, time) for name in ("gone", "leaving", "staying"))
    introducer = await stocked(time, [gone.announce(1), leaving.announce(1), staying.announce(1)])
    client, heard = introducer_client({"one": introducer}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(heard.latest) == 3)
        for day in range(1, 101):
            time.go(DAY_S - 1)
            if day % 3 == 0:
                renewed = staying.announce(1 + day, issued=int(time.now))
                await introducer.publish([renewed])
                await until(lambda: [r for r in client.known("storage") if r.sequence == 1 + day])  # noqa: B023
            if day == 20:
                await introducer.publish([leaving.announce(2, issued=int(time.now), withdrawn=True)])
                await until(lambda: heard.freshness["leaving"] == "withdrawn")
            time.go(1)
            expected = "fresh" if day < 7 else "stale" if day <= 90 else "withdrawn"
            await until(lambda: heard.freshness["gone"] == expected)  # noqa: B023
            assert heard.freshness["staying"] == "fresh"
            assert ("leaving" in names(client)) == (day < 20)

    assert names(client) == {"staying"}
    told = [known.freshness for known in heard.news if known.nickname == "gone"]
    assert told == ["fresh", "stale", "withdrawn"]


async def test_a_server_that_answers_stays_fresh_without_any_introducer(time: Time) -> None:
    server = node("server", time)
    introducer = await stocked(time, [server.announce()])
    client, heard = introducer_client({"one": introducer}, time=time), Heard()
    client.subscribe_to("storage", heard)
    server_id = ""
    client.watch_contacts(lambda: [server_id])

    async with client.running():
        await until(lambda: heard.news)
        introducer.faults.dead = True
        server_id = heard.news[0].server_id
        for _ in range(30):
            before = time.now
            time.go(4 * DAY_S)
            await until(lambda: client.known("storage")[0].contact > before)  # noqa: B023
        assert heard.freshness == {"server": "fresh"}
        server_id = "another"
        time.go(8 * DAY_S)
        await until(lambda: heard.freshness == {"server": "stale"})


async def test_a_withdrawn_service_does_not_come_back_by_an_old_announcement(time: Time) -> None:
    server = node("server", time)
    old, withdrawal = server.announce(1), server.announce(2, withdrawn=True)
    introducer = await stocked(time, [withdrawal])
    client, heard = introducer_client({"one": introducer}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await client.ready()
        introducer.faults.besides, introducer.faults.restless = [old], True
        polls = introducer.calls["announcements"]
        await until(lambda: introducer.calls["announcements"] > polls + 2)

    assert (heard.news, names(client)) == ([], set())


@pytest.mark.parametrize("years", [-10, -1, 1, 10])
async def test_a_client_whose_clock_is_years_off_uses_the_grid_all_the_same(years: int) -> None:
    right, wrong = Time(), Time(START + years * YEAR_S)
    introducer = await stocked(right, [node(f"server {i}", right).announce() for i in range(3)])
    client, heard = introducer_client({"one": introducer}, time=wrong), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(heard.latest) == 3)
        await asyncio.sleep(0.03)
        assert set(heard.freshness.values()) == {"fresh"}

        # The clock is set right: nothing is forgotten, nor does anything seem to be older than it is.
        wrong.set(right.now)
        await asyncio.sleep(0.05)
        renewal = node("server 0", right).announce(2)
        await introducer.publish([renewal])
        await until(lambda: [known for known in client.known("storage") if known.sequence == 2])
        await asyncio.sleep(0.03)

    assert names(client) == {"server 0", "server 1", "server 2"}
    assert set(heard.freshness.values()) == {"fresh"}


async def test_a_contact_counts_although_the_clock_was_wrong_when_it_was_made(time: Time) -> None:
    server, wrong = node("server", time), Time(START - 10 * YEAR_S)
    introducer = await stocked(time, [server.announce()])
    client, heard = introducer_client({"one": introducer}, time=wrong), Heard()
    client.subscribe_to("storage", heard)
    met: list[str] = []
    client.watch_contacts(lambda: met)

    async with client.running():
        await until(lambda: heard.news)
        met.append(heard.news[0].server_id)
        await until(lambda: client.known("storage")[0].contact)
        met.clear()
        await asyncio.sleep(0.02)
        wrong.set(START + 9 * DAY_S)  # the announcement is expired, the contact is not
        await until(lambda: client.known("storage")[0].contact == int(START + 9 * DAY_S))
        assert client.known("storage")[0].freshness == "fresh"


async def test_what_expired_long_ago_is_not_taken_from_a_hostile_introducer(time: Time) -> None:
    honest = await stocked(time, [node("alive").announce()])
    hostile = MemoryIntroducer(time.clock)
    hostile.faults.besides = [
        node("dead").announce(issued=int(time.now) - 2 * YEAR_S),
        node("alive too").announce(),
    ]
    client, heard = introducer_client({"honest": honest, "hostile": hostile}, time=time), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: len(heard.latest) == 2)
        await asyncio.sleep(0.02)

    assert names(client) == {"alive", "alive too"}


# -- new peers


@pytest.mark.seed("S-019")
async def test_new_peers_gets_what_is_new_since_the_last_call_in_any_order(time: Time) -> None:
    delivered: list[frozenset[str]] = []

    async def take(nurls: frozenset[str]) -> None:
        delivered.append(nurls)

    servers = [node(f"server {i}") for i in range(6)]
    client = introducer_client({}, time=time, on_new_peers=take)
    nurls = [server.nurl() for server in servers]
    random.Random(7).shuffle(nurls)

    await client.new_peers(frozenset(nurls[:4]))
    await client.new_peers(frozenset(nurls[:4]))
    await client.new_peers(frozenset(nurls[2:]))
    await client.new_peers(frozenset())

    assert delivered == [frozenset(nurls[:4]), frozenset(nurls[4:])]


async def test_new_peers_that_raises_does_not_stop_the_client(time: Time) -> None:
    introducer = await stocked(time, [node("a").announce()])

    async def broken(nurls: frozenset[str]) -> None:
        raise RuntimeError("a defect")

    client, heard = introducer_client({"one": introducer}, time=time, on_new_peers=broken), Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: heard.latest)
        await introducer.publish([node("b").announce()])
        await until(lambda: len(heard.latest) == 2)


async def test_a_peer_that_went_and_came_back_is_new(time: Time) -> None:
    delivered: list[frozenset[str]] = []

    async def take(nurls: frozenset[str]) -> None:
        delivered.append(nurls)

    server = node("server")
    introducer = await stocked(time, [server.announce(1)])
    client = introducer_client({"one": introducer}, time=time, on_new_peers=take)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await until(lambda: len(delivered) == 1)
        await introducer.publish([server.announce(2, withdrawn=True)])
        await until(lambda: not client.known("storage"))
        await introducer.publish([server.announce(3)])
        await until(lambda: len(delivered) == 2)

    assert delivered[0] == delivered[1] == {server.nurl()}
