"""The cache of announcements: believed only as far as it verifies, and never in the way."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.deterministic_cbor import encode
from holdfast.grid import announcement_cache
from holdfast.grid.announcement_book import BookLimits
from holdfast.grid.announcement_cache import AnnouncementCache, CachedAnnouncement
from holdfast.interfaces.introducer import SignedBytes
from holdfast.protocol.announcement import verified_announcement
from holdfast.testing.introducer_clients import (
    FAST,
    FAST_SETTINGS,
    START,
    Heard,
    Time,
    introducer_client,
    until,
)
from holdfast.testing.introducer_suite import AnnouncingNode, bad_announcement
from holdfast.testing.memory_introducer import MemoryIntroducer

DAY_S = 86400
GOOD = [AnnouncingNode("a").announce(), AnnouncingNode("b").announce()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "announcements.cbor"


@pytest.fixture
def time() -> Time:
    return Time()


def cached(
    pair: SignedBytes, first_seen: int = 1, last_seen: int = 2, contact: int = 0
) -> CachedAnnouncement:
    return CachedAnnouncement(verified_announcement(*pair), first_seen, last_seen, contact)


def stored(path: Path, count: int, *, now: float = START) -> list[CachedAnnouncement]:
    """Write a cache of that many servers; return what it holds."""
    servers = [AnnouncingNode(f"server {i}", now) for i in range(count)]
    entries = [cached(server.announce(5), int(now), int(now)) for server in servers]
    AnnouncementCache(path).save(entries)
    return entries


def test_what_is_saved_is_loaded(path: Path) -> None:
    cache = AnnouncementCache(path)
    entries = [
        cached(AnnouncingNode("a").announce(), 10, 20, 30),
        cached(AnnouncingNode("b").announce(2, withdrawn=True), 1, 2, 0),
    ]

    cache.save(entries)

    assert cache.load() == entries
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_without_a_file_nothing_is_known(path: Path) -> None:
    assert AnnouncementCache(path).load() == []


@pytest.mark.parametrize("fault", ["forged", "altered", "truncated", "garbage", "somebody else's place"])
def test_an_entry_that_does_not_verify_is_left_out_and_the_others_are_not(path: Path, fault: str) -> None:
    good = stored(path, 1)[0]
    entries = [[*bad_announcement(fault), 1, 2, 3], [*good.signed.bytes_pair, 7, 8, 9], ["nonsense"], 5]
    path.write_bytes(encode(entries))

    assert AnnouncementCache(path).load() == [replace(good, first_seen=7, last_seen=8, contact=9)]
    assert path.exists()


@pytest.mark.parametrize("contents", [b"", b"\x82\x01", b"nonsense", encode({"a": 1}), encode([]) + b"x"])
def test_a_damaged_file_is_put_aside(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)

    assert AnnouncementCache(path).load() == []

    assert not path.exists()
    assert path.with_name("announcements.cbor.damaged").read_bytes() == contents


@given(st.data())
def test_a_file_with_a_wrong_byte_is_read_without_it_or_put_aside(data: st.DataObject) -> None:
    raw = encode([[*good, 1, 2, 3] for good in GOOD])
    index = data.draw(st.integers(0, len(raw) - 1))
    damaged = bytearray(raw)
    damaged[index] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cache"
        path.write_bytes(damaged)

        assert {entry.signed.bytes_pair for entry in AnnouncementCache(path).load()} <= set(GOOD)


def test_a_file_that_is_too_large_is_put_aside_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(path, 3)
    monkeypatch.setattr(announcement_cache, "FILE_MAX", 1000)

    assert AnnouncementCache(path).load() == []
    assert not path.exists()


def test_a_list_that_is_too_long_is_put_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(path, 3)
    monkeypatch.setattr(announcement_cache, "CACHED_MAX", 2)

    assert AnnouncementCache(path).load() == []


def test_a_file_that_cannot_be_read_is_left_where_it_is(path: Path) -> None:
    path.mkdir()

    assert AnnouncementCache(path).load() == []
    assert path.is_dir()


def test_a_full_file_of_ten_thousand_can_be_read(path: Path) -> None:
    path.write_bytes(encode([[b"x" * 600, b"y" * 64, 1_800_000_000, 1_800_000_000, 1_800_000_000]] * 10_000))

    assert AnnouncementCache(path).load() == []  # none of them verifies
    assert path.exists()  # but the file is as it should be


# -- as the client uses it


async def test_the_cache_is_delivered_before_any_introducer_answers(path: Path, time: Time) -> None:
    stored(path, 5)
    dead, hung = MemoryIntroducer(), MemoryIntroducer()
    dead.faults.dead = hung.faults.hung = True
    heard = Heard()
    client = introducer_client({"dead": dead, "hung": hung}, cache=AnnouncementCache(path), time=time)
    client.subscribe_to("storage", heard)

    async with client.running():
        assert heard.freshness == {f"server {i}": "fresh" for i in range(5)}
        assert not client.connected_to_introducer()


async def test_what_expired_while_the_client_was_down_is_stale(path: Path) -> None:
    stored(path, 1)
    heard = Heard()
    client = introducer_client({}, cache=AnnouncementCache(path), time=Time(START + 20 * DAY_S))
    client.subscribe_to("storage", heard)

    async with client.running():
        assert heard.freshness == {"server 0": "stale"}


async def test_an_older_announcement_than_the_cached_one_is_not_believed(path: Path, time: Time) -> None:
    stored(path, 1)
    introducer = MemoryIntroducer(time.clock)
    await introducer.publish([AnnouncingNode("server 0", START).announce(4)])
    client = introducer_client({"one": introducer}, cache=AnnouncementCache(path), time=time)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await client.ready()
        assert [known.sequence for known in client.known("storage")] == [5]


async def test_what_is_learned_is_there_after_a_restart(path: Path, time: Time) -> None:
    introducer = MemoryIntroducer(time.clock)
    await introducer.publish([AnnouncingNode(name, START).announce() for name in ("a", "b")])
    client = introducer_client({"one": introducer}, cache=AnnouncementCache(path), time=time)
    client.subscribe_to("storage", Heard())
    a = AnnouncingNode("a", START).announce()
    server_id = verified_announcement(*a).announcement.server_id
    client.watch_contacts(lambda: [server_id])

    async with client.running():
        await until(path.exists)  # while it runs, since it may end by a crash
        await until(lambda: client.known("storage")[0].contact)

    entries = {entry.signed.announcement.nickname: entry for entry in AnnouncementCache(path).load()}
    assert (entries["a"].contact, entries["b"].contact) == (int(START), 0)
    assert entries["a"].first_seen == entries["a"].last_seen == int(START)


async def test_the_file_is_written_now_and_then_and_only_for_news(
    path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(AnnouncementCache, "save", lambda self, entries: saved.append(len(entries)))
    introducer = MemoryIntroducer(time.clock)
    client = introducer_client(
        {"one": introducer},
        cache=AnnouncementCache(path),
        time=time,
        settings=replace(FAST_SETTINGS, periods=replace(FAST, save=0.1)),
    )
    heard = Heard()
    client.subscribe_to("storage", heard)

    async with client.running():
        for i in range(10):
            await introducer.publish([AnnouncingNode(f"server {i}", START).announce()])
            await until(lambda: len(heard.latest) == i + 1)  # noqa: B023
        await until(lambda: 10 in saved)
        writings = len(saved)
        introducer.faults.restless = True
        await asyncio.sleep(0.15)
        assert len(saved) == writings <= 5


async def test_a_full_disk_stops_nothing(path: Path, time: Time) -> None:
    introducer = MemoryIntroducer(time.clock)
    await introducer.publish([AnnouncingNode("a", START).announce()])
    heard = Heard()
    client = introducer_client(
        {"one": introducer}, cache=AnnouncementCache(path / "missing directory" / "file"), time=time
    )
    client.subscribe_to("storage", heard)

    async with client.running():
        await until(lambda: heard.latest)
        await asyncio.sleep(0.05)
        await introducer.publish([AnnouncingNode("b", START).announce()])
        await until(lambda: len(heard.latest) == 2)


async def test_crowds_of_the_past_keep_no_newcomer_out(path: Path, time: Time) -> None:
    stored(path, 20)
    cache = AnnouncementCache(path)
    entries = cache.load()
    cache.save([replace(entry, contact=int(START) if i < 5 else 0) for i, entry in enumerate(entries)])
    honest = MemoryIntroducer(time.clock)
    await honest.publish([AnnouncingNode(f"new {i}", START).announce() for i in range(8)])
    heard = Heard()
    client = introducer_client(
        {"honest": honest},
        cache=cache,
        time=time,
        limits=BookLimits(announcements_max=20, per_introducer_max=6),
    )
    client.subscribe_to("storage", heard)

    async with client.running():
        await client.ready()

    known = {server.nickname for server in client.known("storage")}
    assert len(known) == 20
    assert {f"new {i}" for i in range(6)} | {f"server {i}" for i in range(5)} <= known
    assert sum(state == "withdrawn" for state in heard.freshness.values()) == 6


async def test_a_cached_place_counts_for_the_introducer_that_names_it_again(path: Path, time: Time) -> None:
    entries = stored(path, 5)
    introducer = MemoryIntroducer(time.clock)
    introducer.faults.besides = [entry.signed.bytes_pair for entry in entries]
    await introducer.publish([AnnouncingNode("one too many", START).announce()])
    limits = BookLimits(announcements_max=100, per_introducer_max=5)
    client = introducer_client({"one": introducer}, cache=AnnouncementCache(path), time=time, limits=limits)
    client.subscribe_to("storage", Heard())

    async with client.running():
        await client.ready()

    assert {server.nickname for server in client.known("storage")} == {f"server {i}" for i in range(5)}
