"""Trees of directories of several kinds and servers, and what can be done without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.caps import VdriveReadCap, VdriveWriteCap
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.cli.copy_sources import FoundSource, LeftOut, SourceFile, add_source
from holdfast.cli.copy_to_disk import DiskTree
from holdfast.cli.copy_to_grid import GridTree
from holdfast.drive.nodes import Drive
from holdfast.drive.vdrive_contents import NoVdriveClientError
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.formats.directory_names import normalised
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import (
    DirectoryNode,
    NewChild,
    NotWriteableError,
    UnreadableChildError,
)
from holdfast.interfaces.vdrive_errors import (
    NoSuchDirectoryError,
)
from holdfast.planning.copy_plan import CopySource, CopyTree
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.vdrive_directories import LITERAL, link, new_directory, vdrive_node, write_cap
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


# -- both kinds in one tree


@pytest.mark.seed("S-096", "S-103", "X-06", "S-115")
async def test_trees_of_both_kinds_and_two_servers_are_walked(rig: VdriveRig) -> None:
    drive = rig.drive()
    second = await rig.add_service()
    file = await drive.upload(DataSource(b"data" * 50))
    elsewhere = vdrive_node(drive.node(await rig.client().create(second)))
    await elsewhere.set_node("file", file)
    grid = await drive.create_directory("sdmf", {"elsewhere": NewChild(elsewhere), "file": NewChild(file)})
    top = await new_directory(drive, {"grid": NewChild(grid), "reading": NewChild(drive.node(LITERAL))})
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
    reader = await new_directory(drive)
    await reader.set_uri("x", top.get_immutable_uri())
    assert (await reader.get_child_at_path("x/grid/elsewhere")).get_uri() == elsewhere.get_immutable_uri()


@pytest.mark.seed("S-096")
async def test_a_directory_of_another_kind_can_be_made_in_any(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new_directory(drive)
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
    child = await new_directory(drive)
    cap = write_cap(child)
    moved = VdriveWriteCap(type(cap.place)(cap.place.sid, cap.place.swissnum), cap.write_key)
    top = await new_directory(drive, {"a": NewChild(child), "b": NewChild(drive.node(moved))})
    assert [item.path async for item in top.iter_manifest()] == [(), ("a",)]


async def test_a_directory_that_is_gone_ends_no_manifest(rig: VdriveRig) -> None:
    drive = rig.drive()
    gone = drive.node(VdriveWriteCap(rig.place, b"g" * 32))
    top = await new_directory(drive, {"gone": NewChild(gone), "x": link(drive)})

    found = {item.path: item.node.kind async for item in top.iter_manifest()}
    assert found == {(): "directory", ("gone",): "unreadable", ("x",): "file"}
    with pytest.raises(UnreadableChildError):
        await top.build_manifest()
    with pytest.raises(NoSuchDirectoryError):
        await vdrive_node(gone).list()


async def test_trees_are_copied_to_a_server_and_back(rig: VdriveRig, tmp_path: Path) -> None:
    drive = rig.drive()
    here, target = tmp_path / "from", tmp_path / "to"
    (here / "d" / "e").mkdir(parents=True)
    for name in ("a", "d/b", "d/e/c"):
        (here / name).write_bytes(name.encode() * 50)
    root = await new_directory(drive)
    await root.create_empty_directory("d")

    async def tree_of(place: str | DirectoryNode) -> CopyTree[SourceFile]:
        tree: CopyTree[SourceFile] = CopyTree(normalised)
        await add_source(
            FoundSource(CopySource("from", None, is_directory=True), place), None, tree, LeftOut()
        )
        return tree

    for count in (1, 0):  # the second time everything is there
        before = rig.calls.count("commit")
        to_server = GridTree(drive, "work:", root, await tree_of(str(here)))
        await to_server.check()
        assert await to_server.copy(lambda stage, done, total: None) == root
        assert (rig.calls.count("commit") > before) == bool(count)
    assert isinstance(await root.get_child_at_path("d/e"), VdriveDirectoryNode)
    to_disk = DiskTree(str(target), await tree_of(root))
    to_disk.check()
    await to_disk.copy(lambda stage, done, total: None)
    assert (target / "d/e/c").read_bytes() == b"d/e/c" * 50
    copied = GridTree(drive, "work:", None, await tree_of(root))
    await copied.check()
    other = await copied.copy(lambda stage, done, total: None)
    assert not isinstance(other, VdriveDirectoryNode)
    assert (await other.get_child_at_path("d/e/c")) == (await root.get_child_at_path("d/e/c"))


# -- without a client


async def test_without_a_client_directories_can_be_linked_and_not_opened(rig: VdriveRig) -> None:
    made = await new_directory(rig.drive())
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
    node, grid = await new_directory(drive, {"x": NewChild(unknown)}), await drive.create_directory("sdmf")

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
