"""How a node keeps its announcements known: signed once, numbered upwards, sent to all, renewed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast.grid import introducer_publishing
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_link import Backoff
from holdfast.grid.sequence_file import SequenceFile
from holdfast.interfaces.introducer import PublishResult
from holdfast.protocol.announcement import Announcement, sign_announcement
from holdfast.testing.introducer_clients import START, Heard, Time, announcer, introducer_client, until
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.memory_introducer import MemoryIntroducer

DAY_S = 86400


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def server() -> AnnouncingNode:
    return AnnouncingNode("server", START)


@pytest.fixture
def sequence_file(tmp_path: Path) -> Path:
    return tmp_path / "server-seq"


def publisher(
    introducers: dict[str, MemoryIntroducer], server: AnnouncingNode, directory: Path, time: Time
) -> IntroducerClient:
    client = introducer_client(introducers, signer=announcer(server, directory), time=time)
    client.publish("storage", {"accepts": True}, [server.nurl()])
    return client


def number(introducer: MemoryIntroducer) -> int:
    """Return the number of the one announcement held; 0: there is none."""
    return max((held.sequence for held in introducer.held()), default=0)


# -- sending


async def test_all_services_reach_all_introducers_in_batches_they_take(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducers = {name: MemoryIntroducer(time.clock) for name in ("one", "two")}
    client = introducer_client(introducers, signer=announcer(server, tmp_path), time=time)
    for i in range(11):
        client.publish(f"service-{i}", {"index": i}, [server.nurl()])

    async with client.running():
        await until(lambda: all(len(one.held()) == 11 for one in introducers.values()))

    for introducer in introducers.values():
        assert [len(batch) for batch in introducer.published] == [8, 3]
        assert {held.properties["index"] for held in introducer.held()} == set(range(11))
        assert all(held.nickname == "server" and held.nurls == (server.nurl(),) for held in introducer.held())


async def test_a_change_is_published_and_the_same_again_is_not(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(introducer.held)
        client.publish("storage", {"accepts": True}, [server.nurl()])
        await asyncio.sleep(0.05)
        assert len(introducer.published) == 1
        client.publish("storage", {"accepts": False}, [server.nurl("10.0.0.1:7")])
        await until(lambda: not introducer.held()[0].properties["accepts"])

    (held,) = introducer.held()
    assert held.nurls == (server.nurl("10.0.0.1:7"),)


async def test_what_nobody_would_accept_is_refused_at_once(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    client = introducer_client({}, signer=announcer(server, tmp_path), time=time)

    for service, properties, nurl in (
        ("storage", {}, AnnouncingNode("another").nurl()),
        ("No Service", {}, server.nurl()),
        ("storage", {"filler": bytes(20_000)}, server.nurl()),
    ):
        with pytest.raises(ValueError, match=r"."):
            client.publish(service, properties, [nurl])


async def test_it_is_renewed_when_half_its_life_is_over(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(introducer.held)
        first = number(introducer)
        time.go(3.4 * DAY_S)
        await asyncio.sleep(0.05)
        assert number(introducer) == first
        time.go(0.2 * DAY_S)
        await until(lambda: number(introducer) > first)

    (held,) = introducer.held()
    assert held.issued == int(time.now)
    assert held.expires == held.issued + 7 * DAY_S


async def test_a_clock_that_was_set_back_makes_it_sign_anew(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    time.set(START + 3650 * DAY_S)
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(introducer.held)
        time.set(START)
        await until(lambda: introducer.held()[0].issued == int(START))


async def test_an_introducer_whose_clock_differs_refuses_and_that_is_shown(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(lambda: START - 3650 * DAY_S)
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(lambda: "future" in client.introducer_status()[0].reason)
        assert client.introducer_status()[0].connected


async def test_what_was_refused_is_offered_again_until_it_is_taken(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.results = PublishResult("refused", reason="this key is not admitted yet")
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(lambda: "not admitted" in client.introducer_status()[0].reason)
        await asyncio.sleep(0.05)
        assert len(introducer.published) == 1
        introducer.faults.results = None
        time.go(61)
        await until(introducer.held)
        await until(lambda: client.introducer_status()[0].reason == "answers")


async def test_reasons_that_repeat_secrets_are_not_shown(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.results = PublishResult("refused", reason=f"I do not like {server.nurl()}")
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(lambda: "reason" in client.introducer_status()[0].reason)
        assert "swissnum" not in client.introducer_status()[0].reason


async def test_an_introducer_that_takes_calls_but_not_ours_is_not_flooded(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.failing_calls = {"publish"}
    client = publisher({"one": introducer}, server, tmp_path, time)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await until(lambda: "publishing failed" in client.introducer_status()[0].reason)
        calls = introducer.calls["publish"]
        await asyncio.sleep(0.1)
        assert introducer.calls["publish"] - calls < 10
        assert client.introducer_status()[0].connected
        introducer.faults.failing_calls = set()
        await until(introducer.held)
        await until(lambda: client.introducer_status()[0].reason == "answers")


async def test_what_could_not_be_sent_is_sent_as_soon_as_the_introducer_is_back(
    time: Time, server: AnnouncingNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Long(Backoff):
        def after(self, error: Exception) -> float:
            return 3600.0

    monkeypatch.setattr(introducer_publishing, "Backoff", Long)
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.dead = True
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(lambda: introducer.calls.get("publish") and introducer.calls.get("version"))
        introducer.faults.dead = False
        await until(introducer.held)


async def test_one_that_forgets_again_and_again_is_not_told_again_and_again(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(introducer.held)
        for _ in range(10):
            introducer.lose_memory()
            calls = introducer.calls["version"]
            await until(lambda: introducer.calls["version"] > calls)  # noqa: B023
        assert len(introducer.published) <= 3


# -- numbers


async def test_the_number_is_kept_before_anything_is_signed_with_it(
    time: Time, server: AnnouncingNode, tmp_path: Path, sequence_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    introducer = MemoryIntroducer(time.clock)
    kept_when_signed: list[tuple[int, int]] = []

    def sign(announcement: Announcement, seed: bytes) -> object:
        if announcement.sequence:
            kept_when_signed.append((announcement.sequence, SequenceFile(sequence_file).read() or -1))
        return sign_announcement(announcement, seed)

    monkeypatch.setattr(introducer_publishing, "sign_announcement", sign)
    sequence_file.write_text("41\n")
    client = publisher({"one": introducer}, server, tmp_path, time)

    async with client.running():
        await until(introducer.held)
        client.publish("storage", {"other": 1}, [server.nurl()])
        await until(lambda: number(introducer) == 43)

    assert kept_when_signed == [(42, 42), (43, 43)]
    assert sequence_file.stat().st_mode & 0o777 == 0o600


async def test_nothing_is_signed_while_the_number_cannot_be_kept(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    client = publisher({"one": introducer}, server, tmp_path / "not there yet", time)

    async with client.running():
        await asyncio.sleep(0.05)
        assert introducer.published == []
        (tmp_path / "not there yet").mkdir()
        await until(introducer.held)


async def test_a_restarted_node_goes_on_above_its_last_number(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    seen: list[int] = []
    for _ in range(3):
        async with publisher({"one": introducer}, server, tmp_path, time).running():
            before = seen[-1] if seen else 0
            await until(lambda: number(introducer) > before)  # noqa: B023
            seen.append(number(introducer))

    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]


@pytest.mark.parametrize("contents", [None, "", "nonsense", "-5", str(2**63), "1" * 100])
async def test_a_lost_number_is_found_again_at_the_introducers(
    time: Time, server: AnnouncingNode, tmp_path: Path, sequence_file: Path, contents: str | None
) -> None:
    high, low = 3_000_000_000, 7
    introducers = {name: MemoryIntroducer(time.clock) for name in ("one", "two", "dead", "hung")}
    await introducers["one"].publish([server.announce(high), AnnouncingNode("b", START).announce(high * 2)])
    await introducers["two"].publish([server.announce(low)])
    introducers["dead"].faults.dead = introducers["hung"].faults.hung = True
    if contents is not None:
        sequence_file.write_text(contents)

    async with publisher(introducers, server, tmp_path, time).running():
        await until(lambda: number(introducers["two"]) > low)

    assert number(introducers["two"]) == high + 1
    assert SequenceFile(sequence_file).read() == high + 1


async def test_a_lost_number_that_no_introducer_knows_becomes_the_time(
    time: Time, server: AnnouncingNode, tmp_path: Path
) -> None:
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.failing_calls = {"own"}

    async with publisher({"one": introducer}, server, tmp_path, time).running():
        await until(introducer.held)

    assert number(introducer) == int(START) + 1


async def test_a_number_that_came_back_from_a_backup_is_raised_above_what_is_held(
    time: Time, server: AnnouncingNode, tmp_path: Path, sequence_file: Path
) -> None:
    for held, kept in ((90, 20), (21, 20)):  # stale; the same number with other contents
        introducers = {name: MemoryIntroducer(time.clock) for name in ("one", "two")}
        await introducers["one"].publish([server.announce(held)])
        sequence_file.write_text(f"{kept}\n")

        async with publisher(introducers, server, tmp_path, time).running():
            for introducer in introducers.values():
                await until(lambda: number(introducer) == held + 1)  # noqa: B023


@pytest.mark.parametrize("lie", ["stale", "conflict", "stale with another's", "stale with ours"])
async def test_an_introducer_that_lies_about_numbers_makes_us_sign_nothing(
    time: Time, server: AnnouncingNode, tmp_path: Path, sequence_file: Path, lie: str
) -> None:
    hostile, honest = MemoryIntroducer(time.clock), MemoryIntroducer(time.clock)
    current = {
        "stale with another's": AnnouncingNode("another", START).announce(10**9),
        "stale with ours": server.announce(3),
    }.get(lie)
    hostile.faults.results = PublishResult(lie.split()[0], current)
    sequence_file.write_text("9")

    async with AsyncExitStack() as stack:
        client = publisher({"hostile": hostile, "honest": honest}, server, tmp_path, time)
        await stack.enter_async_context(client.running())
        await until(lambda: hostile.published and honest.held())
        await asyncio.sleep(0.05)

    assert number(honest) == 10
    assert len(hostile.published) == 1
