"""Walking trees: order, circles, what cannot be read, bounds, and going on where one left off."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps import DirectoryCap, LiteralCap, MutableReadCap, MutableWriteCap, parse_cap
from holdfast.caps.slots import ChildSlots, child_slots
from holdfast.crypto import base32
from holdfast.drive import traversal
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import ImmutableFileNode
from holdfast.drive.nodes import Drive
from holdfast.drive.traversal import Listed, TreeWalk, WalkState
from holdfast.errors import NoSharesError
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.directory_table import pack_directory
from holdfast.interfaces.drive import ManifestItem, NewChild, UnreadableChildError, UnreadableEntry
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())


class Tree:
    """A drive over mutable directories in memory, and how many of them were being read at once."""

    def __init__(self, drive: Drive, files: MemoryMutableFiles) -> None:
        self.drive = drive
        self.files = files
        self.reading = 0
        self.reading_most = 0

    async def make(self, description: Mapping[str, Any]) -> GridDirectoryNode:
        """Make directories from dictionaries, files from numbers (their sizes), links from nodes."""
        children = {}
        for name, what in description.items():
            if isinstance(what, Mapping):
                node: Any = await self.make(what)
            elif isinstance(what, int):
                node = self.file(name, what)
            elif isinstance(what, str):
                node = self.drive.node(what)
            else:
                node = what
            children[name] = NewChild(node)
        return await self.drive.create_directory("sdmf", children)

    def file(self, name: str, size: int) -> ImmutableFileNode:
        node = self.drive.node(file_uri(name, size))
        assert isinstance(node, ImmutableFileNode)
        return node

    def lose(self, node: GridDirectoryNode) -> None:
        cap = node.cap
        assert isinstance(cap, DirectoryCap)
        assert isinstance(cap.file_cap, MutableWriteCap | MutableReadCap)
        self.files.store.lose(cap.file_cap)

    def count_readers(self) -> None:
        async def before(what: str) -> None:
            self.reading += 1
            self.reading_most = max(self.reading, self.reading_most)
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
            finally:
                self.reading -= 1

        self.files.store.before = before


def file_uri(name: str, size: int) -> str:
    key = base32.encode(name.encode().ljust(16, b"-")[:16])
    return f"URI:CHK:{key}:{base32.encode(b'h' * 32)}:3:10:{size}"


@pytest.fixture
async def tree() -> AsyncIterator[Tree]:
    async with memory_grid(1) as grid:
        files = MemoryMutableFiles()
        yield Tree(Drive(grid.grid, files), files)


async def paths(root: GridDirectoryNode) -> list[str]:
    return ["/".join(item.path) async for item in root.iter_manifest()]


async def test_the_reference_walks_the_same_tree_in_the_same_order(tree: Tree) -> None:
    vector = VECTORS["traversal"]
    contents = base32.decode(vector["root_cap"].removeprefix("URI:DIR2-LIT:"))
    root = tree.drive.node(DirectoryCap(LiteralCap(contents)))  # as text it is longer than any we take
    assert isinstance(root, GridDirectoryNode)

    items: list[ManifestItem] = [item async for item in root.iter_manifest()]
    assert [[list(item.path), uri(item)] for item in items] == vector["manifest"]
    verify_caps = {item.verify_capability for item in items} - {None}
    assert sorted(verify_caps, key=str) == sorted(vector["verifycaps"])
    indexes = {base32.encode(parse_cap(str(cap)).storage_index or b"") for cap in verify_caps}  # type: ignore[union-attr]
    assert sorted(indexes) == sorted(vector["storage_indexes"])
    assert (await root.deep_stats()).to_document() == vector["stats"]


def uri(item: ManifestItem) -> str | None:
    assert not isinstance(item.node, UnreadableEntry)
    return item.node.get_uri()


@pytest.mark.seed("S-115")
async def test_each_object_is_met_once_whatever_circles_the_links_form(tree: Tree) -> None:
    shared = await tree.make({"file": 5000})
    root = await tree.make({"a": {"shared": shared, "deep": {"file": 7000}}, "b": shared, "x": 1, "y": 1})
    await shared.set_node("root", root)
    await shared.set_uri("root for reading", root.get_immutable_uri())
    await root.set_node("z", tree.file("x", 1))

    assert await paths(root) == ["", "x", "y", "a", "a/deep", "a/deep/file", "b", "b/file"]
    files = [tree.file("x", 1), tree.file("y", 1), tree.file("file", 7000), tree.file("file", 5000)]
    refresh = {node.get_refresh_capability() for node in (root, shared, *files)}
    found = await root.build_manifest()
    assert refresh < found
    assert len(found) == 7  # the two files of one key have one storage index


@pytest.mark.seed("S-115")
async def test_what_cannot_be_read_is_told_and_the_rest_is_found(tree: Tree) -> None:
    lost = await tree.make({"x": 1})
    root = await tree.make({"a": lost, "b": {"y": 2}, "unknown": "ro.x-future:thing"})
    tree.lose(lost)

    items = {"/".join(item.path): item async for item in root.iter_manifest()}
    assert list(items) == ["", "unknown", "a", "b", "b/y"]
    assert isinstance(items["a"].node, UnreadableEntry)
    assert "no share" in items["a"].node.reason
    assert items["a"].refresh_capability == lost.get_refresh_capability()
    assert items["a"].verify_capability == lost.get_verify_uri()
    with pytest.raises(UnreadableChildError):
        await root.build_manifest()
    with pytest.raises(NoSharesError):
        await root.deep_stats()


async def test_an_entry_without_sense_is_told_too(tree: Tree) -> None:
    root = await tree.make({"fine": 1})
    cap = root.cap
    assert isinstance(cap, DirectoryCap)
    assert isinstance(cap.file_cap, MutableWriteCap)
    entry = b"3:bad,11:URI:CHK:cut,0:,2:{},"
    await tree.files.open(cap.file_cap).modify(lambda old, first: old + b"%d:%s," % (len(entry), entry))

    items = {"/".join(item.path): item async for item in root.iter_manifest()}
    assert list(items) == ["", "bad", "fine"]
    assert isinstance(items["bad"].node, UnreadableEntry)
    assert (await root.deep_stats()).to_document()["count-unknown"] == 0


async def test_a_lost_root_is_told(tree: Tree) -> None:
    root = await tree.make({})
    tree.lose(root)

    assert [item.path async for item in root.iter_manifest() if isinstance(item.node, UnreadableEntry)] == [
        ()
    ]


async def test_directories_are_listed_ahead_a_few_at_a_time_and_each_once(tree: Tree) -> None:
    wide = {f"d{number:02}": {f"e{below}": {"f": below + 1} for below in range(5)} for number in range(40)}
    root = await tree.make(wide)
    tree.count_readers()
    tree.files.store.calls.clear()

    found = await paths(root)
    assert len(found) == 1 + 40 * (1 + 5) + 5  # files of one name and size are one file
    assert tree.files.store.calls == ["read"] * 241
    assert 4 <= tree.reading_most <= traversal.LISTING_MAX


async def test_leaving_off_leaves_no_request_behind(tree: Tree) -> None:
    root = await tree.make({f"d{number}": {} for number in range(20)})
    tree.count_readers()

    async with aclosing(root.walk().events()) as events:
        async for event in events:
            await asyncio.sleep(0)
            if event.place.path:
                break
        assert tree.reading > 0
    assert tree.reading == 0


async def test_a_cancelled_walk_leaves_no_request_behind(tree: Tree) -> None:
    root = await tree.make({f"d{number}": {} for number in range(20)})
    tree.count_readers()

    task = asyncio.create_task(root.deep_stats())
    while tree.reading < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree.reading == 0


@pytest.mark.parametrize("stop", range(30))
async def test_a_walk_goes_on_where_it_was_saved(tree: Tree, stop: int) -> None:
    root = await tree.make(
        {"a": {"x": 1, "b": {"y": 2, "c": {}}}, "d": {"z": 3}, "u": "ro.x-future:1", "w": 4}
    )
    await root.set_node("e", root)
    whole = [describe(event) async for event in root.walk().events()]

    walk = root.walk()
    met: list[tuple[str, tuple[str, ...]]] = []
    state: WalkState = walk.save()
    async with aclosing(walk.events()) as events:
        async for event in events:
            if len(met) == stop:
                break
            met.append(describe(event))
            state = walk.save()
    again = root.walk(state)
    met += [describe(event) async for event in again.events()]

    assert met == whole
    assert again.stats.to_document() == (await root.deep_stats()).to_document()


def describe(event: object) -> tuple[str, tuple[str, ...]]:
    place = getattr(event, "place")  # noqa: B009
    return ("listed" if isinstance(event, Listed) else "visited", place.path)


async def test_progress_is_told_after_each_directory(tree: Tree) -> None:
    root = await tree.make({"a": {"x": 100}, "b": {}})
    told = []

    await root.deep_stats(lambda stats: told.append(stats.to_document()["count-directories"]))
    assert told == [1, 2, 3]


async def test_a_large_tree_takes_little_memory(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Literal files need not be remembered once they were given out."""
    monkeypatch.setattr(traversal, "LISTED_SIZE_MAX", 1 << 15)
    entries: list[tuple[str, ChildSlots, Metadata]] = [
        (f"{number:04}" + "n" * 40, child_slots(LiteralCap(b"%d" % number).to_text(), None), {})
        for number in range(150)
    ]
    model = await tree.files.create_with(lambda key: pack_directory(entries, key, immutable=False))
    versions = tree.files.store.versions
    children = {}
    for number in range(60):
        file = await tree.files.create()
        assert isinstance(file.cap, MutableWriteCap)
        versions[file.cap.storage_index] = versions[model.cap.storage_index]
        children[f"d{number:03}"] = NewChild(tree.drive.node(DirectoryCap(file.cap)))
    root = await tree.drive.create_directory("mdmf", children)

    counts, most = [], []
    for directories in (8, 60):  # as many again take no more memory
        count = 0
        tracemalloc.start()
        async with aclosing(root.walk().events()) as events:
            async for event in events:
                count += 1
                if isinstance(event, Listed) and event.place.path == (f"d{directories - 1:03}",):
                    break
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        counts.append(count)
    assert counts[1] > 7 * counts[0]
    assert most[1] < 1.5 * most[0]


async def deep_tree(tree: Tree) -> GridDirectoryNode:
    """Make a directory in a directory and so on, each with others beside it."""
    below: Any = {}
    for _ in range(12):
        below = {"0": below, **{str(number): {"file": 1} for number in range(1, 9)}}
    return await tree.make(below)


async def most_held(tree: Tree, root: GridDirectoryNode) -> int:
    """Return how many directories were listed ahead of their turn at once, by a walk in no hurry."""
    choose, most = random.Random(0), 0

    async def before(what: str) -> None:
        tree.reading += 1
        tree.reading_most = max(tree.reading, tree.reading_most)
        for _ in range(choose.randrange(60)):
            await asyncio.sleep(0)
        tree.reading -= 1

    tree.files.store.before = before
    walk = root.walk()
    async with aclosing(walk.events()) as events:
        async for _ in events:
            most = max(most, len(walk._listings))
            await asyncio.sleep(0)
    return most


async def test_the_directories_listed_ahead_are_bounded_in_deep_trees(tree: Tree) -> None:
    root = await deep_tree(tree)

    assert traversal.LISTING_MAX < await most_held(tree, root) <= traversal.LISTED_MAX
    assert tree.reading_most == traversal.LISTING_MAX


async def test_their_size_is_bounded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await deep_tree(tree)
    monkeypatch.setattr(traversal, "LISTED_SIZE_MAX", 0)

    # What is held counts when it is there, so that as many may come as were begun before.
    assert await most_held(tree, root) <= traversal.LISTING_MAX + 1


async def test_what_is_below_a_directory_listed_long_ago_is_listed_ahead(tree: Tree) -> None:
    files = {f"file {number}": number + 1 for number in range(10)}
    root = await tree.make({**files, "a": {str(number): {} for number in range(8)}})
    tree.count_readers()
    calls = len(tree.files.store.calls)

    async with aclosing(root.walk().events()) as events:
        async for event in events:
            for _ in range(10):  # long enough for all that was begun to end
                await asyncio.sleep(0)
            if event.place.path == ("file 9",):
                assert tree.files.store.calls[calls:] == ["read", "read"]  # of the root, and of a
            if event.place.path == ("a", "0"):
                break
    assert tree.reading_most == 8


def test_a_walk_shows_no_capabilities(tree: Tree) -> None:
    state = TreeWalk(tree.file("x", 1).slots, tree.drive).save()
    assert "URI" not in repr(state)
