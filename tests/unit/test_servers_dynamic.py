"""Servers come, change and go while a client runs."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import NoServersError, ServerError
from holdfast.grid.client import open_grid
from holdfast.grid.known_server import KnownServer, OnContact
from holdfast.grid.progress import Progress
from holdfast.grid.servers import Servers
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.nurl import Nurl, spki_hash
from holdfast.protocol.server_record import ServerRecord
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid, memory_record
from holdfast.testing.memory_storage import MemoryStorage

DATA = os.urandom(3_000_000)
INDEX = StorageIndex(b"i" * 16)
SMALL_SEGMENTS = EncodingSettings(convergence_secret=CONVERGENCE, segment_size_max=100_000)


class Makers:
    """Servers over services in memory, all of which are remembered."""

    def __init__(self, *records: ServerRecord) -> None:
        self.made: list[MemoryStorage] = []
        self.servers = Servers(records, b"l" * 32, frozenset(), self._make)

    def _make(self, record: ServerRecord, on_contact: OnContact) -> MemoryStorage:
        store = MemoryStorage()
        store.on_contact = on_contact
        self.made.append(store)
        return store

    def ids(self) -> list[str]:
        return [server.id for server in self.servers.all()]


def moved(record: ServerRecord, port: int = 2) -> ServerRecord:
    """Return the record of the same server at another place."""
    return replace(record, nurls=(replace(record.nurls[0], port=port),))


def with_key(record: ServerRecord, number: int) -> ServerRecord:
    """Return the record with the TLS key of server ``number``."""
    return replace(record, nurls=memory_record(number).nurls)


def ids(servers: list[KnownServer]) -> list[str]:
    return [server.id for server in servers]


async def removed_at(grid: MemoryGrid, call: str) -> None:
    """Remove all servers as soon as one of them gets a call."""
    async with asyncio.timeout(10):
        while call not in grid.calls():
            await asyncio.sleep(0)
    for server_id in grid.stores:
        grid.grid.known.remove(server_id)


@pytest.fixture
async def grid() -> AsyncIterator[MemoryGrid]:
    async with memory_grid(encoding=SMALL_SEGMENTS) as grid:
        yield grid


# -- while transfers run


async def test_a_download_goes_on_with_servers_that_are_removed_meanwhile(grid: MemoryGrid) -> None:
    result = await grid.grid.upload(DataSource(DATA))

    def remove_all(progress: Progress) -> None:
        for server_id in grid.stores:
            grid.grid.known.remove(server_id)

    download = await grid.grid.download(result.uri, DataTarget(), progress=remove_all)
    assert download.value == DATA
    assert download.problems == ()
    with pytest.raises(NoServersError, match="no storage server is known"):
        await grid.grid.download(result.uri, DataTarget())


async def test_a_failure_of_a_server_that_was_removed_meanwhile_is_made_up_for(grid: MemoryGrid) -> None:
    data = os.urandom(20_000_000)  # read in several steps
    result = await grid.grid.upload(DataSource(data))

    def remove_all(progress: Progress) -> None:
        for server_id in grid.stores:
            grid.grid.known.remove(server_id)
        for number in range(7):
            grid.stores[result.shares[number][0]].faults.dead = True

    download = await grid.grid.download(result.uri, DataTarget(), progress=remove_all)
    assert download.value == data
    assert download.problems != ()


@pytest.mark.parametrize("call", ["version", "allocate", "write"])
async def test_an_upload_survives_that_its_servers_are_removed_at_any_moment(
    grid: MemoryGrid, call: str
) -> None:
    grid.forget_calls()
    uploading = asyncio.create_task(grid.grid.upload(DataSource(DATA)))
    await removed_at(grid, call)
    assert (await uploading).pushed == 10


@pytest.mark.parametrize("call", ["list_immutable", "read_immutable"])
async def test_verifying_survives_that_its_servers_are_removed_at_any_moment(
    grid: MemoryGrid, call: str
) -> None:
    result = await grid.grid.upload(DataSource(DATA))
    grid.forget_calls()
    verifying = asyncio.create_task(grid.grid.verify(result.uri))
    await removed_at(grid, call)
    assert (await verifying).healthy


async def test_an_upload_goes_on_with_servers_that_are_removed_or_moved_meanwhile(grid: MemoryGrid) -> None:
    def change_all(progress: Progress) -> None:
        if progress.stage == "uploading" and len(grid.grid.known) == 10:
            for number in range(5):
                grid.grid.known.remove(f"s{number}")
            for number in range(5, 10):
                grid.grid.known.add_or_change(moved(memory_record(number)))

    result = await grid.grid.upload(DataSource(DATA), progress=change_all)
    assert (result.pushed, result.problems) == (10, ())
    assert len(grid.grid.known) == 5
    assert all(store.shares for store in grid.stores.values())


async def test_verifying_goes_on_with_servers_that_are_removed_meanwhile(grid: MemoryGrid) -> None:
    result = await grid.grid.upload(DataSource(DATA))
    grid.stores["s3"].faults.flip = {(number, 500) for number in range(10)}

    def remove_all(progress: Progress) -> None:
        for server_id in grid.stores:
            grid.grid.known.remove(server_id)

    verified = await grid.grid.verify(result.uri, remove_all)
    assert len(verified.shares) == 9
    assert [problem.server_id for problem in verified.corrupt] == ["s3"]


async def test_a_server_added_later_is_used_by_the_next_transfer() -> None:
    async with memory_grid(0) as grid:
        with pytest.raises(NoServersError):
            await grid.grid.upload(DataSource(DATA))
        for number in range(10):
            grid.grid.known.add_or_change(memory_record(number))
        result = await grid.grid.upload(DataSource(DATA))
        assert (await grid.grid.download(result.uri, DataTarget())).value == DATA


# -- changed and removed servers


def test_a_server_that_moved_gets_a_new_service_and_its_old_one_keeps_no_connection() -> None:
    makers = Makers(memory_record(0), memory_record(1))
    old = makers.servers["s0"]
    makers.servers.add_or_change(moved(memory_record(0)))
    assert makers.ids() == ["s0", "s1"]
    assert makers.servers["s0"] is not old
    assert old.retired
    assert [store.retired for store in makers.made] == [True, False, False]
    assert makers.servers["s0"].state.addresses == ("memory.invalid:2",)


def test_a_removed_server_keeps_no_connection_and_is_closed_with_the_others() -> None:
    makers = Makers(memory_record(0), memory_record(1))
    makers.servers.remove("s0")
    makers.servers.remove("s0")  # nothing more to do
    assert (makers.ids(), makers.made[0].retired, makers.made[0].closed) == (["s1"], True, False)
    makers.servers.close()
    assert [store.closed for store in makers.made] == [True, True]


async def test_what_a_removed_server_does_changes_nothing_for_the_others() -> None:
    makers = Makers(memory_record(0), memory_record(1))
    told: list[str] = []
    removed = makers.servers["s0"]
    makers.servers.remove("s0")
    makers.servers.on_change(lambda server: told.append(server.id))
    makers.made[0].faults.dead = True
    await removed.probe(1)
    makers.made[0].connection_lost()
    assert told == []


async def test_a_new_nickname_changes_neither_service_nor_state() -> None:
    makers = Makers(memory_record(0))
    server = makers.servers["s0"]
    await server.probe(1)
    makers.servers.add_or_change(replace(memory_record(0), nickname="renamed", permutation_seed=b"other"))
    assert makers.servers["s0"] is server
    assert (server.state.nickname, server.state.state, len(makers.made)) == ("renamed", "up", 1)


def test_the_same_record_again_changes_nothing() -> None:
    makers = Makers(memory_record(0))
    makers.servers.add_or_change(memory_record(0))
    assert (len(makers.made), makers.made[0].retired) == (1, False)


def test_another_server_seed_is_never_used_within_a_running_upload() -> None:
    makers = Makers(memory_record(0))
    server = makers.servers["s0"]
    before = server.lease(INDEX)
    makers.servers.add_or_change(replace(memory_record(0), server_seed=b"x" * 20))
    assert server.lease(INDEX) == before
    assert makers.servers["s0"].lease(INDEX) != before


async def test_listeners_hear_of_every_change_until_they_leave() -> None:
    makers = Makers(memory_record(0))
    told: list[tuple[str, str, bool]] = []
    leave = makers.servers.on_change(lambda s: told.append((s.id, s.state.state, s.retired)))
    makers.servers.add_or_change(memory_record(1))
    await makers.servers["s1"].probe(1)
    makers.made[1].faults.dead = True
    await makers.servers["s1"].probe(1)
    makers.made[1].connection_lost()
    makers.servers.add_or_change(memory_record(0), incompatible="too old")
    makers.servers.remove("s1")
    leave()
    makers.servers.remove("s0")
    assert told == [
        ("s1", "unknown", False),
        ("s1", "up", False),
        ("s1", "down", False),
        ("s1", "down", False),
        ("s0", "incompatible", False),
        ("s1", "down", True),
    ]


# -- what a server may be used for


async def test_a_server_for_reading_only_gets_no_new_shares_and_is_read_after_the_others() -> None:
    async with memory_grid(11, encoding=SMALL_SEGMENTS) as grid:
        first = await grid.grid.upload(DataSource(DATA))
        server_id = first.shares[0][0]
        record = grid.grid.known[server_id].record
        grid.grid.known.add_or_change(record, uploads=False)
        assert not next(s for s in grid.grid.servers if s.server_id == server_id).uploads
        assert grid.grid.known.in_order(INDEX)[-1].id == server_id
        assert len(grid.grid.known.in_order(INDEX)) == 11
        assert server_id not in ids(grid.grid.known.for_uploads(INDEX))
        grid.forget_calls()
        second = await grid.grid.upload(DataSource(DATA[::-1]))
        assert grid.stores[server_id].calls == []
        assert all(server_id not in holders for holders in second.shares.values())
        for other in (*first.shares[1], *first.shares[2], *first.shares[3]):
            grid.stores[other].faults.dead = True
        assert (await grid.grid.check(first.uri)).shares[0] == (server_id,)


async def test_reading_works_from_servers_for_reading_only(grid: MemoryGrid) -> None:
    result = await grid.grid.upload(DataSource(DATA))
    for number in range(10):
        grid.grid.known.add_or_change(memory_record(number), uploads=False)
    assert (await grid.grid.download(result.uri, DataTarget())).value == DATA
    with pytest.raises(NoServersError, match=r"none of the 10 .* name0 is only read from"):
        await grid.grid.upload(DataSource(DATA[::-1]))


async def test_an_incompatible_server_is_shown_with_the_reason_and_used_for_nothing(grid: MemoryGrid) -> None:
    result = await grid.grid.upload(DataSource(DATA))
    for number in range(10):
        grid.grid.known.add_or_change(memory_record(number), incompatible="speaks of the future")
    state = grid.grid.servers[0]
    assert (state.state, state.reason, state.uploads) == ("incompatible", "speaks of the future", False)
    grid.forget_calls()
    for attempt in (
        grid.grid.download(result.uri, DataTarget()),
        grid.grid.check(result.uri),
        grid.grid.upload(DataSource(DATA[::-1])),
    ):
        with pytest.raises(NoServersError, match="name0 speaks of the future"):
            await attempt
    assert grid.calls() == []
    assert grid.grid.known.connected == 0
    for number in range(10):
        grid.grid.known.add_or_change(memory_record(number))
    assert (await grid.grid.download(result.uri, DataTarget())).value == DATA
    assert grid.grid.known.connected >= 3


async def test_one_server_coming_back_ends_the_waiting_for_all_whatever_incompatible_ones_there_are() -> None:
    makers = Makers(memory_record(0), memory_record(1))
    makers.servers.add_or_change(memory_record(2), incompatible="too old")
    for store in makers.made:
        store.faults.dead = True
    for server in makers.servers.all()[:2]:
        await server.probe(1)
    assert makers.servers.in_order(INDEX) == []
    makers.made[1].faults.dead = False
    await makers.servers["s1"].probe(1)
    assert sorted(ids(makers.servers.in_order(INDEX))) == ["s0", "s1"]


# -- one TLS key, one server


def test_servers_with_one_tls_key_count_as_one_and_the_first_known_stays() -> None:
    makers = Makers(memory_record(0), with_key(memory_record(1), 0))
    assert makers.ids() == ["s0"]
    makers.servers.add_or_change(with_key(memory_record(2), 0), uploads=False)
    makers.servers.add_or_change(moved(memory_record(0)))
    assert makers.ids() == ["s0"]


def test_when_the_first_of_one_tls_key_goes_the_next_takes_its_place() -> None:
    makers = Makers(memory_record(0), with_key(memory_record(1), 0))
    makers.servers.add_or_change(with_key(memory_record(2), 0), uploads=False)
    makers.servers.remove("s0")
    assert makers.ids() == ["s1"]
    makers.servers.remove("s1")
    assert (makers.ids(), makers.servers["s2"].uploads) == (["s2"], False)
    makers.servers.remove("s2")
    assert makers.ids() == []


def test_a_server_that_gets_a_key_of_its_own_counts_from_then_on() -> None:
    makers = Makers(memory_record(0), with_key(memory_record(1), 0))
    makers.servers.add_or_change(memory_record(1))
    assert makers.ids() == ["s0", "s1"]
    makers.servers.remove("s0")
    assert makers.ids() == ["s1"]


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 4), st.integers(0, 3), st.integers(1, 2))
)


@given(CHANGES)
def test_after_any_changes_there_is_one_server_for_each_key_and_as_last_described(
    changes: list[tuple[str, int, int, int]],
) -> None:
    makers = Makers()
    described: dict[str, ServerRecord] = {}
    for change, server, key, port in changes:
        record = moved(with_key(memory_record(server), key), port)
        if change == "add":
            makers.servers.add_or_change(record)
            described[record.server_id] = record
        else:
            makers.servers.remove(record.server_id)
            described.pop(record.server_id, None)
    keys = [server.record.nurls[0].spki_hash for server in makers.servers.all()]
    assert sorted(keys) == sorted({record.nurls[0].spki_hash for record in described.values()})
    assert all(described[server.id] == server.record for server in makers.servers.all())
    live = [store for store in makers.made if not store.retired]
    assert len(live) == len(keys)


# -- what is told of a server


async def test_the_state_tells_what_the_server_said_and_how_it_did() -> None:
    name = b"elsewhere"
    places = tuple(
        Nurl("pb", spki_hash(name), host, port, "secret")
        for host, port in (("::1", 5), ("storage.example", 6))
    )
    record = ServerRecord("v0-long-identity", places, hashlib.sha256(name).digest()[:20], b"seed")
    makers = Makers(record)
    server = makers.servers["v0-long-identity"]
    fresh = server.state
    assert (fresh.state, fresh.version, fresh.available_space, fresh.latency_s) == ("unknown", "", None, None)
    assert (fresh.errors, fresh.last_contact, fresh.uploads) == (0, 0, True)
    assert fresh.addresses == ("[::1]:5", "storage.example:6")
    await server.probe(1)
    after = server.state
    assert (after.state, after.version, after.available_space) == ("up", "memory/1", 1 << 40)
    assert after.latency_s is not None
    assert 0 <= after.latency_s < 1
    assert abs(after.last_contact - time.time()) < 5
    makers.made[0].faults.dead = True
    await server.probe(1)
    await server.probe(1)
    assert (server.state.state, server.state.errors, server.state.version) == ("down", 2, "memory/1")
    assert "secret" not in repr(server.state)


async def test_a_server_that_answers_something_else_while_it_is_probed_is_not_down() -> None:
    makers = Makers(memory_record(0))
    server = makers.servers["s0"]
    await server.probe(1)
    makers.made[0].faults.hung_calls = {"version"}
    probe = asyncio.create_task(server.probe(0.05))
    await asyncio.sleep(0.01)
    await server.service.list_immutable(INDEX)
    await probe
    assert server.up
    await server.probe(0.01)
    assert (server.state.state, server.state.reason) == ("down", "hung: no answer within 0.01 s")


async def test_a_failure_makes_the_version_be_asked_again() -> None:
    makers = Makers(memory_record(0))
    server, store = makers.servers["s0"], makers.made[0]
    await server.version()
    await server.version()
    assert store.calls == ["version"]
    store.faults.failing_calls = {"list_immutable"}
    with pytest.raises(ServerError):
        await server.service.list_immutable(INDEX)
    await server.version()
    assert store.calls == ["version", "list_immutable", "version"]


# -- cost


async def test_a_thousand_servers_cost_little_before_they_are_used() -> None:
    records = [memory_record(number) for number in range(1000)]
    settings = ClientSettings(lease_secret=b"l" * 32, encoding=EncodingSettings())
    began = time.perf_counter()
    async with open_grid(records, settings) as grid:
        took = time.perf_counter() - began
        assert len(grid.servers) == 1000
    assert took < 2.0
    gc.collect()
    tracemalloc.start()
    try:
        async with open_grid(records, settings) as grid:
            size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 30 << 20
