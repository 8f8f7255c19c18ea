"""What a server has lost comes back from the journals of those who sent it; a person gives up the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.errors import NotCapableError
from holdfast.grid.vdrive import disowning
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.views import CreatePlan, DeleteEntry, PutEntry
from holdfast.interfaces.vdrive_errors import ForkDetectedError, RollbackDetectedError, VdriveUnavailableError
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of, contents_of, delete, literal, names_in, put


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
    cap = await client.create(server.place)
    await put(client, client.directory(cap), "kept", "to change", "to delete")
    return cap


@pytest.fixture
def directory(client: VdriveClient, cap: VdriveWriteCap) -> VdriveDirectory:
    return client.directory(cap)


@pytest.fixture
def other(
    server: MemoryVdriveServer, cap: VdriveWriteCap, path: Path
) -> tuple[VdriveClient, VdriveDirectory]:
    """Somebody else with the same write capability."""
    client = client_of(server, path.parent / "other" / "memory.sqlite")
    path.parent.joinpath("other").mkdir()
    return client, client.directory(cap)


async def test_lost_commits_of_one_client_come_back_byte_for_byte(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    for number in range(10):
        await put(client, directory, f"n{number}")
    await delete(client, directory, "to delete")
    after = server.saved()
    server.restore(before)
    report = await client.heal(cap)
    assert report.complete and report.resent == tuple(range(2, 13)) and report.found == 1
    assert server.directories[cap.index].heads == after[cap.index].heads
    assert len(await names_in(directory)) == 12
    report = await client.heal(cap)
    assert report.complete and report.resent == ()


async def test_a_client_started_anew_heals_from_its_journal(
    client: VdriveClient,
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    before = server.saved()
    await put(client, directory, "n")
    server.restore(before)
    assert (await client_of(server, path).heal(cap)).complete


async def test_lost_commits_of_two_clients_come_back_in_their_order_whoever_begins(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    for number in range(3):
        await put(client, directory, f"mine {number}")
        await put(*other, f"theirs {number}")
    server.restore(before)
    report = await client.heal(cap)
    assert not report.complete and report.resent == (2,)
    assert report.missing == range(3, 7), "the last one, of somebody else, was seen when mine was refused"
    for _ in range(3):
        await other[0].heal(cap)
        await client.heal(cap)
    assert (await client.heal(cap)).complete and (await other[0].heal(cap)).complete
    assert len(await names_in(directory)) == 9


async def test_unattended_clients_heal_by_themselves(
    server: MemoryVdriveServer, path: Path, client: VdriveClient, cap: VdriveWriteCap
) -> None:
    unattended = client_of(server, path, auto_heal=True)
    directory = unattended.directory(cap)
    before = server.saved()
    await put(unattended, directory, "a")
    server.restore(before)
    assert "a" in await names_in(directory)
    server.restore(before)
    assert (await directory.entries(["a"])).get("a") is not None
    server.restore(before)
    assert (await directory.head()).version == 2
    server.restore(before)
    await put(unattended, directory, "b")
    assert await names_in(directory) >= {"a", "b"}
    server.restore(before)
    await asyncio.gather(*(directory.entries([name]) for name in ("a", "b", "c")))


async def test_a_change_that_is_made_by_healing_counts_as_made(
    server: MemoryVdriveServer, path: Path, client: VdriveClient, cap: VdriveWriteCap
) -> None:
    """It was sent, on what was known, to a server that had gone back in between."""
    unattended = client_of(server, path, auto_heal=True)
    directory = unattended.directory(cap)
    before = server.saved()
    await directory.entries(["b", "c"])
    await put(unattended, directory, "b")
    server.restore(before)
    result = await put(unattended, directory, "c")
    assert result.changed and result.versions == (3,)
    assert await names_in(directory) >= {"b", "c"}


async def test_a_reader_gives_back_what_it_sent_as_a_writer(
    server: MemoryVdriveServer,
    path: Path,
    client: VdriveClient,
    directory: VdriveDirectory,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(client, directory, "a")
    server.restore(before)
    reader = client_of(server, path, auto_heal=True).directory(cap.read_only)
    assert "a" in await names_in(reader)


async def test_unattended_clients_never_give_anything_up(
    server: MemoryVdriveServer,
    path: Path,
    client: VdriveClient,
    cap: VdriveWriteCap,
    other: tuple[VdriveClient, VdriveDirectory],
) -> None:
    unattended = client_of(server, path, auto_heal=True)
    directory = unattended.directory(cap)
    before = server.saved()
    await put(*other, "theirs")
    await directory.head()
    server.restore(before)
    for _ in range(2):
        with pytest.raises(RollbackDetectedError):
            await directory.head()
        with pytest.raises(RollbackDetectedError):
            await put(unattended, directory, "a")
    assert server.directories[cap.index].version == 1


async def test_commits_over_several_directories_come_back_whole_once_all_are_ready(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    target_cap = await client.create(server.place)
    target = client.directory(target_cap)
    before = server.saved()
    await put(client, target, "first", "second")
    await put(client, directory, "here")

    def move(views: object) -> list[list[DeleteEntry | PutEntry]]:
        return [[DeleteEntry("here")], [PutEntry("there", literal("moved"), {})]]

    await client.change([(directory, ["here"]), (target, ["there"])], move)
    after = server.saved()
    server.restore(before)
    report = await client.heal(cap)
    assert report.complete
    assert await names_in(target) == {"first", "second", "there"}
    assert server.directories[target_cap.index].heads == after[target_cap.index].heads


async def test_directories_that_were_made_meanwhile_come_back_with_the_commit_that_made_them(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    sub = VdriveWriteCap(server.place, b"k" * 32)
    await client.change(
        [(directory, ["sub"])],
        lambda views: [[PutEntry("sub", literal(), {})]],
        creates=[CreatePlan(sub.write_key, [PutEntry("inside", literal(), {})])],
    )
    await put(client, client.directory(sub), "later")
    server.restore(before)
    assert (await client.heal(cap)).complete
    assert (await client.heal(sub)).complete
    assert await names_in(client.directory(sub)) == {"inside", "later"}


async def test_a_server_that_went_back_to_what_there_never_was_is_not_healed(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    for number in range(3):
        await put(client, directory, f"n{number}")
    server.restore(before)
    await put(*other, "another story")
    with pytest.raises(ForkDetectedError):
        await client.heal(cap)


async def test_an_unanswered_commit_is_given_back_with_the_others(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    await put(client, directory, "answered")
    server.faults.lost_answers["commit"] = 1000
    with pytest.raises(VdriveUnavailableError):
        await put(client, directory, "not answered", deadline_s=0.1)
    server.faults.lost_answers.clear()
    server.restore(before)
    report = await client.heal(cap)
    assert report.resent == (2, 3)
    assert await names_in(directory) >= {"answered", "not answered"}


# -- giving up


async def test_own_changes_among_what_is_given_up_are_made_anew_where_they_fit(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(*other, "theirs")
    await put(client, directory, "mine")
    await put(client, directory, "to change", text="changed", replace=True)
    await put(client, directory, "theirs", text="over theirs", replace=True)
    await delete(client, directory, "to delete")
    await put(client, directory, "passing")
    await delete(client, directory, "passing")
    await put(client, directory, "twice", text="first")
    await put(client, directory, "twice", text="second", replace=True)
    server.restore(before)
    report = await client.heal(cap, disown=True)
    assert report.disowned
    assert sorted(report.made_again) == ["mine", "to change", "to delete", "twice"]
    assert report.conflicts == ("theirs",)
    assert len(client.memory.journal.following(cap.index, 1)) == 2, "only what is part of the history"
    contents = await contents_of(directory)
    assert contents.keys() == {"kept", "to change", "mine", "twice"}
    assert contents["to change"] == literal("changed").ro and contents["twice"] == literal("second").ro
    assert (await client.heal(cap)).complete
    await put(client, directory, "life goes on")


@pytest.mark.parametrize("later", [1, 5])
async def test_changes_of_others_since_then_are_left_alone(
    later: int,
    client: VdriveClient,
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    other: tuple[VdriveClient, VdriveDirectory],
) -> None:
    before = server.saved()
    await put(*other, "seen by me alone")
    await put(client, directory, "mine")
    server.restore(before)
    newcomer = client_of(server)
    await put(newcomer, newcomer.directory(cap), "mine", text="of the newcomer")
    for number in range(1, later):
        await put(newcomer, newcomer.directory(cap), f"of the newcomer {number}")
    with pytest.raises((RollbackDetectedError, ForkDetectedError)):
        await directory.head()
    with pytest.raises(ForkDetectedError):
        await client.heal(cap)
    report = await client.heal(cap, disown=True)
    assert report.conflicts == ("mine",) and report.made_again == ()
    assert (await contents_of(directory))["mine"] == literal("of the newcomer").ro
    assert len(await names_in(other[1])) == 3 + later, "who had seen the lost versions goes on, too"


async def test_own_changes_are_not_lost_when_others_went_on_from_the_restored_state(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
) -> None:
    """The newest version that the server shows was somebody else's in the history that was lost."""
    before = server.saved()
    await put(client, directory, "mine")
    await put(*other, "theirs 1", "theirs 2")
    await put(*other, "theirs 3")
    await directory.head()
    server.restore(before)
    newcomer = client_of(server)
    for number in range(2):
        await put(newcomer, newcomer.directory(cap), f"of the newcomer {number}")
    later = client_of(server, path)
    with pytest.raises(ForkDetectedError):
        await later.heal(cap)
    report = await later.heal(cap, disown=True)
    assert report.made_again == ("mine",)
    assert await names_in(later.directory(cap)) >= {"mine", "of the newcomer 0", "of the newcomer 1"}


async def test_what_replaced_something_lost_does_not_replace_what_came_in_its_place(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    """Both the lost entry and the one that is there now are of one version number."""
    before = server.saved()
    await put(*other, "x", text="theirs")
    await put(client, directory, "x", text="mine", replace=True)
    server.restore(before)
    newcomer = client_of(server)
    await put(newcomer, newcomer.directory(cap), "x", text="of the newcomer")
    report = await client.heal(cap, disown=True)
    assert report.conflicts == ("x",) and report.made_again == ()
    assert (await contents_of(directory))["x"] == literal("of the newcomer").ro


async def test_giving_up_that_was_interrupted_is_completed_the_next_time(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = server.saved()
    await put(*other, "theirs")
    await put(client, directory, "mine")
    server.restore(before)

    async def interrupted(*_: object) -> None:
        raise VdriveUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(disowning, "_make_directories", interrupted)
        with pytest.raises(VdriveUnavailableError):
            await client.heal(cap, disown=True)
    later = client_of(server, path)
    assert await names_in(later.directory(cap)) == {"kept", "to change", "to delete"}
    report = await later.heal(cap, disown=True)
    assert report.disowned and report.made_again == ("mine",)
    assert "mine" in await names_in(later.directory(cap))
    assert not (await later.heal(cap, disown=True)).disowned


async def test_lost_directories_are_made_again_when_their_parent_is_given_up(
    client: VdriveClient,
    directory: VdriveDirectory,
    other: tuple[VdriveClient, VdriveDirectory],
    server: MemoryVdriveServer,
    cap: VdriveWriteCap,
) -> None:
    before = server.saved()
    await put(*other, "theirs")
    sub = VdriveWriteCap(server.place, b"k" * 32)
    await client.change(
        [(directory, ["sub"])],
        lambda views: [[PutEntry("sub", literal(), {})]],
        creates=[CreatePlan(sub.write_key, [PutEntry("inside", literal(), {})])],
    )
    server.restore(before)
    report = await client.heal(cap, disown=True)
    assert report.made_again == ("sub",)
    assert await names_in(client.directory(sub)) == {"inside"}


async def test_nothing_is_given_up_when_all_comes_back(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    before = server.saved()
    await put(client, directory, "mine")
    server.restore(before)
    report = await client.heal(cap, disown=True)
    assert report.complete and not report.disowned
    assert (await directory.head()).head.disown_base is None


async def test_giving_up_takes_the_write_capability(client: VdriveClient, cap: VdriveWriteCap) -> None:
    with pytest.raises(NotCapableError):
        await client.heal(cap.read_only, disown=True)
