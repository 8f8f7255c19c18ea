"""What directories of a virtual drive server do otherwise than others: few requests, changes of several as
one, hidden metadata, changes as they happen; and trees of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from holdfast.caps import VdriveReadCap, VdriveWriteCap
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.drive.nodes import Drive
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_contents import NoVdriveClientError
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.drive.vdrive_watching import NamesChanged
from holdfast.errors import ServerError
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.grid.sources import DataSource
from holdfast.grid.vdrive.views import PutEntry
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    ChildOfWrongTypeError,
    LinksIncompleteError,
    MoveIncompleteError,
    NewChild,
    NoSuchChildError,
    NotWriteableError,
    UnreadableChildError,
    UnreadableEntry,
    VersionMismatchError,
)
from holdfast.interfaces.vdrive_errors import (
    NoSuchDirectoryError,
    QuotaExceededError,
    RollbackDetectedError,
)
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig

LITERAL = "URI:LIT:ba"


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


async def new(drive: Drive, children: dict[str, NewChild] | None = None) -> VdriveDirectoryNode:
    return vdrive_node(await drive.create_directory("vdrive", children))


def vdrive_node(node: object) -> VdriveDirectoryNode:
    assert isinstance(node, VdriveDirectoryNode)
    return node


def write_cap(node: StoredDirectoryNode) -> VdriveWriteCap:
    assert isinstance(node.cap, VdriveWriteCap)
    return node.cap


def link(drive: Drive, metadata: dict[str, object] | None = None) -> NewChild:
    return NewChild(drive.node(LITERAL), metadata)


async def asked_for(rig: VdriveRig, doing: object) -> list[str]:
    """Return what is asked of the server while ``doing`` is done."""
    before = len(rig.calls)
    await doing  # type: ignore[misc]
    return rig.calls[before:]


# -- requests


@pytest.mark.seed("S-102", "S-103")
async def test_looking_up_takes_one_request_for_each_step(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new(drive)
    middle = await top.create_empty_directory("middle")
    inner = await middle.create_empty_directory("inner")
    await inner.set_uri("x", LITERAL)
    seen = vdrive_node(rig.drive().node(top.get_uri()))

    assert await asked_for(rig, seen.get("middle")) == ["child"]
    assert await asked_for(rig, seen.has_child("none")) == ["child"]
    assert await asked_for(rig, seen.get_listed("middle")) == ["child"]
    assert await asked_for(rig, seen.get_child_at_path("middle/inner/x")) == ["child"] * 3
    assert await asked_for(rig, seen.list()) == ["page"]


async def test_a_change_takes_two_requests_and_one_after_looking(rig: VdriveRig) -> None:
    drive = rig.drive()
    uri = (await new(drive)).get_uri()
    node = vdrive_node(rig.drive().node(uri))

    assert await asked_for(rig, node.set_uri("x", LITERAL)) == ["child", "commit"]
    await node.has_child("y")
    assert await asked_for(rig, node.set_uri("y", LITERAL)) == ["commit"]
    fresh = vdrive_node(rig.drive().node(uri))
    children = {str(number): link(drive) for number in range(300)}
    assert await asked_for(rig, fresh.set_children(children)) == ["context", "commit"]
    fresh = vdrive_node(rig.drive().node(uri))
    assert await asked_for(rig, fresh.create_empty_directory("sub")) == ["child", "commit"]
    assert await asked_for(rig, fresh.delete("none", must_exist=False)) == ["child"]
    assert await asked_for(rig, fresh.set_children({})) == []


@pytest.mark.seed("S-111")
async def test_nothing_is_stored_for_a_name_that_is_taken(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive, {"x": link(drive)})

    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("x", DataSource(b"data" * 50))
    assert rig.grid.calls() == []


@pytest.mark.seed("S-111")
async def test_a_name_taken_while_a_file_was_stored_is_refused(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive)
    other = vdrive_node(rig.drive().node(node.get_uri()))

    upload = drive.upload

    async def slow_upload(*args: object, **options: object) -> object:
        file = await upload(*args, **options)  # type: ignore[arg-type]
        await other.set_uri("x", LITERAL)
        return file

    drive.upload = slow_upload  # type: ignore[method-assign, assignment]
    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("x", DataSource(b"data" * 50))
    assert (await node.get("x")).get_uri() == LITERAL


# -- several directories at once


@pytest.mark.seed("S-113")
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_directory_is_made_and_linked_together_or_not_at_all(rig: VdriveRig, lost: str) -> None:
    drive = rig.drive()
    node = await new(drive)
    server = rig.server
    left = 3

    async def fail(call: str) -> None:
        nonlocal left
        if call == "commit" and left > 0:
            left -= 1
            raise ServerError("the connection broke")

    if lost == "request":
        server.before = fail
    else:
        server.after = fail
    child = await node.create_subdirectory("sub", {"x": link(drive, {"k": 1})}, metadata={"m": 2})
    assert left == 0
    seen = vdrive_node(rig.drive().node(node.get_uri()))
    listed = await seen.get_listed("sub")
    assert listed.node == child
    assert listed.metadata["m"] == 2
    assert (await vdrive_node(listed.node).get_listed("x")).metadata == {"k": 1}


@pytest.mark.seed("S-113")
async def test_a_directory_that_cannot_be_linked_is_not_made(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive, {"x": link(drive)})
    count = len(rig.calls)

    with pytest.raises(ChildAlreadyPresentError):
        await node.create_empty_directory("x")
    assert "commit" not in rig.calls[count:]


@pytest.mark.seed("S-114", "X-04")
async def test_a_move_at_one_server_is_one_change(rig: VdriveRig) -> None:
    drive = rig.drive()
    source, target = await new(drive, {"x": link(drive, {"k": 1, "ctime": 5})}), await new(drive)

    asked = await asked_for(rig, source.move_child_to("x", target, "y"))
    assert asked.count("commit") == 1
    listed = await target.get_listed("y")
    assert listed.metadata["k"] == 1
    assert listed.metadata["ctime"] == 5
    assert (await source.move_child_to("none", source, "none")).atomic
    assert (await target.move_child_to("y", source)).atomic
    assert list(await source.list()) == ["y"]
    assert await target.list() == {}


@pytest.mark.seed("S-114")
@pytest.mark.parametrize("lost", ["request", "answer", "both"])
async def test_nobody_sees_a_child_that_moves_twice_or_not_at_all(rig: VdriveRig, lost: str) -> None:
    """Whatever of the exchange is lost, and whoever looks in between."""
    drive = rig.drive()
    source, target = await new(drive, {"x": link(drive)}), await new(drive)
    reader = rig.drive()
    seen_source = vdrive_node(reader.node(source.get_immutable_uri()))
    seen_target = vdrive_node(reader.node(target.get_immutable_uri()))
    left = 4

    async def fail(call: str) -> None:
        nonlocal left
        if call == "commit" and left > 0:
            left -= 1
            assert [await seen_source.has_child("x"), await seen_target.has_child("x")].count(True) == 1
            raise ServerError("the connection broke")

    server = rig.server
    if lost in ("request", "both"):
        server.before = fail
    if lost in ("answer", "both"):
        server.after = fail
    assert (await source.move_child_to("x", target)).atomic
    assert left == 0
    assert await source.list() == {}
    assert list(await target.list()) == ["x"]


@pytest.mark.seed("S-114", "X-05")
async def test_a_directory_held_in_two_ways_is_one_directory(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive, {"x": link(drive)})
    cap = write_cap(node)
    elsewhere = VdriveWriteCap(
        type(cap.place)(cap.place.sid, cap.place.swissnum, ("other.example:1",)), cap.write_key
    )
    other = vdrive_node(drive.node(elsewhere))
    assert other != node

    assert (await node.move_child_to("x", other)).atomic
    assert (await node.move_child_to("x", other, "y")).atomic
    assert list(await node.list()) == ["y"]
    with pytest.raises(NotWriteableError):
        await node.move_child_to("y", vdrive_node(drive.node(node.get_immutable_uri())))


@pytest.mark.seed("S-114")
async def test_moves_between_servers_and_kinds_link_first(rig: VdriveRig) -> None:
    drive = rig.drive()
    second = await rig.add_service()
    here = await new(drive, {"x": link(drive, {"k": 1})})
    cap = await rig.client().create(second)
    grid = await drive.create_directory("sdmf")
    elsewhere = vdrive_node(drive.node(cap))

    for source, target in ((here, elsewhere), (elsewhere, grid), (grid, here)):
        result = await source.move_child_to("x", target)
        assert not result.atomic
        assert await source.list() == {}
        assert (await target.get_listed("x")).metadata["k"] == 1


@pytest.mark.seed("S-114")
async def test_a_move_that_ends_halfway_leaves_the_child_twice(rig: VdriveRig) -> None:
    drive = rig.drive()
    here = await new(drive, {"x": link(drive)})
    grid = await drive.create_directory("mdmf")

    async def fail(call: str) -> None:
        if call == "commit":
            raise QuotaExceededError("full")

    rig.server.before = fail
    with pytest.raises(MoveIncompleteError) as caught:
        await here.move_child_to("x", grid, "y")
    assert (caught.value.name, caught.value.new_name) == ("x", "y")
    assert list(await here.list()) == ["x"]
    assert list(await grid.list()) == ["y"]


# -- many children


async def test_more_children_than_one_change_holds_are_linked_in_several(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive)
    children = {f"n{number:04}": link(drive) for number in range(2500)}

    before = len(rig.calls)
    result = await node.set_children(children)
    assert not result.atomic
    assert rig.calls[before:].count("commit") == 3
    assert list(await node.list()) == sorted(children)
    assert (await node.set_children({"a": link(drive)})).atomic
    assert [name async for name in node.iter_names()] != sorted(children)
    assert sorted([name async for name in node.iter_names()]) == sorted([*children, "a"])
    unordered = [child async for child in node.iter_unordered()]
    assert {child.name: child.node for child in unordered} == await node.list()


async def test_what_was_linked_before_a_failure_is_told(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive, {"n1500": link(drive)})
    children = {f"n{number:04}": link(drive) for number in range(2500)}

    with pytest.raises(LinksIncompleteError) as caught:
        await node.set_children(children)
    assert caught.value.made == 1000
    assert isinstance(caught.value.__cause__, ChildAlreadyPresentError)
    assert len(await node.list()) == 1001
    with pytest.raises(ChildAlreadyPresentError):
        await node.set_children({"a": link(drive), "n1500": link(drive)})
    assert not await node.has_child("a")


async def test_a_directory_can_begin_with_many_children(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive)
    children = {f"n{number:04}": link(drive, {"k": number}) for number in range(1001)}

    child = await node.create_subdirectory("sub", children)
    assert list(await child.list()) == sorted(children)
    assert (await child.get_listed("n0700")).metadata["k"] == 700
    assert await node.get("sub") == child
    assert list(await (await drive.create_directory("vdrive", children)).list()) == sorted(children)


async def test_writers_at_once_lose_nothing(rig: VdriveRig) -> None:
    """Several clients set, delete and move, each its own names."""
    drive = rig.drive()
    first, second = await new(drive), await new(drive)

    async def write(drive: Drive, own: str) -> None:
        here, there = (vdrive_node(drive.node(node.get_uri())) for node in (first, second))
        for number in range(4):
            await here.set_uri(f"{own}{number}", LITERAL)
        await here.move_child_to(f"{own}0", there)
        await here.delete(f"{own}1")
        await here.create_empty_directory(f"{own}d")
        await here.move_child_to(f"{own}2", here, f"{own}9")

    async with asyncio.TaskGroup() as group:
        for client in range(4):
            each = rig.drive()
            for task in "ab":
                group.create_task(write(each, f"{client}{task}"))
    owners = [f"{client}{task}" for client in range(4) for task in "ab"]
    assert list(await first.list()) == sorted(own + what for own in owners for what in "39d")
    assert list(await second.list()) == [own + "0" for own in owners]


# -- names and metadata


async def test_names_have_limits(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive)
    fitting = ["x" * 1000, "\u00e9" * 500, "\U0001f600" * 250, "e\u0301" * 500]
    for name in fitting:
        await node.set_uri(name, LITERAL, replace=True)
    assert len(await node.list()) == 3
    count = len(rig.calls)
    for name in ("x" * 1001, "\u00e9" * 501, "\U0001f600" * 250 + "x", ".", "..", "", "a/b", "a\0"):
        with pytest.raises(BadChildNameError):
            await node.set_uri(name, LITERAL)
        with pytest.raises(BadChildNameError):
            await node.create_subdirectory("sub", {name: link(drive)})
        with pytest.raises(BadChildNameError):
            await drive.create_directory("vdrive", {name: link(drive)})
    assert len(rig.calls) == count


async def test_metadata_is_kept_whatever_it_holds(rig: VdriveRig) -> None:
    drive = rig.drive()
    metadata = {"bytes": b"\xff\x00", "list": [1, {"a": None}], "float": 0.5, "big": 2**60}
    node = await new(drive, {"x": link(drive, metadata)})

    assert (await node.get_listed("x")).metadata == metadata
    await node.set_uri("x", "URI:LIT:ca", replace=True)
    kept = (await node.get_listed("x")).metadata
    assert {key: kept[key] for key in metadata} == metadata
    count = len(rig.calls)
    with pytest.raises(BadMetadataError):
        await node.set_children({"y": link(drive, {"long": "x" * 8000})})
    with pytest.raises(BadMetadataError):
        await node.set_uri("y", LITERAL, metadata={"k": object()})
    assert "commit" not in rig.calls[count:]


async def test_versions_are_those_of_the_directory(rig: VdriveRig) -> None:
    node = await new(rig.drive())
    for number, name in enumerate("abc", 1):
        await node.set_uri(name, LITERAL)
        assert (await node.get_listed(name)).version == number.to_bytes(8, "big")
    version = (await node.get_listed("b")).version
    await node.set_uri("b", LITERAL, expect=version)
    with pytest.raises(VersionMismatchError):
        await node.set_uri("b", LITERAL, expect=version)


@pytest.mark.seed("S-101", "X-07")
async def test_an_unreadable_entry_is_shown_kept_and_can_be_deleted(rig: VdriveRig) -> None:
    drive = rig.drive()
    client = rig.client()
    other = await new(drive)
    wrong = ChildSlots(  # readers would see another directory than writers
        other.get_uri().encode(), (await new(drive)).get_immutable_uri().encode(), other.cap
    )
    cap = await client.create(rig.place, entries=[PutEntry("bad", wrong, {"k": 1})])
    node = vdrive_node(drive.node(cap))

    listed = await node.get_listed("bad")
    assert isinstance(listed.node, UnreadableEntry)
    assert "belong together" in listed.node.reason
    assert await node.list() == {"bad": listed.node}
    assert await node.has_child("bad")
    for look in (node.get, lambda name: node.get_child_at_path([name, "x"])):
        with pytest.raises(UnreadableChildError):
            await look("bad")
    with pytest.raises(UnreadableChildError):
        await node.list(on_error="raise")
    with pytest.raises(UnreadableChildError):
        await node.set_metadata("bad", {})
    for target in (node, await new(drive), await drive.create_directory("sdmf")):
        with pytest.raises(UnreadableChildError):
            await node.move_child_to("bad", target, "good")
    await node.set_uri("good", LITERAL)
    assert (await node.get_listed("bad")).version == listed.version
    with pytest.raises(ChildAlreadyPresentError):
        await node.set_uri("bad", LITERAL)
    with pytest.raises(UnreadableChildError):
        await node.build_manifest()
    found = [item async for item in node.iter_manifest()]
    assert [(item.path, item.node.kind) for item in found[1:]] == [
        (("bad",), "unreadable"),
        (("good",), "file"),
    ]
    await node.delete("bad")
    assert list(await node.list()) == ["good"]


# -- what links say in secret


@pytest.mark.parametrize("way", ["get", "list", "walk"])
async def test_nothing_older_than_a_link_says_is_believed(rig: VdriveRig, way: str) -> None:
    """A server that has lost the last versions of a child is found out by whoever comes from the parent."""
    drive = rig.drive()
    parent = await new(drive)
    child = vdrive_node(await parent.create_empty_directory("child"))
    await child.set_uri("x", LITERAL)
    cap = write_cap(child)
    await parent.pin("child")
    async with vdrive_rig() as behind:
        await behind.client().create(behind.place, cap.write_key)
        real = rig.server

        class Forgetful:
            """Shows the child as it was when it was made."""

            def __getattr__(self, name: str) -> object:
                async def call(index: bytes, *args: object, **options: object) -> object:
                    server = behind.server if index == cap.index else real
                    return await getattr(server, name)(index, *args, **options)

                return call

        rig.put_in_place(Forgetful())
        seen = vdrive_node(rig.drive().node(parent.get_uri()))
        with pytest.raises(RollbackDetectedError):
            if way == "get":
                await vdrive_node(await seen.get("child")).list()
            elif way == "list":
                await vdrive_node((await seen.list())["child"]).get("x")
            else:
                await seen.deep_stats()
        assert await vdrive_node(rig.drive().node(cap)).list() == {}  # without the parent nobody can tell


async def test_what_links_say_in_secret_is_not_shown_and_goes_along(rig: VdriveRig) -> None:
    drive = rig.drive()
    parent, other = await new(drive), await new(drive)
    child = vdrive_node(await parent.create_empty_directory("child", metadata={"k": 1}))

    async def secret(node: VdriveDirectoryNode, name: str) -> object:
        entry = (await node.contents.directory.entries([name])).get(name)
        assert entry is not None
        return entry.metadata.get("hv")

    first = await secret(parent, "child")
    assert first is not None
    assert set((await parent.get_listed("child")).metadata) == {"k", "tahoe"}
    await parent.set_metadata("child", {"k": 2, "hv": "mine"})
    assert await secret(parent, "child") == first
    await parent.move_child_to("child", other, "moved")
    assert await secret(other, "moved") == first
    await child.set_uri("x", LITERAL)
    await other.pin("moved")
    pinned = await secret(other, "moved")
    assert isinstance(pinned, list | tuple)
    assert pinned[0] == 1
    assert (await other.get_listed("moved")).metadata["k"] == 2
    await other.set_uri("moved", LITERAL, replace=True, metadata={"hv": 1})
    assert await secret(other, "moved") is None
    with pytest.raises(ChildOfWrongTypeError):
        await other.pin("moved")
    with pytest.raises(NoSuchChildError):
        await other.pin("none")
    with pytest.raises(NotWriteableError):
        await vdrive_node(drive.node(other.get_immutable_uri())).pin("moved")


# -- changes as they happen


async def test_changes_are_told_with_their_names(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new(drive, {"old": link(drive), "gone": link(drive)})
    watching = vdrive_node(rig.drive().node(node.get_immutable_uri()))

    async with aclosing(watching.watch()) as changes, asyncio.timeout(10):
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.2)
        await node.set_children({"a": link(drive), "b": link(drive)})
        assert await following == NamesChanged(2, ("a", "b"), ())
        await node.delete("gone")
        assert await anext(changes) == NamesChanged(3, (), ("gone",))
        await node.move_child_to("a", node, "c")
        await node.set_uri("old", "URI:LIT:ca", replace=True)
        seen = [await anext(changes)]
        if seen[0].version < 5:
            seen.append(await anext(changes))
        assert {name for change in seen for name in change.put} == {"c", "old"}
        assert {name for change in seen for name in change.deleted} == {"a"}
    assert await watching.wait(4, 1) == 5
    assert await watching.wait(5, 0.01) is None


async def test_a_watcher_survives_a_server_that_was_away(
    rig: VdriveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.drive.vdrive_watching.PAUSE_FIRST_S", 0.01)
    drive = rig.drive()
    node = await new(drive)
    watching = vdrive_node(rig.drive().node(node.get_uri()))
    left = 3

    async def fail(call: str) -> None:
        nonlocal left
        if call in ("wait", "changes") and left > 0:
            left -= 1
            raise ServerError("nobody answers")

    async with aclosing(watching.watch()) as changes, asyncio.timeout(10):
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.2)
        rig.server.before = fail
        await node.set_uri("x", LITERAL)
        assert await following == NamesChanged(1, ("x",), ())


# -- both kinds in one tree


@pytest.mark.seed("S-096", "S-103", "X-06", "S-115")
async def test_trees_of_both_kinds_and_two_servers_are_walked(rig: VdriveRig) -> None:
    drive = rig.drive()
    second = await rig.add_service()
    file = await drive.upload(DataSource(b"data" * 50))
    elsewhere = vdrive_node(drive.node(await rig.client().create(second)))
    await elsewhere.set_node("file", file)
    grid = await drive.create_directory("sdmf", {"elsewhere": NewChild(elsewhere), "file": NewChild(file)})
    top = await new(drive, {"grid": NewChild(grid), "reading": NewChild(drive.node(LITERAL))})
    await elsewhere.set_node("top", top)
    await elsewhere.set_uri("reading", top.get_immutable_uri())

    assert await top.get_child_at_path("grid/elsewhere/top/grid/elsewhere/file") == file
    found = [item async for item in top.iter_manifest()]
    assert [item.path for item in found] == [
        (),
        ("reading",),
        ("grid",),
        ("grid", "file"),
        ("grid", "elsewhere"),
    ]
    manifest = await top.build_manifest()
    assert manifest == {node.get_refresh_capability() for node in (top, grid, elsewhere, file)}
    assert sum(cap.startswith("URI:DIR-Refresh:") for cap in manifest) == 2
    stats = (await top.deep_stats()).to_document()
    assert stats["count-directories"] == 3
    assert stats["count-files"] == 2
    assert stats["largest-directory-children"] == 3
    reader = await new(drive)
    await reader.set_uri("x", top.get_immutable_uri())
    assert (await reader.get_child_at_path("x/grid/elsewhere")).get_uri() == elsewhere.get_immutable_uri()


@pytest.mark.seed("S-096")
async def test_a_directory_of_another_kind_can_be_made_in_any(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new(drive)
    grid = await top.create_subdirectory("grid", kind="mdmf")
    back = await grid.create_subdirectory("back", {"x": link(drive)}, kind="vdrive")
    fixed = await top.create_subdirectory("fixed", {"x": link(drive)}, kind="immutable")

    assert isinstance(back, VdriveDirectoryNode)
    assert await top.get_child_at_path("grid/back") == back
    assert (await top.get_child_at_path("fixed/x")).get_uri() == LITERAL
    for mutable in (top, back, drive.node(top.get_immutable_uri())):
        with pytest.raises(ChildFaultError):
            await drive.create_directory("immutable", {"x": NewChild(mutable)})
    assert fixed.is_readonly()


async def test_a_directory_at_several_locations_is_met_once(rig: VdriveRig) -> None:
    drive = rig.drive()
    child = await new(drive)
    cap = write_cap(child)
    moved = VdriveWriteCap(type(cap.place)(cap.place.sid, cap.place.swissnum), cap.write_key)
    top = await new(drive, {"a": NewChild(child), "b": NewChild(drive.node(moved))})
    assert [item.path async for item in top.iter_manifest()] == [(), ("a",)]


async def test_a_directory_that_is_gone_ends_no_manifest(rig: VdriveRig) -> None:
    drive = rig.drive()
    gone = drive.node(VdriveWriteCap(rig.place, b"g" * 32))
    top = await new(drive, {"gone": NewChild(gone), "x": link(drive)})

    found = {item.path: item.node.kind async for item in top.iter_manifest()}
    assert found == {(): "directory", ("gone",): "unreadable", ("x",): "file"}
    with pytest.raises(UnreadableChildError):
        await top.build_manifest()
    with pytest.raises(NoSuchDirectoryError):
        await vdrive_node(gone).list()


# -- without a client


async def test_without_a_client_directories_can_be_linked_and_not_opened(rig: VdriveRig) -> None:
    made = await new(rig.drive())
    without = Drive(rig.grid.grid, MemoryMutableFiles(rig.store))
    node = vdrive_node(without.node(made.get_uri()))
    grid = await without.create_directory("sdmf", {"x": NewChild(node)})

    assert await grid.get("x") == node
    assert node.get_immutable_uri() == made.get_immutable_uri()
    assert node.get_refresh_capability() == made.get_refresh_capability()
    reading = without.node(made.get_immutable_uri())
    assert isinstance(reading, VdriveDirectoryNode)
    assert isinstance(reading.cap, VdriveReadCap)
    for use in (node.list(), node.get("x"), node.set_uri("x", LITERAL), node.delete("x"), reading.list()):
        with pytest.raises(NoVdriveClientError):
            await use
    with pytest.raises(NotWriteableError):
        await reading.set_uri("x", LITERAL)
    with pytest.raises(NoVdriveClientError):
        await without.create_directory("vdrive")
    found = {item.path: item.node.kind async for item in grid.iter_manifest()}
    assert found == {(): "directory", ("x",): "unreadable"}


async def test_unknown_children_keep_both_capabilities(rig: VdriveRig) -> None:
    drive = rig.drive()
    unknown = drive.node("x-future:write", "ro.x-future:read")
    node, grid = await new(drive, {"x": NewChild(unknown)}), await drive.create_directory("sdmf")

    await node.move_child_to("x", grid)
    await grid.move_child_to("x", node)
    assert await node.get("x") == unknown
    reading = vdrive_node(drive.node(node.get_immutable_uri()))
    assert (await reading.get("x")).get_uri() == "ro.x-future:read"
    with pytest.raises(ChildFaultError):  # readers would get the right to write
        await node.contents.change(
            ["bad"], lambda table, first: _with(table, "bad", child_slots("x-w", "URI:SSK:a:b"))
        )


def _with(table: object, name: str, child: ChildSlots) -> object:
    changed = table.copy()  # type: ignore[attr-defined]
    changed.set(name, child, {})
    return changed
