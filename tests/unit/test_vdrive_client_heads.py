"""Heads of directories: no server goes back behind what was seen, or tells two stories, unnoticed (V-08)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.formats.vdrive.head import head_hash, next_head, parse_head, sign_head
from holdfast.formats.vdrive.operations import EMPTY_OPERATIONS
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.memory import EVIDENCE_DIRECTORY, VdriveMemory
from holdfast.interfaces.vdrive import HeadRange
from holdfast.interfaces.vdrive_errors import (
    ForkDetectedError,
    RollbackDetectedError,
    ServerMisbehavedError,
    StaleDirectoryError,
)
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of, copied_state, names_in, put


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> MemoryVdriveServer:
    return MemoryVdriveServer(clock=clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite"


@pytest.fixture
def client(server: MemoryVdriveServer, path: Path, clock: Clock) -> VdriveClient:
    return client_of(server, path, clock=clock)


@pytest.fixture
async def cap(client: VdriveClient, server: MemoryVdriveServer) -> VdriveWriteCap:
    cap = await client.create(server.place)
    await put(client, client.directory(cap), "first")
    return cap


@pytest.fixture
def directory(client: VdriveClient, cap: VdriveWriteCap) -> VdriveDirectory:
    return client.directory(cap)


@pytest.fixture
def other(
    server: MemoryVdriveServer, cap: VdriveWriteCap, clock: Clock
) -> tuple[VdriveClient, VdriveDirectory]:
    """Somebody else with the same write capability."""
    client = client_of(server, clock=clock)
    return client, client.directory(cap)


def evidence(path: Path) -> list[str]:
    return sorted(file.name.split("-")[1] for file in (path.parent / EVIDENCE_DIRECTORY).glob("*"))


async def every_way(directory: VdriveDirectory, client: VdriveClient, error: type[Exception]) -> None:
    """Look, list and write: all of it must fail in this way."""
    with pytest.raises(error):
        await directory.head()
    with pytest.raises(error):
        await directory.entries(["first"])
    with pytest.raises(error):
        await directory.all_entries()
    if directory.writable:
        with pytest.raises(error):
            await put(client, directory, "anything")


# -- going back


async def test_a_rollback_is_noticed_and_kept(
    directory: VdriveDirectory, client: VdriveClient, server: MemoryVdriveServer, path: Path
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    server.restore(before)
    with pytest.raises(RollbackDetectedError) as caught:
        await directory.head()
    assert (caught.value.found, caught.value.remembered) == (1, 2)
    assert [parse_head(signed.head).version for signed in caught.value.heads] == [1, 2]
    await every_way(directory, client, RollbackDetectedError)
    assert set(evidence(path)) == {"rollback"}


async def test_memory_survives_the_program(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    server.restore(before)
    with pytest.raises(RollbackDetectedError):
        await client_of(server, path).directory(cap).head()


async def test_a_newcomer_cannot_notice(
    directory: VdriveDirectory, client: VdriveClient, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    server.restore(before)
    assert await names_in(client_of(server).directory(cap)) == {"first"}


async def test_answers_that_overtake_one_another_are_no_rollback(
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()
    true_child = server.child

    async def slow_child(index: bytes, slot: bytes) -> Any:
        answer = await true_child(index, slot)
        arrived.set()
        await go.wait()
        return answer

    server.child = slow_child  # type: ignore[method-assign]
    early = asyncio.create_task(directory.entries(["first"]))
    await arrived.wait()
    for number in range(3):
        await put(*other, f"meanwhile {number}", f"also {number}")
    assert (await directory.head()).version == 4
    go.set()
    assert (await early).version == 1
    assert (await directory.head()).version == 4


async def test_an_answer_that_was_overtaken_must_be_on_the_same_chain(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(*other, "another story")
    forked = await server.child(cap.index, bytes(32))
    server.restore(before)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow_child(index: bytes, slot: bytes) -> Any:
        arrived.set()
        await go.wait()
        return forked

    server.child = slow_child  # type: ignore[method-assign]
    early = asyncio.create_task(directory.entries(["first"]))
    await arrived.wait()
    for number in range(3):
        await put(client, directory, f"one {number}", f"two {number}")
    go.set()
    with pytest.raises(ForkDetectedError):
        await early


async def test_an_answer_that_another_program_overtook_must_be_on_the_same_chain(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    await directory.head()
    twin = client_of(server, path)
    before = server.saved()
    await put(*other, "another story")
    forked = await server.child(cap.index, bytes(32))
    server.restore(before)

    async def slow_child(index: bytes, slot: bytes) -> Any:
        for number in range(3):
            await put(twin, twin.directory(cap), f"one {number}", f"two {number}")
        return forked

    server.child = slow_child  # type: ignore[method-assign]
    with pytest.raises(ForkDetectedError):
        await directory.entries(["first"])


# -- two stories


async def test_a_fork_at_the_same_version_is_noticed_and_kept(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    path: Path,
) -> None:
    before = server.saved()
    await put(client, directory, "mine")
    server.restore(before)
    await put(*other, "theirs")
    await every_way(directory, client, ForkDetectedError)
    assert set(evidence(path)) == {"fork"}


@pytest.mark.parametrize("versions", [1, 2, 30])
async def test_a_fork_is_noticed_when_the_other_story_is_longer(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    versions: int,
) -> None:
    before = server.saved()
    await put(client, directory, "mine")
    server.restore(before)
    for number in range(1 + versions):
        await put(*other, f"theirs {number}")
    await every_way(directory, client, ForkDetectedError)


async def test_a_server_cannot_hide_a_fork_behind_false_heads(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(client, directory, "mine")
    mine = server.directories[cap.index].heads
    server.restore(before)
    for number in range(4):
        await put(*other, f"theirs {number}")
    true_heads = server.directories[cap.index].heads

    def mixed(answer: HeadRange) -> HeadRange:
        return HeadRange((mine[2], *answer.heads[1:]), answer.more)

    server.faults.rewrite["heads"] = mixed
    with pytest.raises(ServerMisbehavedError):
        await directory.head()
    for lie in (
        lambda answer: HeadRange((), more=False),
        lambda answer: HeadRange(tuple(true_heads), more=False),
        lambda answer: HeadRange(tuple(reversed(answer.heads)), more=False),
    ):
        server.faults.rewrite["heads"] = lie
        with pytest.raises(ServerMisbehavedError):
            await directory.head()


async def test_a_long_history_is_followed_head_by_head(
    directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap, client: VdriveClient
) -> None:
    grow(server, cap, 2500)
    head = await directory.head()
    assert head.version == 2501 and head.chain_verified
    assert server.calls["heads"] == 3


async def test_readers_do_not_follow_more_heads_than_they_are_allowed_to_writers_follow_all(
    server: MemoryVdriveServer, cap: VdriveWriteCap, path: Path, client: VdriveClient
) -> None:
    reader_client = client_of(server, path, chain_limit=1000)
    reader = reader_client.directory(cap)
    grow(server, cap, 1500)
    before = server.calls.get("heads", 0)
    head = await reader.head()
    assert head.version == 1501 and not head.chain_verified
    assert server.calls.get("heads", 0) == before
    assert not (await reader.head()).chain_verified, "not even when nothing is new"
    await put(reader_client, reader, "written")
    assert server.calls["heads"] == before + 2
    assert (await reader.head()).chain_verified


async def test_a_writer_notices_a_fork_that_its_reader_was_allowed_to_skip(
    server: MemoryVdriveServer, cap: VdriveWriteCap, path: Path, client: VdriveClient
) -> None:
    reader_client = client_of(server, path, chain_limit=10)
    reader = reader_client.directory(cap)
    before = server.saved()
    await put(client, client.directory(cap), "mine")
    server.restore(before)
    grow(server, cap, 30)
    assert not (await reader.head()).chain_verified
    with pytest.raises(ForkDetectedError):
        await put(reader_client, reader, "written")


async def test_history_that_a_server_has_not_kept_is_noted_and_stops_nobody(
    directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap, client: VdriveClient
) -> None:
    grow(server, cap, 50)
    server.directories[cap.index].floor = 40
    head = await directory.head()
    assert head.version == 51 and not head.chain_verified
    result = await put(client, directory, "written")
    assert result.versions == (52,) and not (await directory.head()).chain_verified


# -- disowned history


async def test_history_that_a_writer_gives_up_is_given_up_by_all(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    path: Path,
    clock: Clock,
) -> None:
    before = server.saved()
    await put(client, directory, "lost")
    await other[1].head()
    server.restore(before)
    clock.now += 10
    with pytest.raises(RollbackDetectedError):
        await directory.head()
    report = await other[0].heal(other[1].cap, disown=True)
    assert report.disowned and not report.complete
    with structlog.testing.capture_logs() as logs:
        assert (await directory.head()).version == 2
    assert any("disowned" in line["event"] for line in logs)
    assert evidence(path).count("disowned") == 1
    assert await names_in(directory) == {"first"}
    await put(client, directory, "again")
    assert await names_in(other[1]) == {"first", "again"}


async def test_an_old_word_of_disowning_excuses_no_later_rollback(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    clock: Clock,
) -> None:
    before = server.saved()
    await put(client, directory, "lost")
    await other[1].head()
    server.restore(before)
    await other[0].heal(other[1].cap, disown=True)
    await directory.head()
    restored = server.saved()
    clock.now += 100
    for number in range(5):
        await put(client, directory, f"later {number}")
    server.restore(restored)
    await every_way(directory, client, RollbackDetectedError)


# -- freshness


async def test_a_frozen_directory_is_noticed_by_its_missing_heartbeat(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    clock: Clock,
) -> None:
    head = await client.heartbeat(cap, 600)
    assert head.head.heartbeat == 600
    await put(client, directory, "second")
    assert (await directory.head()).head.heartbeat == 600, "other changes keep the promise"
    strict = client_of(server, clock=clock, require_fresh=True).directory(cap)
    clock.now += 2 * 600 + 3600
    await strict.head()
    clock.now += 2
    with pytest.raises(StaleDirectoryError):
        await strict.head()
    with pytest.raises(StaleDirectoryError):
        await strict.entries(["first"])
    with pytest.raises(StaleDirectoryError):
        await strict.all_entries()
    with structlog.testing.capture_logs() as logs:
        await directory.head()
        await directory.entries(["first"])
    assert sum("stale" in line["event"] for line in logs) == 1, "said once"
    await client.heartbeat(cap, 600)
    await strict.head()
    await client.heartbeat(cap, 0)
    clock.now += 10**6
    assert (await strict.head()).head.heartbeat is None


# -- what parents tell


async def test_a_parent_tells_newcomers_of_a_version(
    directory: VdriveDirectory, client: VdriveClient, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    head = await directory.head()
    bound = head.version, head.head_hash[:16]
    assert (await client_of(server).directory(cap, bound).head()).version == 2
    await put(client, directory, "third")
    assert (await client_of(server).directory(cap, bound).head()).version == 3
    server.restore(before)
    newcomer = client_of(server).directory(cap, bound)
    with pytest.raises(RollbackDetectedError):
        await newcomer.head()
    with pytest.raises(RollbackDetectedError):
        await newcomer.all_entries()


async def test_a_parent_tells_newcomers_of_a_fork(
    directory: VdriveDirectory,
    client: VdriveClient,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    head = await directory.head()
    bound = head.version, head.head_hash[:16]
    server.restore(before)
    for number in range(3):
        await put(*other, f"theirs {number}")
        with pytest.raises(ForkDetectedError):
            await client_of(server).directory(cap, bound).head()


async def test_what_a_parent_tells_is_checked_once(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    head = await directory.head()
    for number in range(5):
        await put(client, directory, f"later {number}")
    newcomer = client_of(server, path.parent / "newcomer.sqlite")
    bounded = newcomer.directory(cap, (head.version, head.head_hash[:16]))
    before = server.calls.get("heads", 0)
    await bounded.head()
    await bounded.head()
    again = client_of(server, path.parent / "newcomer.sqlite")
    await again.directory(cap, (head.version, head.head_hash[:16])).head()
    assert server.calls["heads"] == before + 1


# -- copied state


async def test_two_clients_with_copied_state_work_on_side_by_side(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    twin = client_of(server, copied_state(path, path.parent / "copy" / "memory.sqlite"))
    twins = twin.directory(cap)
    for number in range(10):
        await asyncio.gather(put(client, directory, f"one {number}"), put(twin, twins, f"two {number}"))
    names = await names_in(directory)
    assert names == await names_in(twins) and len(names) == 21


async def test_a_copy_of_old_state_catches_up(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    copy = copied_state(path, path.parent / "copy" / "memory.sqlite")
    for number in range(10):
        await put(client, directory, f"one {number}")
    assert (await client_of(server, copy).directory(cap).head()).chain_verified


async def test_memory_is_of_a_directory_wherever_it_is(
    directory: VdriveDirectory,
    client: VdriveClient,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    before = server.saved()
    await put(client, directory, "second")
    elsewhere = MemoryVdriveServer()
    elsewhere.restore(before)
    moved = client_of(elsewhere, VdriveMemory(path)).directory(VdriveWriteCap(elsewhere.place, cap.write_key))
    with pytest.raises(RollbackDetectedError):
        await moved.head()


def grow(server: MemoryVdriveServer, cap: VdriveWriteCap, versions: int) -> None:
    """Commit so many heads that change nothing, as another writer might have."""
    found = server.directories[cap.index]
    heads, states = list(found.heads), list(found.states)
    keys: WriteKeys = cap.keys
    for _ in range(versions):
        before = parse_head(heads[-1].head)
        head = next_head(
            heads[-1].head,
            root=before.root,
            count=before.count,
            operations=EMPTY_OPERATIONS,
            time=before.time,
            nonce=head_hash(heads[-1].head)[:16],
        )
        heads.append(sign_head(keys, head))
        states.append(states[-1])
    server.directories[cap.index] = replace(found, heads=heads, states=states)
