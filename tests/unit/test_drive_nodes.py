"""From capabilities to nodes, and files as nodes."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_never

import pytest

from holdfast.caps import DirectoryCap, MutableReadCap, MutableWriteCap
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import ImmutableFileNode, LiteralFileNode, MutableFileNode
from holdfast.drive.nodes import Drive
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.errors import BadCapabilityError, NoSharesError, NotCapableError
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.drive import NewChild, Node, NotWriteableError
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles, MemoryMutableStore

CAPS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())["example_caps"]
KINDS = {
    "lit": LiteralFileNode,
    "chk": ImmutableFileNode,
    "ssk_write": MutableFileNode,
    "ssk_read": MutableFileNode,
    "mdmf_write": MutableFileNode,
    "mdmf_read": MutableFileNode,
    "dir_write": GridDirectoryNode,
    "dir_read": GridDirectoryNode,
    "dir_mdmf_write": GridDirectoryNode,
    "dir_mdmf_read": GridDirectoryNode,
    "dir_chk": GridDirectoryNode,
    "dir_lit_empty": GridDirectoryNode,
}


class Rig:
    def __init__(self, grid: MemoryGrid) -> None:
        self.grid = grid
        self.store = MemoryMutableStore()
        self.drive = Drive(grid.grid, MemoryMutableFiles(self.store))

    def calls(self) -> int:
        return len(self.grid.calls()) + len(self.store.calls)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with memory_grid() as grid:
        yield Rig(grid)


@pytest.mark.seed("S-205")
async def test_every_kind_of_capability_gives_its_node_without_traffic(rig: Rig) -> None:
    for name, kind in KINDS.items():
        node = rig.drive.node(f"  {CAPS[name]}\n")
        assert type(node) is kind, name
        assert node.get_uri() == CAPS[name]
        assert node.kind == ("directory" if kind is GridDirectoryNode else "file")
    assert rig.calls() == 0


@pytest.mark.seed("S-205")
async def test_what_is_unknown_is_a_node_too(rig: Rig) -> None:
    for text in (
        "ro.x-future:1",
        "imm.x-future:1",
        "x-future:1",
        "",
        CAPS["ssk_verify"],
        "ro." + CAPS["ssk_verify"],
    ):
        node = rig.drive.node(text)
        assert isinstance(node, OpaqueNode)
        assert node.kind == "unknown"
    assert rig.drive.node("x-future:1").get_uri() is None  # nobody knows what it allows
    node = rig.drive.node("x-future:1", "x-future:2")
    assert (node.get_uri(), node.get_immutable_uri()) == ("x-future:1", "ro.x-future:2")


@pytest.mark.seed("S-205")
@pytest.mark.parametrize(
    "text", ["URI:CHK:cut", "URI:DIR2:x:y", f"ro.{CAPS['ssk_write']}", f"imm.{CAPS['dir_read']}"]
)
async def test_what_is_malformed_raises_and_is_not_repeated(rig: Rig, text: str) -> None:
    with pytest.raises(BadCapabilityError) as caught:
        rig.drive.node(text)
    assert text not in str(caught.value)


@pytest.mark.seed("S-090")
async def test_nodes_are_equal_if_their_capabilities_are(rig: Rig) -> None:
    other = Drive(rig.grid.grid, MemoryMutableFiles(rig.store))
    nodes = [rig.drive.node(CAPS[name]) for name in KINDS]

    assert [other.node(str(node.get_uri())) for node in nodes] == nodes
    assert len(set(nodes)) == len(nodes)
    assert {hash(other.node(str(node.get_uri()))) for node in nodes} == {hash(node) for node in nodes}
    assert nodes[0] != "URI:LIT:"


async def test_a_capability_gives_the_same_node_as_long_as_it_is_held(rig: Rig) -> None:
    node = rig.drive.node(CAPS["dir_write"])
    assert rig.drive.node(CAPS["dir_write"]) is node
    assert rig.drive.node(CAPS["dir_read"]) is not node

    del node
    gc.collect()
    assert len(rig.drive._nodes) == 0


async def test_no_node_shows_a_key(rig: Rig) -> None:
    for name, text in CAPS.items():
        shown = repr(rig.drive.node(text))
        assert not any(part in shown for part in text.split(":")[2:] if len(part) > 9), name


@pytest.mark.seed("S-016")
async def test_a_node_is_a_file_a_directory_or_unknown(rig: Rig) -> None:
    def described(node: Node) -> str:
        match node.kind:
            case "file":
                return "file"
            case "directory":
                return "directory"
            case "unknown":
                return "unknown"
            case never:
                assert_never(never)

    nodes: list[Node] = [rig.drive.node(text) for text in (CAPS["chk"], CAPS["dir_chk"], "ro.x-future:1")]
    assert [described(node) for node in nodes] == ["file", "directory", "unknown"]


@pytest.mark.seed("S-088", "S-089")
@pytest.mark.parametrize("size", [0, 1, 55, 56, 10_000_000])
async def test_files_give_their_contents(rig: Rig, size: int) -> None:
    data = os.urandom(size)
    mutable = await rig.drive.create_mutable_file(data, format="MDMF")
    for node in (await rig.drive.upload(DataSource(data)), mutable):
        assert await node.download(DataTarget()) == data
        assert await node.download_to_data() == data
        assert await node.get_size() == size
        for offset, length in ((0, 1), (size // 2, 100), (size, 5), (size // 3, None)):
            assert await node.download_to_data(offset, length) == data[offset:][:length]


@pytest.mark.seed("S-088")
async def test_a_download_that_fails_tells_its_target(rig: Rig) -> None:
    class Told(DataTarget):
        why: BaseException | None = None

        def fail(self, why: BaseException) -> None:
            self.why = why

    file = await rig.drive.create_mutable_file(b"x")
    assert isinstance(file.cap, MutableWriteCap)
    rig.store.lose(file.cap)
    for node in (file, rig.drive.node(CAPS["chk"])):
        assert isinstance(node, MutableFileNode | ImmutableFileNode)
        target = Told()
        with pytest.raises(NoSharesError):
            await node.download(target)
        assert isinstance(target.why, NoSharesError)


async def test_mutable_files_change(rig: Rig) -> None:
    node = await rig.drive.create_mutable_file(DataSource(b"one"))
    reading = rig.drive.node(node.get_immutable_uri())
    assert isinstance(reading, MutableFileNode)

    await node.overwrite(b"two")
    assert await node.modify(lambda old, first: old + b" three") == b"two three"
    await node.update(4, b"T")
    assert await reading.download_to_data() == b"two Three"
    await node.overwrite(DataSource(b"four"))
    assert await reading.download_to_data() == b"four"


@pytest.mark.seed("S-206")
async def test_a_file_held_read_only_is_not_changed_and_nothing_sent(rig: Rig) -> None:
    node = rig.drive.node((await rig.drive.create_mutable_file(b"one")).get_immutable_uri())
    assert isinstance(node, MutableFileNode)
    assert node.is_readonly()
    assert not node.is_mutable()
    before = rig.calls()

    for change in (node.overwrite(b"two"), node.modify(lambda old, first: b"two"), node.update(0, b"two")):
        with pytest.raises(NotWriteableError) as caught:
            await change
        assert isinstance(caught.value, NotCapableError)
    assert rig.calls() == before


@pytest.mark.seed("S-098", "S-099")
async def test_the_capability_for_readers_never_allows_more(rig: Rig) -> None:
    for name, weaker in (
        ("ssk_write", "ssk_read"),
        ("dir_write", "dir_read"),
        ("mdmf_write", "mdmf_read"),
        ("dir_mdmf_write", "dir_mdmf_read"),
        ("ssk_read", "ssk_read"),
        ("dir_read", "dir_read"),
        ("chk", "chk"),
        ("lit", "lit"),
        ("dir_chk", "dir_chk"),
    ):
        assert rig.drive.node(CAPS[name]).get_immutable_uri() == CAPS[weaker]


async def test_refresh_capabilities_name_the_leases_and_nothing_else(rig: Rig) -> None:
    def refresh(name: str) -> str | None:
        node = rig.drive.node(CAPS[name])
        assert not isinstance(node, OpaqueNode)
        return node.get_refresh_capability()

    assert refresh("lit") is refresh("dir_lit_empty") is None
    assert str(refresh("chk")).startswith("URI:CHK-Refresh:")
    assert str(refresh("dir_write")).startswith("URI:SSK-Refresh:")
    assert refresh("dir_write") == refresh("dir_read") == refresh("ssk_read")
    index = CAPS["ssk_verify"].split(":")[2]
    assert refresh("ssk_write") == f"URI:SSK-Refresh:{index}"


@pytest.mark.parametrize("kind", ["sdmf", "mdmf", "immutable"])
async def test_new_directories_are_of_the_kind_asked_for(rig: Rig, kind: str) -> None:
    labels = {"sdmf": "URI:DIR2:", "mdmf": "URI:DIR2-MDMF:", "immutable": "URI:DIR2-LIT:"}
    node = await rig.drive.create_directory(kind)  # type: ignore[arg-type]
    assert node.get_uri().startswith(labels[kind])
    assert await node.list() == {}


async def test_first_children_keep_their_metadata_without_time_stamps(rig: Rig) -> None:
    child = rig.drive.node(CAPS["ssk_write"])
    assert isinstance(child, MutableFileNode)
    node = await rig.drive.create_directory(
        "sdmf", {"x": NewChild(child, {"no-write": True}), "y": NewChild(child)}
    )

    listed = {child.name: child async for child in node.iter_children()}
    assert listed["x"].metadata == {"no-write": True}
    assert listed["x"].node == child  # it has no effect yet
    assert listed["y"].metadata == {}


async def test_a_child_without_known_rights_cannot_be_linked(rig: Rig) -> None:
    node = await rig.drive.create_directory("sdmf")
    unknown = rig.drive.node("x-future:1")
    assert isinstance(unknown, OpaqueNode)
    before = len(rig.store.calls)

    with pytest.raises(BadCapabilityError):
        await node.set_node("x", unknown)
    with pytest.raises(BadCapabilityError):
        await rig.drive.create_directory("sdmf", {"x": NewChild(unknown)})
    assert rig.store.calls[before:] == []


async def test_a_file_and_a_directory_in_the_same_shares_are_two_nodes(rig: Rig) -> None:
    node = await rig.drive.create_directory("sdmf")
    assert isinstance(node.cap, DirectoryCap)
    assert isinstance(node.cap.file_cap, MutableWriteCap | MutableReadCap)
    file = rig.drive.node(node.cap.file_cap)

    assert file != node
    assert isinstance(file, MutableFileNode)
    await node.set_node("x", node)
    assert len(await file.download_to_data()) > 100
