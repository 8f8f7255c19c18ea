"""Directories between Holdfast and the real tahoe-lafs, on servers of both: each lists, changes and
walks what the other made, and loses nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from holdfast.caps import DirectoryCap, MutableWriteCap, parse_cap
from holdfast.crypto import base32
from holdfast.crypto.netstring import netstring, split
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import MutableFileNode
from holdfast.drive.freezing import freeze
from holdfast.drive.known_node import KnownNode
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.drive.traversal import Visited
from holdfast.formats.directory_table import DirectoryTable
from holdfast.formats.directory_write_caps import encrypted_write_cap
from holdfast.grid.client import Grid
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import ListedChild, NewChild, Node, UnreadableEntry
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.mixed_grid import Kind, MixedGrid
from holdfast.testing.tahoe_directories import TahoeChild, TahoeDirectories
from holdfast.testing.tahoe_peer import TahoeClient
from holdfast.testing.vdrive_clients import client_of

ENCODING = EncodingSettings(shares_needed=2, happiness=4, shares_total=4, convergence_secret=bytes(range(32)))
KINDS = ("DIR2", "DIR2-MDMF", "DIR2-RO", "DIR2-CHK", "DIR2-LIT")
COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"
ODD_METADATA = b'{ "b" :[1.50, {"\\u00e9": null}],\n\t"a": 1e3, "b": "last" }'
METADATA: dict[str, Any] = {"text": "\u00e9 \U0001f600 \\", "numbers": [0, 1.5, -1e300], "nested": {"": None}}

MutableFormat = Literal["SDMF", "MDMF"]
MUTABLE: dict[MutableFormat, DirectoryKind] = {"SDMF": "sdmf", "MDMF": "mdmf"}


@pytest.fixture(scope="module")
def peer(mixed_grid: MixedGrid) -> Iterator[TahoeClient]:
    client = mixed_grid.start_tahoe_client(Kind.MIXED, ENCODING)
    yield client
    client.stop()


@pytest.fixture
def theirs(peer: TahoeClient) -> TahoeDirectories:
    return TahoeDirectories(peer)


@pytest.fixture
async def grid(mixed_grid: MixedGrid) -> AsyncIterator[Grid]:
    async with mixed_grid.connect(Kind.MIXED, ENCODING) as grid:
        yield grid


@pytest.fixture
def ours(grid: Grid) -> Drive:
    return Drive(grid, grid.mutable)


@dataclass(frozen=True)
class Children:
    """Children of every kind, by name: what links to them, and what its holder and its readers are given."""

    given: dict[str, str]
    write: dict[str, str | None]
    read: dict[str, str]

    def only(self, *names: str) -> Children:
        return Children(
            {name: self.given[name] for name in names},
            {name: self.write[name] for name in names},
            {name: self.read[name] for name in names},
        )


IMMUTABLE = ("file", "literal", "empty directory", "immutable directory")


@pytest.fixture(scope="module")
def children(peer: TahoeClient) -> Children:
    """Made by tahoe-lafs; none of it has to be read."""
    theirs = TahoeDirectories(peer)
    writable = {
        "sdmf": peer.put(b"small", mutable="SDMF"),
        "mdmf": peer.put(b"medium", mutable="MDMF"),
        "directory": theirs.create(),
        "mdmf directory": theirs.create("MDMF"),
    }
    file = peer.put(bytes(1000))
    immutable = {
        "file": file,
        "literal": peer.put(b"tiny"),
        "empty directory": theirs.create_with({}, immutable=True),
        "immutable directory": theirs.create_with({"f": TahoeChild.of(file, {})}, immutable=True),
    }
    read_only = {f"{name}, read": read_cap(cap) for name, cap in writable.items()}
    unknown = {"unknown": "ro.x-future:1", "unknown, immutable": "imm.x-future:2 \u00e9"}
    given = writable | immutable | read_only | unknown
    return Children(
        given,
        {name: writable.get(name) for name in given},
        {name: read_cap(cap) for name, cap in given.items()},
    )


def read_cap(cap: str) -> str:
    parsed = parse_cap(cap)
    return parsed.read_only.to_text() if isinstance(parsed, MutableWriteCap | DirectoryCap) else cap


def directory(drive: Drive, cap: str) -> GridDirectoryNode:
    node = drive.node(cap)
    assert isinstance(node, GridDirectoryNode)
    return node


def contents_of(grid: Grid, cap: str) -> Any:
    """Return the mutable file in which the entries of a directory are."""
    parsed = parse_cap(cap)
    assert isinstance(parsed, DirectoryCap) and isinstance(parsed.file_cap, MutableWriteCap)
    return grid.mutable.open(parsed.file_cap)


async def entries(node: GridDirectoryNode) -> dict[str, ListedChild]:
    return {child.name: child async for child in node.iter_children()}


def links(drive: Drive, children: Children) -> dict[str, NewChild]:
    return {name: NewChild(drive.node(cap), METADATA) for name, cap in children.given.items()}


def link_documents(children: Children) -> dict[str, TahoeChild]:
    documents = {}
    for name, cap in children.given.items():
        unknown = cap.startswith(("ro.", "imm."))
        documents[name] = TahoeChild("filenode", None if unknown else cap, cap if unknown else None, METADATA)
    return documents


def kind_of(cap: str) -> str:
    return cap.split(":")[1]


def children_for(kind: str, children: Children) -> Children:
    match kind:
        case "DIR2-LIT":
            return Children({}, {}, {})
        case "DIR2-CHK":
            return children.only(*IMMUTABLE)
    return children


async def test_they_list_every_kind_that_we_make(
    ours: Drive, theirs: TahoeDirectories, children: Children
) -> None:
    for kind in KINDS:
        expected = children_for(kind, children)
        how: DirectoryKind = (
            "immutable" if kind in ("DIR2-CHK", "DIR2-LIT") else "mdmf" if "MDMF" in kind else "sdmf"
        )
        node = await ours.create_directory(how, links(ours, expected))
        cap = node.get_immutable_uri() if kind.endswith("RO") else node.get_uri()
        assert kind_of(cap) == kind

        listed = theirs.list(cap)

        assert {n: c.ro_uri for n, c in listed.items()} == expected.read, kind
        may_write = kind in ("DIR2", "DIR2-MDMF")
        assert {n: c.rw_uri for n, c in listed.items()} == {
            n: cap if may_write else None for n, cap in expected.write.items()
        }, kind
        assert all(child.metadata == METADATA for child in listed.values()), kind


async def test_we_list_every_kind_that_they_make(
    ours: Drive, theirs: TahoeDirectories, children: Children
) -> None:
    for kind in KINDS:
        expected = children_for(kind, children)
        documents = link_documents(expected)
        if kind in ("DIR2-CHK", "DIR2-LIT"):
            cap = theirs.create_with(documents, immutable=True)
        elif kind == "DIR2-MDMF":
            cap = theirs.create("MDMF")
            theirs.set_children(cap, documents)
        else:
            cap = theirs.create_with(documents)
            cap = read_cap(cap) if kind == "DIR2-RO" else cap
        assert kind_of(cap) == kind

        listed = await entries(directory(ours, cap))

        assert {n: uris(c.node)[1] for n, c in listed.items()} == expected.read, kind
        may_write = kind in ("DIR2", "DIR2-MDMF")
        assert {n: uris(c.node)[0] for n, c in listed.items()} == {
            n: cap if may_write else None for n, cap in expected.write.items()
        }, kind
        for child in listed.values():
            assert {k: v for k, v in child.metadata.items() if k != "tahoe"} == METADATA, kind


def uris(node: Node | UnreadableEntry) -> tuple[str | None, str | None]:
    """Return the capability to write, if it is held, and the one to read."""
    assert not isinstance(node, UnreadableEntry)
    strongest, read = node.get_uri(), node.get_immutable_uri()
    return (None if strongest == read else strongest), read


async def test_both_make_the_same_immutable_directory(
    ours: Drive, theirs: TahoeDirectories, children: Children
) -> None:
    for chosen in (Children({}, {}, {}), children.only("literal"), children.only(*IMMUTABLE)):
        node = await ours.create_directory("immutable", links(ours, chosen))

        assert node.get_uri() == theirs.create_with(link_documents(chosen), immutable=True)


@pytest.mark.parametrize("file_format", MUTABLE)
async def test_each_changes_what_the_other_made(
    ours: Drive, theirs: TahoeDirectories, file_format: MutableFormat
) -> None:
    made_by_them = theirs.create(file_format)
    made_by_us = (await ours.create_directory(MUTABLE[file_format])).get_uri()
    for cap in (made_by_them, made_by_us):
        node = directory(ours, cap)
        theirs.set_children(cap, {n: TahoeChild.of("URI:LIT:ge", {"n": n}) for n in ("a", "b", "c", "d")})
        created = theirs.list(cap)["a"].metadata

        await node.set_uri("a", "URI:LIT:gi", replace=True)
        await node.delete("b")
        await node.move_child_to("c", node, DECOMPOSED)
        await node.set_metadata("d", {"changed": "by us"})
        await node.add_file("e", DataSource(bytes(100)))
        await node.create_empty_directory("f")

        listed = theirs.list(cap)
        assert sorted(listed) == sorted(["a", COMPOSED, "d", "e", "f"])
        assert listed["a"].ro_uri == "URI:LIT:gi"
        assert without_times(listed["a"].metadata) == {"n": "a"}
        assert link_made(listed["a"].metadata) == link_made(created)
        assert without_times(listed[COMPOSED].metadata) == {"n": "c"}
        assert without_times(listed["d"].metadata) == {"changed": "by us"}
        assert theirs.read(cap, ["e"]) == bytes(100)
        theirs.put(cap, ["f", "inner"], b"contents")

        theirs.set_children(cap, {"a": TahoeChild.of("URI:LIT:gm"), "d": TahoeChild.of("URI:LIT:gq", {})})
        theirs.delete(cap, ["e"])
        theirs.rename(cap, COMPOSED, "g")

        ours_now = await entries(node)
        assert sorted(ours_now) == ["a", "d", "f", "g"]
        assert uris(ours_now["a"].node)[1] == "URI:LIT:gm"
        assert without_times(ours_now["a"].metadata) == {"n": "a"}
        assert without_times(ours_now["d"].metadata) == {}
        assert without_times(ours_now["g"].metadata) == {"n": "c"}
        inner = await node.get_child_at_path("f/inner")
        assert inner.kind == "file" and await inner.download_to_data() == b"contents"


def without_times(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    assert metadata is not None
    return {key: value for key, value in metadata.items() if key != "tahoe"}


def link_made(metadata: Mapping[str, Any] | None) -> object:
    assert metadata is not None
    return metadata["tahoe"]["linkcrtime"]


@pytest.mark.parametrize("changed_by", ["us", "them"])
@pytest.mark.parametrize("file_format", MUTABLE)
async def test_what_neither_knows_survives_the_changes_of_the_other(
    grid: Grid,
    ours: Drive,
    theirs: TahoeDirectories,
    children: Children,
    file_format: MutableFormat,
    changed_by: str,
) -> None:
    writable = children.given["directory"].encode()

    def strange(write_key: bytes) -> dict[str, bytes]:
        sealed, nothing = encrypted_write_cap(writable, write_key), encrypted_write_cap(b"", write_key)
        future = encrypted_write_cap(b"x-future-write:1", write_key)
        return {
            "composed late": entry(DECOMPOSED.encode(), b"URI:LIT:ge", nothing, ODD_METADATA),
            "padded": entry(b"padded", b"URI:LIT:ge   ", nothing, b"{}"),
            "with more behind": entry(b"more", b"URI:LIT:ge", nothing, b"{}") + b"7:and yet,more",
            "wrong MAC": entry(b"mac", read_cap(writable.decode()).encode(), sealed[:-1] + b"?", b"{}"),
            "unknown": entry(b"unknown", b"x-future-read:1", future, ODD_METADATA),
            "unknown, immutable": entry(b"immutable", b"imm.x-future:1", nothing, b'{"no-write": 1}'),
        }

    file = await grid.mutable.create_with(
        lambda key: b"".join(map(netstring, strange(key).values())), format=file_format
    )
    assert isinstance(file.cap, MutableWriteCap)
    cap = DirectoryCap(file.cap).to_text()
    before = strange(file.cap.write_key)

    if changed_by == "us":
        node = directory(ours, cap)
        await node.set_uri("new", "URI:LIT:gi", metadata={"new": True})
        await node.move_child_to("new", node, "newer")
        await node.set_metadata("newer", {"newest": 1})
        assert len(theirs.list(cap)) == len(before) + 1
        await node.delete("newer")
    else:
        theirs.set_children(cap, {"new": TahoeChild.of("URI:LIT:gi", {"new": True})})
        theirs.rename(cap, "new", "newer")
        theirs.link(cap, ["newer"], "URI:LIT:gm")
        assert len(await entries(directory(ours, cap))) == len(before) + 1
        theirs.delete(cap, ["newer"])

    assert sorted(stored_entries(await file.read())) == sorted(before.values())


async def test_an_entry_nobody_can_read_survives_our_changes(
    grid: Grid, ours: Drive, theirs: TahoeDirectories
) -> None:
    """Theirs lose it: they drop what they skip."""

    def unreadable(write_key: bytes) -> bytes:
        return entry(b"bad", b"URI:CHK:malformed", encrypted_write_cap(b"", write_key), b"not even JSON")

    file = await grid.mutable.create_with(lambda key: netstring(unreadable(key)))
    assert isinstance(file.cap, MutableWriteCap)
    cap = DirectoryCap(file.cap).to_text()

    await directory(ours, cap).set_uri("new", "URI:LIT:gi")

    assert unreadable(file.cap.write_key) in stored_entries(await file.read())
    assert list(theirs.list(cap)) == ["new"]


def entry(name: bytes, ro_field: bytes, rw_field: bytes, metadata: bytes) -> bytes:
    return b"".join(map(netstring, (name, ro_field, rw_field, metadata)))


def stored_entries(data: bytes) -> list[bytes]:
    found, offset = [], 0
    while offset < len(data):
        raw, offset = split(data, offset)
        found.append(raw)
    return found


@dataclass(frozen=True)
class Tree:
    """A tree made by both: with a circle, a file twice, children of every kind."""

    writable: str
    immutable: str


@pytest.fixture
async def tree(ours: Drive, theirs: TahoeDirectories, peer: TahoeClient, children: Children) -> Tree:
    root = await ours.create_directory("mdmf", links(ours, children))
    cap = root.get_uri()
    below = theirs.create("MDMF")
    theirs.link(cap, ["below"], below)
    theirs.put(below, ["deep", "deeper", "file"], bytes(range(200)))
    theirs.link(below, ["deep", "circle"], cap)
    theirs.link(below, ["again"], children.given["file"])
    theirs.link(below, ["deep", "read only"], read_cap(cap))
    await directory(ours, below).add_file(COMPOSED, DataSource(b"literal"))
    await directory(ours, below).create_subdirectory("fixed", links(ours, children.only(*IMMUTABLE)))
    immutable = await ours.create_directory(
        "immutable", links(ours, children.only("immutable directory", "literal", "file"))
    )
    return Tree(cap, immutable.get_uri())


async def test_both_walk_a_tree_alike(ours: Drive, theirs: TahoeDirectories, tree: Tree) -> None:
    for cap in (tree.writable, read_cap(tree.writable), tree.immutable, "URI:DIR2-LIT:"):
        manifest = theirs.manifest(cap)
        node = directory(ours, cap)
        walk = node.walk()
        met: list[dict[str, Any]] = []
        async with aclosing(walk.events()) as events:
            async for event in events:
                if isinstance(event, Visited):
                    met.append(described(event.place.path, event.node))

        assert met == [{key: unit[key] for key in met[0]} for unit in manifest.objects]
        assert walk.stats.to_document() == manifest.stats
        assert (await node.deep_stats()).to_document() == manifest.stats
        found = [item async for item in node.iter_manifest()]
        assert sorted((item.path, item.verify_capability or "") for item in found) == sorted(
            (tuple(unit["path"]), unit["verifycap"]) for unit in manifest.objects
        )


def described(path: tuple[str, ...], node: Node | UnreadableEntry) -> dict[str, Any]:
    """Return what a line of their manifest says."""
    assert not isinstance(node, UnreadableEntry)
    verify_uri = node.get_verify_uri() if isinstance(node, KnownNode) else None
    index = node.cap.storage_index if isinstance(node, KnownNode) else None
    return {
        "path": list(path),
        "type": node.kind,
        "cap": node.get_uri(),
        "verifycap": verify_uri or "",
        "storage-index": "" if index is None else base32.encode(index),
    }


@pytest.mark.parametrize("file_format", MUTABLE)
async def test_they_take_turns_at_one_directory(
    ours: Drive, theirs: TahoeDirectories, file_format: MutableFormat
) -> None:
    cap = theirs.create(file_format)
    node = directory(ours, cap)

    for turn in range(4):
        await node.set_uri(f"ours {turn}", "URI:LIT:ge")
        theirs.link(cap, [f"theirs {turn}"], "URI:LIT:gi")

    names = {f"{who} {turn}" for who in ("ours", "theirs") for turn in range(4)}
    assert set(await node.list()) == set(theirs.list(cap)) == names


@pytest.mark.parametrize("file_format", MUTABLE)
async def test_each_reads_and_overwrites_mutable_files_of_the_other(
    ours: Drive, theirs: TahoeDirectories, peer: TahoeClient, file_format: MutableFormat
) -> None:
    for size in (0, 300_001):
        first, second, third = (bytes([n]) * size for n in (1, 2, 3))
        their_cap = peer.put(first, mutable=file_format)
        our_cap = (await ours.create_mutable_file(first, format=file_format)).get_uri()
        for cap in (their_cap, our_cap):
            node = ours.node(cap)
            assert isinstance(node, MutableFileNode)
            assert await node.download_to_data() == first

            await node.overwrite(second)
            assert peer.get(cap) == second
            theirs.put(cap, [], third + b"longer")
            assert await node.download_to_data() == third + b"longer"
            assert await node.download_to_data(size, 4) == b"long"

            await node.update(size // 2, b"ours")
            theirs.update(cap, size, b"theirs")
            expected = bytearray(third + b"longer")
            expected[size // 2 : size // 2 + 4] = b"ours"
            expected[size:] = b"theirs"
            assert await node.download_to_data() == peer.get(cap) == bytes(expected)


async def test_a_large_directory_goes_both_ways(ours: Drive, theirs: TahoeDirectories) -> None:
    names = [f"child number {n}" for n in range(1500)]  # several segments
    ours_made = await ours.create_directory(
        "mdmf", {name: NewChild(ours.node("URI:LIT:ge"), {}) for name in names}
    )
    theirs_made = theirs.create_with({name: TahoeChild.of("URI:LIT:ge", {}) for name in names})

    assert sorted(theirs.list(ours_made.get_uri())) == sorted(names)
    assert sorted(await directory(ours, theirs_made).list()) == sorted(names)

    theirs.link(ours_made.get_uri(), ["one more"], "URI:LIT:gi")
    await directory(ours, theirs_made).set_uri("one more", "URI:LIT:gi")
    table: DirectoryTable = await ours_made.contents.read()
    assert len(table) == len(theirs.list(theirs_made)) == 1501


async def test_they_read_what_was_frozen_of_virtual_drive_directories(
    grid: Grid, theirs: TahoeDirectories
) -> None:
    server = MemoryVdriveServer()
    drive = Drive(grid, grid.mutable, client_of(server), vdrive_place=server.place)
    file = await drive.upload(DataSource(b"data" * 100))
    mutable = await drive.create_mutable_file(b"changes" * 50)
    inner = await drive.create_directory("vdrive", {COMPOSED: NewChild(file, METADATA)})
    top = await drive.create_directory("vdrive", {"in": NewChild(inner), "changes": NewChild(mutable)})

    frozen = await freeze(drive, top)

    cap = frozen.directory.get_uri()
    assert {name: child.kind for name, child in theirs.list(cap).items()} == {
        "in": "dirnode",
        "changes": "filenode",
    }
    assert theirs.list(cap, ["in"])[COMPOSED].metadata == METADATA
    assert theirs.read(cap, ["in", COMPOSED]) == b"data" * 100
    assert theirs.read(cap, ["changes"]) == b"changes" * 50
    assert len(theirs.manifest(cap).objects) == 4
