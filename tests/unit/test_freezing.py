"""Trees frozen into immutable directories."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.crypto import base32
from holdfast.drive.file_nodes import ImmutableFileNode
from holdfast.drive.freezing import FrozenTree, freeze
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.errors import HoldfastError
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import NewChild
from holdfast.interfaces.vdrive_errors import NoSuchDirectoryError
from holdfast.testing.memory_mutable import MemoryMutableFiles, MemoryMutableStore
from holdfast.testing.vdrive_directories import LITERAL, link, new_directory, vdrive_node
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


def left_out(frozen: FrozenTree) -> dict[str, str]:
    return {"/".join(one.path): one.reason for one in frozen.left_out}


async def test_a_frozen_tree_is_the_tree_and_needs_no_server(rig: VdriveRig) -> None:
    drive = rig.drive()
    file = await drive.upload(DataSource(b"file" * 50))
    mutable = await drive.create_mutable_file(b"one" * 50)
    grid = await drive.create_directory("sdmf", {"file": NewChild(file)})
    fixed = await drive.create_directory("immutable", {"x": link(drive)})
    inner = await new_directory(drive, {"mutable": NewChild(mutable)})
    top = await new_directory(drive)
    await top.set_children({"file": NewChild(file, {"mine": 1}), "inner": NewChild(inner)})
    await top.set_children({"grid": NewChild(grid), "fixed": NewChild(fixed)})
    await inner.set_node("also", mutable)

    frozen = await freeze(drive, vdrive_node(drive.node(top.get_immutable_uri())))
    again = await freeze(rig.drive(), vdrive_node(rig.drive().node(top.get_uri())))

    assert frozen.directory.get_uri().startswith("URI:DIR2-CHK:")
    assert again.directory.get_uri() == frozen.directory.get_uri()
    assert (frozen.directories, frozen.files, frozen.left_out) == (3, 4, ())
    assert frozen.head is not None
    assert frozen.head.version == 2

    inner_head = await inner.contents.directory.head()
    rig.put_in_place(None)  # the server is gone
    calls = len(rig.calls)
    root = rig.drive().node(frozen.directory.get_uri())
    assert isinstance(root, StoredDirectoryNode)
    found = {"/".join(item.path) async for item in root.iter_manifest()}
    assert found == {"", "file", "fixed", "fixed/x", "grid", "inner", "inner/also"}  # each object once
    assert await root.get_child_at_path("grid/file") == file
    copied = await root.get_child_at_path("inner/mutable")
    assert isinstance(copied, ImmutableFileNode)
    assert await copied.download_to_data() == b"one" * 50
    assert copied.is_readonly()
    assert len(rig.calls) == calls
    assert (await root.get_listed("file")).metadata["mine"] == 1
    said = (await root.get_listed("inner")).metadata["holdfast"]
    assert said == {"version": 2, "head": base32.encode(inner_head.head_hash)}


async def test_only_what_changed_is_another_one(rig: VdriveRig) -> None:
    drive = rig.drive()
    quiet = await new_directory(drive, {"x": link(drive)})
    busy = await new_directory(drive)
    top = await new_directory(drive, {"quiet": NewChild(quiet), "busy": NewChild(busy)})
    before = (await freeze(drive, top)).directory
    await busy.set_uri("new", LITERAL)
    after = (await freeze(drive, top)).directory

    assert before != after
    assert await before.get("quiet") == await after.get("quiet")
    assert (await before.get("busy")).get_uri() == "URI:DIR2-LIT:"
    assert (await after.get_child_at_path("busy/new")).get_uri() == LITERAL


async def test_what_cannot_be_frozen_is_left_out_and_told(rig: VdriveRig) -> None:
    drive = rig.drive()
    gone = drive.node("URI:DIR:" + rig.place.to_text() + ":" + base32.encode(b"g" * 32))
    lost = await MemoryMutableFiles(MemoryMutableStore()).create(b"elsewhere")
    top = await new_directory(drive, {"gone": NewChild(gone), "x": link(drive)})
    below = await new_directory(drive, {"up": NewChild(top), "self": NewChild(top)})
    await top.set_node("below", below)
    await top.set_uri("unknown", "ro.URI:NEW:abc")
    await top.set_uri("lost", lost.cap.to_text())

    frozen = await freeze(drive, top)
    reasons = left_out(frozen)
    assert reasons.keys() == {"gone", "below/up", "below/self", "unknown", "lost"}
    assert "that it is in" in reasons["below/up"]
    assert "not known here" in reasons["unknown"]
    assert (await frozen.directory.list()).keys() == {"x", "below"}

    shallow = await freeze(drive, top, deep=False)
    assert "--deep" in left_out(shallow)["below"]
    assert (await freeze(drive, top, skip=[below])).directory != frozen.directory
    with pytest.raises(NoSuchDirectoryError):
        await freeze(drive, vdrive_node(gone))


async def test_a_very_deep_tree_is_frozen(rig: VdriveRig) -> None:
    drive = rig.drive()
    directory = await new_directory(drive, {"end": link(drive)})
    for _ in range(120):
        directory = await new_directory(drive, {"d": NewChild(directory)})
    frozen = await freeze(drive, directory)
    assert (frozen.directories, frozen.left_out) == (121, ())


async def test_nothing_is_given_when_nothing_can_be_stored(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new_directory(drive, {str(number): link(drive) for number in range(20)})
    for store in rig.grid.stores.values():
        store.faults.dead = True
    with pytest.raises(HoldfastError):
        await freeze(drive, top)
