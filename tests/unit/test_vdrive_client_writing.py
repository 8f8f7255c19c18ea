"""Changing directories of virtual drive servers: each change is made once, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.errors import NotCapableError, ServerError
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.vdrive.head import parse_head
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.views import CreatePlan, DeleteEntry, EntriesView, EntryChange, PutEntry
from holdfast.interfaces.drive import ChildAlreadyPresentError
from holdfast.interfaces.vdrive import CommitAnswer
from holdfast.interfaces.vdrive_errors import (
    BadWriteEnablerError,
    ContendedDirectoryError,
    NotAuthorisedToCreateError,
    QuotaExceededError,
    RollbackDetectedError,
    ServerMisbehavedError,
    VdriveBusyError,
    VdriveTooLargeError,
    VdriveUnavailableError,
)
from holdfast.testing.memory_vdrive import FixedServers, MemoryVdriveServer
from holdfast.testing.vdrive_clients import (
    client_of,
    contents_of,
    copied_state,
    delete,
    literal,
    names_in,
    put,
    putting,
)


@pytest.fixture
def server() -> MemoryVdriveServer:
    return MemoryVdriveServer()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite"


@pytest.fixture
def client(server: MemoryVdriveServer, path: Path) -> VdriveClient:
    return client_of(server, path)


@pytest.fixture
async def cap(client: VdriveClient, server: MemoryVdriveServer) -> VdriveWriteCap:
    return await client.create(server.place)


@pytest.fixture
def directory(client: VdriveClient, cap: VdriveWriteCap) -> VdriveDirectory:
    return client.directory(cap)


@pytest.fixture
def other(server: MemoryVdriveServer, cap: VdriveWriteCap) -> tuple[VdriveClient, VdriveDirectory]:
    """Somebody else with the same write capability."""
    client = client_of(server)
    return client, client.directory(cap)


def version_of(server: MemoryVdriveServer, cap: VdriveWriteCap) -> int:
    return server.directories[cap.index].version


# -- round trips


async def test_a_change_after_a_look_takes_one_request(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    await directory.entries(["a", "b"])
    before = Counter(server.calls)
    await put(client, directory, "a")
    await put(client, directory, "b")
    assert Counter(server.calls) - before == Counter(commit=2)


async def test_a_change_without_a_look_takes_two_requests(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    await put(client, directory, *(f"n{i}" for i in range(100)))
    newcomer = client_of(server)
    before = Counter(server.calls)
    await put(newcomer, newcomer.directory(directory.cap), "new", "newer")
    assert Counter(server.calls) - before == Counter(context=1, commit=1)


async def test_a_conflict_costs_one_request_more(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
) -> None:
    await directory.entries(["a"])
    await put(*other, "b")
    before = Counter(server.calls)
    await put(client, directory, "a")
    assert Counter(server.calls) - before == Counter(commit=2)
    assert await names_in(directory) == {"a", "b"}


async def test_what_changes_nothing_is_not_sent(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    result = await client.change([(directory, ["a"])], lambda views: [[]])
    assert not result.changed and result.versions == (0,)
    assert server.calls["commit"] == 1


# -- plans


async def test_a_plan_is_asked_again_when_others_were_faster(
    client: VdriveClient, directory: VdriveDirectory, other: tuple[VdriveClient, VdriveDirectory]
) -> None:
    await directory.entries(["a"])
    await put(*other, "a", text="theirs")
    asked: list[bool] = []

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        asked.append(views[0].get("a") is None)
        return putting(["a"])(views)  # type: ignore[return-value]

    with pytest.raises(ChildAlreadyPresentError):
        await client.change([(directory, ["a"])], plan)
    assert asked == [True, False]
    assert (await contents_of(directory))["a"] == literal("theirs").ro


async def test_no_error_rests_on_what_was_so_before_the_change_began(
    client: VdriveClient, directory: VdriveDirectory, other: tuple[VdriveClient, VdriveDirectory]
) -> None:
    await put(client, directory, "a", text="old")
    await delete(*other, "a")
    await put(client, directory, "a", text="new")
    assert (await contents_of(directory))["a"] == literal("new").ro


async def test_nothing_is_left_undone_because_of_what_was_so_before_the_change_began(
    client: VdriveClient, directory: VdriveDirectory, other: tuple[VdriveClient, VdriveDirectory]
) -> None:
    await put(client, directory, "a", text="old")
    await delete(*other, "a")

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        return [[] if views[0].get("a") else [PutEntry("a", literal("new"), {})]]

    assert (await client.change([(directory, ["a"])], plan)).changed


async def test_no_error_rests_on_looks_at_two_directories_at_two_moments(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    """A child that moves from one to the other between the two looks is seen in both."""
    target_cap = await client.create(server.place)
    rival = client_of(server)

    def move(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        if views[0].get("a") is not None and views[1].get("a") is not None:
            raise AssertionError("that was never so")
        entry = views[0].get("a")
        return [[], []] if entry is None else [[DeleteEntry("a")], [PutEntry("a", entry.child, {})]]

    parts = [(rival.directory(cap), ["a"]), (rival.directory(target_cap), ["a"])]
    await put(rival, parts[0][0], "a")
    true_child = server.child
    moved = asyncio.Event()

    async def child(index: bytes, slot: bytes) -> Any:
        if index == cap.index and not moved.is_set():
            answer = await true_child(index, slot)
            server.child = true_child  # type: ignore[method-assign]
            await rival.change(parts, move)
            moved.set()
            return answer
        await moved.wait()
        return await true_child(index, slot)

    server.child = child  # type: ignore[method-assign]
    newcomer = client_of(server)
    both = [(newcomer.directory(cap), ["a"]), (newcomer.directory(target_cap), ["a"])]
    assert not (await newcomer.change(both, move)).changed
    assert moved.is_set()


async def test_a_plan_keeps_to_the_names_it_was_to_look_at(
    client: VdriveClient, directory: VdriveDirectory
) -> None:
    for changes in (
        [PutEntry("b", literal(), {})],
        [PutEntry("a", literal(), {}), DeleteEntry("a")],
    ):
        with pytest.raises(ValueError):
            await client.change([(directory, ["a"])], lambda views, some=changes: [some])  # type: ignore[misc]
    with pytest.raises(ValueError):
        await client.change([(directory, ["a"])], lambda views: [])


async def test_names_are_normalised_wherever_they_come_from(
    client: VdriveClient, directory: VdriveDirectory
) -> None:
    await put(client, directory, "e\u0301")
    assert await names_in(directory) == {"\u00e9"}
    await delete(client, directory, "e\u0301")
    assert await names_in(directory) == set()


@pytest.mark.parametrize(
    "entry",
    [
        PutEntry("bad", ChildSlots(fault="malformed"), {}),
        PutEntry("bad", literal(), {"key": object()}),
        PutEntry("bad", literal(), {"key": "x" * 9000}),
    ],
)
async def test_what_cannot_be_stored_concerns_nobody_else(
    client: VdriveClient, directory: VdriveDirectory, entry: PutEntry
) -> None:
    first = put(client, directory, "first")
    bad = client.change([(directory, ["bad"])], lambda views: [[entry]])
    others = [put(client, directory, f"n{number}") for number in range(5)]
    results = await asyncio.gather(first, bad, *others, return_exceptions=True)
    assert isinstance(results[1], ChildFaultError | BadMetadataError)
    assert len([one for one in results if isinstance(one, BaseException)]) == 1
    assert await names_in(directory) == {"first", *(f"n{number}" for number in range(5))}


async def test_changes_that_are_too_large_together_are_made_apart(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    async def large(number: int) -> None:
        names = [f"{number} {one}" for one in range(300)]
        entries = [PutEntry(name, literal(), {"key": "x" * 7500}) for name in names]
        await client.change([(directory, names)], lambda views: [entries])

    await asyncio.gather(*(large(number) for number in range(4)))
    assert len(await directory.all_entries(names_only=True)) == 1200
    names = [f"n{one}" for one in range(1000)]
    writable = child_slots(VdriveWriteCap(server.place, bytes(32)).to_text(), None)
    entries = [PutEntry(name, writable, {"key": "x" * 7850}) for name in names]
    with pytest.raises(VdriveTooLargeError):
        await client.change([(directory, names)], lambda views: [entries])


async def test_a_read_only_directory_is_not_changed(
    client: VdriveClient, cap: VdriveWriteCap, server: MemoryVdriveServer
) -> None:
    before = dict(server.calls)
    with pytest.raises(NotCapableError):
        await put(client, client.directory(cap.read_only), "a")
    assert server.calls == before


async def test_too_much_at_once_is_refused_before_anybody_is_asked(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    before = dict(server.calls)
    with pytest.raises(ValueError):
        await put(client, directory, *(f"n{i}" for i in range(1001)))
    with pytest.raises(ValueError):
        await client.change([(directory, ["a"])] * 2, lambda views: [[], []])
    with pytest.raises(ValueError):
        await client.create(server.place, entries=[PutEntry(f"n{i}", literal(), {}) for i in range(1001)])
    elsewhere = client_of(FixedServers(server, MemoryVdriveServer()))
    assert server.calls == before
    del elsewhere


# -- several directories


async def test_a_move_between_directories_is_one_commit(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    target = client.directory(await client.create(server.place))
    await put(client, directory, "a")

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        entry = views[0].get("a")
        assert entry is not None
        return [[DeleteEntry("a")], [PutEntry("b", entry.child, entry.metadata)]]

    before = server.calls["commit"]
    result = await client.change([(directory, ["a"]), (target, ["b"])], plan)
    assert server.calls["commit"] == before + 1 and result.versions == (2, 1)
    assert (await names_in(directory), await names_in(target)) == (set(), {"b"})


async def test_a_directory_is_made_filled_and_linked_in_one_commit(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    child_cap = VdriveWriteCap(server.place, b"k" * 32)
    before = server.calls["commit"]
    result = await client.change(
        [(directory, ["sub"])],
        putting(["sub"]),
        creates=[CreatePlan(child_cap.write_key, [PutEntry("inside", literal(), {})])],
    )
    assert server.calls["commit"] == before + 1 and result.versions == (1, 1)
    assert await names_in(client.directory(child_cap)) == {"inside"}


async def test_directories_of_two_servers_are_not_changed_together(server: MemoryVdriveServer) -> None:
    second = MemoryVdriveServer()
    client = client_of(FixedServers(server, second))
    one, two = [client.directory(await client.create(place)) for place in (server.place, second.place)]
    with pytest.raises(ValueError):
        await client.change([(one, ["a"]), (two, ["a"])], lambda views: [[], []])


# -- making directories


async def test_making_a_directory_again_does_no_harm(
    client: VdriveClient, server: MemoryVdriveServer
) -> None:
    entries = [PutEntry(name, literal(), {}) for name in ("a", "b")]
    cap = await client.create(server.place, b"k" * 32, entries)
    directory = client.directory(cap)
    assert await client.create(server.place, b"k" * 32, entries) == cap
    await put(client, directory, "c")
    await put(client, directory, "a", text="changed since", replace=True)
    await delete(client, directory, "b")
    assert await client_of(server).create(server.place, b"k" * 32, entries) == cap
    contents = await contents_of(directory)
    assert contents.keys() == {"a", "b", "c"} and contents["a"] == literal("changed since").ro
    assert await client.create(server.place, b"k" * 32) == cap


async def test_without_an_account_no_directory_is_made(server: MemoryVdriveServer) -> None:
    server.accounts = {"token"}
    with pytest.raises(NotAuthorisedToCreateError):
        await client_of(server).create(server.place)
    cap = await client_of(FixedServers(server, account="token")).create(server.place)
    client = client_of(server)
    await put(client, client.directory(cap), "others may write")


# -- changes of one client do not conflict with each other


async def test_changes_that_wait_for_a_directory_are_made_together(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    before = server.calls["commit"]
    await asyncio.gather(*(put(client, directory, f"n{i}") for i in range(300)))
    assert len(await names_in(directory)) == 300
    assert server.calls["commit"] - before == 2, "the first at once, all others behind it"


async def test_changes_of_one_name_are_made_one_after_the_other_in_order(
    client: VdriveClient, directory: VdriveDirectory
) -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        await put(client, directory, "same", text=f"{number}", replace=True)
        done.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert done == list(range(20))
    assert (await contents_of(directory))["same"] == literal("19").ro


async def test_each_change_that_is_made_with_others_has_its_own_result(
    client: VdriveClient, directory: VdriveDirectory
) -> None:
    await put(client, directory, "taken")
    results = await asyncio.gather(
        put(client, directory, "first"),
        put(client, directory, "taken"),
        put(client, directory, "free"),
        delete(client, directory, "missing"),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == [
        "ChangeResult",
        "ChildAlreadyPresentError",
        "ChangeResult",
        "ChangeResult",
    ]
    assert await names_in(directory) == {"taken", "first", "free"}


async def test_no_more_names_are_changed_together_than_a_commit_may_have(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    await asyncio.gather(*(put(client, directory, *(f"{i} {j}" for j in range(400))) for i in range(6)))
    assert len(await names_in(directory)) == 2400


async def test_what_a_server_refuses_of_many_changes_fails_none_of_the_others(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    true_commit = server.commit
    unwanted = directory.slots(["n5"]).keys()

    async def commit(request: Any, authority: Any) -> CommitAnswer:
        if any(slot in section.operations for slot in unwanted for section in request.sections):
            raise QuotaExceededError("there is no room for this one")
        return await true_commit(request, authority)

    server.commit = commit  # type: ignore[method-assign]
    results = await asyncio.gather(
        *(put(client, directory, f"n{i}") for i in range(12)), return_exceptions=True
    )
    assert [isinstance(result, QuotaExceededError) for result in results].count(True) == 1
    assert await names_in(directory) == {f"n{i}" for i in range(12) if i != 5}


async def test_changes_of_several_directories_at_once_neither_wait_for_ever_nor_get_lost(
    client: VdriveClient, server: MemoryVdriveServer
) -> None:
    directories = [client.directory(await client.create(server.place)) for _ in range(4)]

    async def one(number: int) -> None:
        here, there = directories[number % 4], directories[(number + 1 + number // 7) % 4]
        name = f"n{number}"
        if here is there:
            await put(client, here, name)
            return
        entry = [PutEntry(name, literal(), {})]
        await client.change([(here, [name]), (there, [name])], lambda views: [entry, entry])

    await asyncio.gather(*(one(number) for number in range(60)))
    counts = [len(await names_in(directory)) for directory in directories]
    assert sum(counts) == 120 - sum((i % 4) == ((i + 1 + i // 7) % 4) for i in range(60))


async def test_a_change_that_nobody_waits_for_any_more_is_not_made(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    server.faults.delay_s = 0.02
    first = asyncio.create_task(put(client, directory, "first"))
    await asyncio.sleep(0)
    second = asyncio.create_task(put(client, directory, "second"))
    await asyncio.sleep(0.005)
    second.cancel()
    await first
    assert await names_in(directory) == {"first"}


# -- answers that do not come (V-11)


@pytest.mark.parametrize("call", ["context", "child", "commit"])
@pytest.mark.parametrize("lost", ["lost_requests", "lost_answers"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_request_or_answer_is_made_up_for_and_the_change_is_made_once(
    client: VdriveClient,
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    call: str,
    lost: str,
    times: int,
) -> None:
    await put(client, directory, *(f"n{i}" for i in range(50)))
    getattr(server.faults, lost)[call] = times
    names = ("new",) if call == "child" else ("new", "newer")
    received = len(server.received)
    result = await put(client, directory, *names)
    assert result.versions == (2,) and version_of(server, cap) == 2
    assert len({request.sections for request in server.received[received:]}) == 1, "the same bytes each time"
    assert set(names) <= await names_in(directory)


async def test_a_lost_answer_is_made_up_for_when_others_wrote_meanwhile(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
) -> None:
    true_commit = server.commit

    async def commit(request: Any, authority: Any) -> CommitAnswer:
        server.commit = true_commit  # type: ignore[method-assign]
        await true_commit(request, authority)
        await put(*other, "theirs", "too")
        raise ServerError("it cannot be reached: connection reset")

    await directory.entries(["mine"])
    server.commit = commit  # type: ignore[method-assign]
    result = await put(client, directory, "mine")
    assert result.versions == (1,)
    assert await names_in(directory) == {"mine", "theirs", "too"}
    await put(client, directory, "later")


async def test_busy_servers_and_turns_of_others_are_waited_for(
    client: VdriveClient,
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    other: tuple[VdriveClient, VdriveDirectory],
) -> None:
    server.faults.refusals["commit"] = [VdriveBusyError("it is busy", retry_after_s=0.01)] * 3
    await put(client, directory, "a")
    keys = other[1].write_keys
    assert keys is not None
    assert await names_in(directory) == {"a"}


async def test_an_unanswered_commit_ends_with_the_deadline_and_is_resolved_by_the_next_change(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    for lost in (server.faults.lost_requests, server.faults.lost_answers):
        before = await names_in(directory)
        lost["commit"] = 1000
        with pytest.raises(VdriveUnavailableError) as caught:
            await put(client, directory, f"open {len(before)}", deadline_s=0.3)
        assert caught.value.may_be_applied
        lost.clear()
        versions = version_of(server, cap)
        signed = {section.head for request in server.received for section in request.sections}
        await put(client, directory, f"next {len(before)}", deadline_s=10)
        assert await names_in(directory) == before | {f"open {len(before)}", f"next {len(before)}"}
        after = {section.head for request in server.received for section in request.sections}
        assert version_of(server, cap) <= versions + 2
        by_version = Counter(parse_head(head.head).version for head in signed | after)
        assert set(by_version.values()) == {1}, "never two heads of one version"


async def test_a_server_that_hangs_ends_with_the_deadline(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    await directory.entries(["a"])
    server.faults.hung_calls = {"commit"}
    with pytest.raises(VdriveUnavailableError) as caught:
        await put(client, directory, "a", deadline_s=0.1)
    assert caught.value.may_be_applied
    server.faults.hung_calls = {"context", "child"}
    second = client_of(server)
    with pytest.raises(VdriveUnavailableError) as caught:
        await put(second, second.directory(directory.cap), "a", deadline_s=0.1)
    assert not caught.value.may_be_applied
    await client.close()
    await second.close()


async def test_closing_a_client_ends_what_is_under_way(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    server.faults.hung = True
    under_way = asyncio.create_task(put(client, directory, "a"))
    waiting = asyncio.create_task(put(client, directory, "a"))
    await asyncio.sleep(0.01)
    await client.close()
    for task in (under_way, waiting):
        with pytest.raises(VdriveUnavailableError):
            await task


# -- refusals


async def test_a_definite_refusal_is_raised_and_the_next_change_is_signed_anew(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, path: Path
) -> None:
    server.faults.refusals["commit"] = [QuotaExceededError("the account is full")]
    with pytest.raises(QuotaExceededError):
        await put(client, directory, "a")
    assert VdriveMemory(path).journal.unanswered(directory.index) == []
    await put(client, directory, "b")
    assert await names_in(directory) == {"b"}


async def test_enablers_are_registered_once_with_a_service_that_knows_others(
    server: MemoryVdriveServer, client: VdriveClient, cap: VdriveWriteCap, directory: VdriveDirectory
) -> None:
    await put(client, directory, "a")
    new = MemoryVdriveServer()
    new.restore(server.saved())
    servers = FixedServers(server, new)
    servers.moved[server.sid] = new.sid
    moved = client_of(servers)
    await put(moved, moved.directory(cap), "b")
    assert new.calls["enrol"] == 1
    await put(moved, moved.directory(cap), "c")
    assert new.calls["enrol"] == 1 and await names_in(moved.directory(cap)) == {"a", "b", "c"}
    new.faults.refusals["commit"] = [BadWriteEnablerError("wrong")] * 2
    with pytest.raises(BadWriteEnablerError):
        await put(moved, moved.directory(cap), "d")


async def test_an_answer_to_a_commit_that_tells_of_another_one_is_refused(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    lies: list[Callable[[CommitAnswer], CommitAnswer]] = [
        lambda answer: CommitAnswer((), answer.time),
        lambda answer: CommitAnswer(
            tuple(type(one)(one.index, one.version + 1, one.head_hash) for one in answer.directories), 0
        ),
        lambda answer: CommitAnswer(
            tuple(type(one)(one.index, one.version, bytes(32)) for one in answer.directories), 0
        ),
    ]
    for number, lie in enumerate(lies):
        server.faults.rewrite["commit"] = lie
        with pytest.raises(ServerMisbehavedError):
            await put(client, directory, f"n{number}")
        server.faults.rewrite.clear()
        await put(client, directory, f"m{number}")
    assert len(await names_in(directory)) == 6


async def test_contexts_of_a_conflict_are_proven(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    await put(client, directory, "a")
    old = server.saved()
    await put(*other, "b")
    await directory.entries(["c"])
    new = server.saved()
    server.restore(old)
    with pytest.raises(RollbackDetectedError):
        await put(client, directory, "c")
    server.restore(new)
    await put(client, directory, "d")
    assert await names_in(directory) == {"a", "b", "c", "d"}, "what was sent to the old state is made now"


async def test_conflicts_without_contexts_are_looked_up(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
) -> None:
    true_commit = server.commit

    async def commit(request: Any, authority: Any) -> CommitAnswer:
        try:
            return await true_commit(request, authority)
        except Exception as error:
            if hasattr(error, "contexts"):
                error.contexts = ()
            raise

    server.commit = commit  # type: ignore[method-assign]
    await directory.entries(["a"])
    await put(*other, "b")
    await put(client, directory, "a")
    assert await names_in(directory) == {"a", "b"}


# -- contention (V-10)


async def test_a_slow_writer_among_fast_ones_gets_its_turn(
    server: MemoryVdriveServer, client: VdriveClient, cap: VdriveWriteCap
) -> None:
    stop = asyncio.Event()

    async def fast(number: int) -> int:
        writer = client_of(server)
        directory = writer.directory(cap)
        count = 0
        while not stop.is_set():
            await put(writer, directory, f"fast {number}", text=f"{count}", replace=True)
            count += 1
        return count

    class SlowServer:
        """The same server over a slow line."""

        sid, place = server.sid, server.place

        def __getattr__(self, name: str) -> Any:
            call = getattr(server, name)

            async def slow(*args: Any, **options: Any) -> Any:
                await asyncio.sleep(0.15)
                try:
                    return await call(*args, **options)
                finally:
                    await asyncio.sleep(0.15)

            return slow

    writers = [asyncio.create_task(fast(number)) for number in range(10)]
    await asyncio.sleep(0.2)
    slow = client_of(SlowServer())
    try:
        await put(slow, slow.directory(cap), "slow", deadline_s=20)
    finally:
        stop.set()
    counts = await asyncio.gather(*writers)
    assert min(counts) > 0
    assert server.calls["turn"] >= 1


async def test_who_never_comes_first_is_told_so(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
) -> None:
    true_commit = server.commit
    count = 0

    async def commit(request: Any, authority: Any) -> CommitAnswer:
        nonlocal count
        server.commit = true_commit  # type: ignore[method-assign]
        await put(*other, f"n{count}")
        count += 1
        server.commit = commit  # type: ignore[method-assign]
        return await true_commit(request, authority)

    server.faults.failing_calls = {"turn"}
    server.commit = commit  # type: ignore[method-assign]
    with pytest.raises((ContendedDirectoryError, VdriveUnavailableError)) as caught:
        await put(client, directory, "mine", deadline_s=0.5)
    assert not caught.value.may_be_applied  # type: ignore[attr-defined]


# -- crashes of the client


class CrashError(BaseException):
    """The client is no more."""


STEPS = [
    "before the journal",
    "after the journal",
    "lost request",
    "lost answer",
    "before memory",
    "before applied",
]


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_dies_at_any_step_finds_out_what_became_of_its_change(
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    memory = VdriveMemory(tmp_path / "dying.sqlite")
    dying = client_of(server, memory)
    directory = dying.directory(cap)
    await put(dying, directory, "before")

    async def die(*args: Any, **options: Any) -> Any:
        raise CrashError

    true_begin, true_commit = memory.journal.begin, server.commit

    async def begin_and_die(*args: Any, **options: Any) -> Any:
        await true_begin(*args, **options)
        raise CrashError

    async def commit_and_die(*args: Any, **options: Any) -> Any:
        await true_commit(*args, **options)
        raise CrashError

    match step:
        case "before the journal":
            monkeypatch.setattr(memory.journal, "begin", die)
        case "after the journal":
            monkeypatch.setattr(memory.journal, "begin", begin_and_die)
        case "lost request":
            monkeypatch.setattr(server, "commit", die)
        case "lost answer":
            monkeypatch.setattr(server, "commit", commit_and_die)
        case "before memory":
            monkeypatch.setattr(memory, "remember", die)
        case "before applied":
            monkeypatch.setattr(memory.journal, "applied", die)
    task = asyncio.create_task(put(dying, directory, "change", deadline_s=0.2))
    with pytest.raises((CrashError, VdriveUnavailableError)):
        await task
    monkeypatch.undo()
    copy = copied_state(tmp_path / "dying.sqlite", tmp_path / "after" / "memory.sqlite")
    reborn = client_of(server, copy)
    await put(reborn, reborn.directory(cap), "after")
    names = await names_in(reborn.directory(cap))
    assert names == ({"before", "after"} if step == "before the journal" else {"before", "change", "after"})
    heads = {section.head for request in server.received for section in request.sections}
    assert max(Counter(parse_head(head.head).version for head in heads).values()) == 1
    assert VdriveMemory(copy).journal.unanswered(cap.index) == []


async def test_a_change_of_a_dead_client_that_others_overtook_is_not_made_later(
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    path: Path,
) -> None:
    await directory.entries(["mine"])
    server.faults.lost_requests["commit"] = 1000
    with pytest.raises(VdriveUnavailableError):
        await put(client, directory, "mine", deadline_s=0.1)
    server.faults.lost_requests.clear()
    await put(*other, "theirs")
    await put(client, directory, "next")
    assert await names_in(directory) == {"theirs", "next"}


# -- leases


async def test_leases_are_renewed_and_cancelled_with_secrets_that_are_derived(
    client: VdriveClient, cap: VdriveWriteCap, server: MemoryVdriveServer
) -> None:
    await client.renew_lease(cap)
    await client.renew_lease(cap.read_only.verify_cap)
    await client.renew_lease(cap.refresh_cap, 100)
    assert (await client.lease_info(cap)).leases == 1
    stranger = client_of(server, lease_seed=b"x" * 32)
    await stranger.renew_lease(cap)
    await stranger.cancel_lease(cap)
    assert (await client.lease_info(cap)).leases == 1
    await client.cancel_lease(cap)
    assert (await client.lease_info(cap)).leases == 0
