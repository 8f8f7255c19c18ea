"""Directories in real shares: those the reference wrote, several clients at once, servers that fail."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps import DirectoryCap
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.errors import UnavailableError, UncoordinatedWriteError
from holdfast.grid.client import Grid
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.drive import ListedChild, NewChild, UnreadableEntry
from holdfast.testing.memory_grid import MemoryGrid, memory_grid

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
KINDS: tuple[DirectoryKind, ...] = ("sdmf", "mdmf")
SMALL = EncodingSettings(shares_needed=2, shares_total=4, happiness=1, convergence_secret=b"")


@pytest.fixture
async def grid() -> AsyncIterator[MemoryGrid]:
    async with memory_grid(4, SMALL) as grid:
        yield grid


def directory(grid: Grid, uri: str) -> GridDirectoryNode:
    node = Drive(grid, grid.mutable).node(uri)
    assert isinstance(node, GridDirectoryNode)
    return node


def described(child: ListedChild) -> dict[str, Any]:
    assert not isinstance(child.node, UnreadableEntry)
    uri, immutable_uri = child.node.get_uri(), child.node.get_immutable_uri()
    return {
        "name": child.name,
        "kind": child.node.kind,
        "rw_cap": None if uri == immutable_uri else uri,
        "ro_cap": immutable_uri,
        "metadata": child.metadata,
    }


@pytest.mark.parametrize("vector", VECTORS["whole_directories"], ids=lambda vector: vector["format"])
async def test_directories_of_the_reference_are_read_and_changed(
    grid: MemoryGrid, vector: dict[str, Any]
) -> None:
    node = directory(grid.grid, vector["write_cap"])
    assert isinstance(node.cap, DirectoryCap)
    index = node.cap.storage_index
    assert index is not None
    for (number, share), store in zip(vector["shares"].items(), grid.stores.values(), strict=False):
        store.slots.shares[index, int(number)] = base64.b64decode(share)

    assert node.get_immutable_uri() == vector["read_cap"]
    assert node.get_verify_uri() == vector["verify_cap"]
    assert [described(child) async for child in node.iter_children()] == vector["listing_write"]
    reading = directory(grid.grid, vector["read_cap"])
    assert [described(child) async for child in reading.iter_children()] == vector["listing_read"]
    assert (await node.contents.read()).to_bytes() == base64.b64decode(vector["contents"])

    await node.set_uri("new", "URI:LIT:ba")
    names = [child["name"] for child in vector["listing_write"]]
    assert list(await reading.list()) == sorted([*names, "new"])
    for child in vector["listing_read"]:
        assert described(await reading.get_listed(child["name"])) == child


async def linked_in_the_end(node: GridDirectoryNode, name: str, uri: str) -> None:
    """Link, and begin again if others came first four times in a row: here nobody waits for long between."""
    while True:
        try:
            await node.set_uri(name, uri, replace=True)
            return
        except UncoordinatedWriteError:
            pass


@pytest.mark.parametrize("kind", KINDS)
async def test_what_several_clients_link_at_once_is_all_there(grid: MemoryGrid, kind: DirectoryKind) -> None:
    choose = random.Random(kind)
    for store in grid.stores.values():
        store.faults.turns = lambda: choose.randrange(6)
    first = await Drive(grid.grid, grid.grid.mutable).create_directory(kind)
    expected = set()
    async with grid.another_client() as other:
        second = directory(other, first.get_uri())
        for turn in range(15):
            await asyncio.gather(
                linked_in_the_end(first, f"first {turn}", "URI:LIT:ba"),
                linked_in_the_end(second, f"second {turn}", "URI:LIT:ca"),
            )
            expected |= {f"first {turn}", f"second {turn}"}
            assert set(await first.list()) == set(await second.list()) == expected


async def test_a_directory_outlives_the_loss_of_servers(grid: MemoryGrid) -> None:
    drive = Drive(grid.grid, grid.grid.mutable)
    node = await drive.create_directory("sdmf")
    child = await node.create_empty_directory("child")
    first, second, *others = grid.stores.values()

    first.faults.dead = second.faults.dead = True
    assert await node.list() == {"child": child}
    await node.set_uri("x", "URI:LIT:ba")
    first.faults.dead = second.faults.dead = False
    assert list(await directory(grid.grid, node.get_uri()).list()) == ["child", "x"]
    for store in (first, second, *others):
        store.faults.dead = True
    with pytest.raises(UnavailableError):
        await node.list()


async def test_a_walk_over_shares_finds_all(grid: MemoryGrid) -> None:
    drive = Drive(grid.grid, grid.grid.mutable)
    root = await drive.create_directory("sdmf")
    for name in ("a", "b", "c"):
        child = await root.create_empty_directory(name)
        await child.set_node("up", root)
        await child.set_uri("file", "URI:LIT:ba")

    paths = ["/".join(item.path) async for item in root.iter_manifest()]
    assert paths == ["", "a", "a/file", "b", "b/file", "c", "c/file"]
    assert len(await root.build_manifest()) == 4
    stats = (await root.deep_stats()).to_document()
    assert (stats["count-directories"], stats["count-literal-files"]) == (4, 3)


async def test_a_large_directory_is_kept_in_shares(grid: MemoryGrid) -> None:
    drive = Drive(grid.grid, grid.grid.mutable)
    chk = drive.node(VECTORS["example_caps"]["chk"])
    node = await drive.create_directory("mdmf")
    await node.set_children({f"{number:05}": NewChild(chk) for number in range(10_000)})

    await node.delete("00000")
    assert len(await directory(grid.grid, node.get_uri()).list()) == 9999
