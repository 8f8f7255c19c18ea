"""What directories at a virtual drive server store with their links, what of it nobody sees, and how changes
of it are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from holdfast.caps.slots import ChildSlots
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.drive.vdrive_watching import NamesChanged
from holdfast.errors import ServerError
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.grid.vdrive.views import PutEntry
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    ChildOfWrongTypeError,
    NoSuchChildError,
    NotWriteableError,
    UnreadableChildError,
    UnreadableEntry,
    VersionMismatchError,
)
from holdfast.interfaces.vdrive_errors import (
    RollbackDetectedError,
)
from holdfast.testing.vdrive_directories import LITERAL, link, new_directory, vdrive_node, write_cap
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


# -- names and metadata


async def test_names_have_limits(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
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
    node = await new_directory(drive, {"x": link(drive, metadata)})

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
    node = await new_directory(rig.drive())
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
    other = await new_directory(drive)
    wrong = ChildSlots(  # readers would see another directory than writers
        other.get_uri().encode(), (await new_directory(drive)).get_immutable_uri().encode(), other.cap
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
    for target in (node, await new_directory(drive), await drive.create_directory("sdmf")):
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
    parent = await new_directory(drive)
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
    parent, other = await new_directory(drive), await new_directory(drive)
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


# -- what is seen without keys


async def stored(rig: VdriveRig, node: VdriveDirectoryNode) -> list[SealedEntry]:
    """Return the entries as the server has them."""
    page = await rig.server.page(node.contents.cap.index)
    return list(page.entries)


async def test_uniform_entries_do_not_show_what_can_be_written(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new_directory(drive)
    made = vdrive_node(await top.create_subdirectory("u", {"first": link(drive)}, uniform=True))
    seen = vdrive_node(await vdrive_node(rig.drive().node(top.get_uri())).get("u"))
    await seen.set_uri("file", LITERAL)
    below = vdrive_node(await seen.create_empty_directory("dir"))
    await below.set_uri("x", LITERAL)
    await top.set_uri("y", LITERAL)
    await top.move_child_to("y", seen)

    for node, count in ((made, 4), (below, 1)):
        entries = await stored(rig, node)
        assert len(entries) == count
        assert len({len(entry.write) for entry in entries}) == 1
        assert all(entry.write for entry in entries)
    assert {len(entry.write) > 0 for entry in await stored(rig, top)} == {True}
    await top.set_uri("z", LITERAL)
    assert {len(entry.write) > 0 for entry in await stored(rig, top)} == {True, False}
    assert sorted(await vdrive_node(rig.drive().node(made.get_uri())).list()) == ["dir", "file", "first", "y"]
    assert set((await top.get_listed("u")).metadata) == {"tahoe"}
    large = {f"n{number}": link(drive) for number in range(1001)}
    many = vdrive_node(await top.create_subdirectory("many", large, uniform=True))
    assert all(entry.write for entry in await stored(rig, many))
    again = vdrive_node(await vdrive_node(rig.drive().node(top.get_uri())).get("many"))
    assert again.contents.uniform


async def test_an_entry_without_a_readable_name_is_listed_all_the_same(
    rig: VdriveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"x": link(drive)})
    with monkeypatch.context() as mischief:
        mischief.setattr("holdfast.formats.vdrive.sealing.child_name", lambda name: name + "/")
        await node.set_uri("bad", LITERAL)

    seen = vdrive_node(rig.drive().node(node.get_uri()))
    children = await seen.list()
    odd = next(iter(children))
    assert list(children) == [odd, "x"]
    assert odd.startswith("?/")
    assert children[odd].kind == "unreadable"
    assert [child.node.kind async for child in seen.iter_unordered()].count("unreadable") == 1
    with pytest.raises(BadChildNameError):
        await seen.delete(odd)
    assert [item.node.kind async for item in seen.iter_manifest()] == ["directory", "unreadable", "file"]


async def test_children_with_much_metadata_are_linked_in_smaller_parts(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
    children = {f"n{number:0900}": link(drive, {"long": "x" * 7700}) for number in range(1000)}

    result = await node.set_children(children)
    assert not result.atomic
    assert len(await node.list()) == 1000
    await node.create_subdirectory("sub", children)
    assert len(await (await node.create_subdirectory("large", children)).list()) == 1000


# -- changes as they happen


async def test_changes_are_told_with_their_names(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"old": link(drive), "gone": link(drive)})
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
    node = await new_directory(drive)
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
