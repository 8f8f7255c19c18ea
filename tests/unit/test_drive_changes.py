"""Changes of directories by several at once, by those who are interrupted, and of large ones; and what must
survive them."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps import DirectoryCap, MutableWriteCap
from holdfast.caps.slots import child_slots
from holdfast.drive import directory_contents
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.errors import BadCapabilityError, ConflictError, HoldfastError, InputError, UnavailableError
from holdfast.formats.directory_entry import BadDirectoryError
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.directory_table import DirectoryTable, unpack_directory
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    MoveIncompleteError,
    NewChild,
    NoSuchChildError,
    NotMutableError,
    UnreadableChildError,
    UnreadableEntry,
    VersionMismatchError,
)
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles, MemoryMutableStore

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
CAPS = VECTORS["example_caps"]
FUTURE_RW = b"x-future:\xff writing"
FUTURE_RO = b"x-future:\xfe reading"


class BrokenError(UnavailableError):
    """What the store raises when it is told to."""


class Clients:
    """Several clients of one grid."""

    def __init__(self, grid: MemoryGrid) -> None:
        self.grid = grid
        self.store = MemoryMutableStore()
        self.time = 1000.0
        self.step = 1.0

    def drive(self) -> Drive:
        return Drive(self.grid.grid, MemoryMutableFiles(self.store), clock=self.tick)

    def tick(self) -> float:
        """Return a time that never was before, unless the clock stands."""
        self.time += self.step
        return self.time

    def interleave(self, seed: int) -> None:
        """Let requests come in an order that depends on ``seed``."""
        choose = random.Random(seed)

        async def before(what: str) -> None:
            for _ in range(choose.randrange(4)):
                await asyncio.sleep(0)

        self.store.before = before

    def break_after(self, calls: int) -> None:
        """Let this many requests pass, and none after them."""
        left = calls

        async def before(what: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise BrokenError("no server answers any more")

        self.store.before = before

    def mend(self) -> None:
        self.store.before = MemoryMutableStore().before

    def table(self, node: GridDirectoryNode) -> DirectoryTable:
        """Return what is stored for a directory that is held with the right to write."""
        cap = file_cap(node)
        return unpack_directory(self.store.contents(cap), cap.write_key, False)


def file_cap(node: GridDirectoryNode) -> MutableWriteCap:
    assert isinstance(node.cap, DirectoryCap)
    assert isinstance(node.cap.file_cap, MutableWriteCap)
    return node.cap.file_cap


def directory(drive: Drive, uri: str) -> GridDirectoryNode:
    node = drive.node(uri)
    assert isinstance(node, GridDirectoryNode)
    return node


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    async with memory_grid(4, EncodingSettings(shares_total=4, happiness=1, convergence_secret=b"")) as grid:
        yield Clients(grid)


# -- several at once


@pytest.mark.parametrize("seed", range(50))
async def test_clients_that_change_different_names_at_once_all_succeed(clients: Clients, seed: int) -> None:
    first = await clients.drive().create_directory("sdmf")
    await first.set_children({f"old{n}": NewChild(first) for n in range(4)})
    clients.interleave(seed)
    nodes = [directory(clients.drive(), first.get_uri()) for _ in range(4)]

    async def change(number: int, node: GridDirectoryNode) -> None:
        await node.set_node(f"new{number}", node)
        await node.move_child_to(f"old{number}", node, f"moved{number}")
        await node.set_metadata(f"new{number}", {"client": number})

    await asyncio.gather(*(change(number, node) for number, node in enumerate(nodes)))
    listed = {child.name: child.metadata async for child in first.iter_children()}
    assert sorted(listed) == sorted(f"{what}{n}" for what in ("moved", "new") for n in range(4))
    assert [listed[f"new{n}"]["client"] for n in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(30))
async def test_of_two_clients_that_take_one_name_at_once_one_gets_it(clients: Clients, seed: int) -> None:
    first = await clients.drive().create_directory("sdmf")
    clients.interleave(seed)
    nodes = [directory(clients.drive(), first.get_uri()) for _ in range(3)]

    outcomes = await asyncio.gather(
        *(node.set_uri("x", f"URI:LIT:{'b' * (8 * n)}") for n, node in enumerate(nodes)),
        return_exceptions=True,
    )
    failed = [outcome for outcome in outcomes if outcome is not None]
    assert len(failed) == 2
    assert all(isinstance(outcome, ChildAlreadyPresentError) for outcome in failed)
    winner = outcomes.index(None)
    assert (await first.get("x")).get_uri() == f"URI:LIT:{'b' * (8 * winner)}"


@pytest.mark.parametrize("seed", range(30))
async def test_counting_up_in_metadata_by_versions_loses_no_count(clients: Clients, seed: int) -> None:
    first = await clients.drive().create_directory("sdmf")
    await first.set_node("x", first, metadata={"count": 0})
    clients.interleave(seed)

    async def count(node: GridDirectoryNode) -> None:
        while True:
            child = await node.get_listed("x")
            assert not isinstance(child.node, UnreadableEntry)
            counted = child.metadata["count"]
            assert isinstance(counted, int)
            with suppress(VersionMismatchError):
                await node.set_node("x", child.node, expect=child.version, metadata={"count": counted + 1})
                return

    await asyncio.gather(*(count(directory(clients.drive(), first.get_uri())) for _ in range(4)))
    assert (await first.get_listed("x")).metadata["count"] == 4


async def test_a_child_that_is_replaced_while_it_is_moved_is_not_lost(clients: Clients) -> None:
    drive = clients.drive()
    source, target = await drive.create_directory("sdmf"), await drive.create_directory("sdmf")
    await source.set_uri("x", "URI:LIT:ba")
    other = directory(clients.drive(), source.get_uri())

    async def before(what: str) -> None:
        if what == "write" and clients.store.calls.count("write") == written + 1:
            clients.mend()
            await other.set_uri("x", "URI:LIT:ca", replace=True)

    written = clients.store.calls.count("write")
    clients.store.before = before
    with pytest.raises(MoveIncompleteError) as caught:
        await source.move_child_to("x", target, "y")
    assert isinstance(caught.value.__cause__, VersionMismatchError)
    assert (await source.get("x")).get_uri() == "URI:LIT:ca"
    assert (await target.get("y")).get_uri() == "URI:LIT:ba"


async def test_who_deletes_what_another_deleted_meanwhile_has_succeeded(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    await node.set_uri("x", "URI:LIT:ba")

    async def before(what: str) -> None:
        if what == "write":
            clients.mend()
            await directory(clients.drive(), node.get_uri()).delete("x")

    clients.store.before = before
    await node.delete("x")
    with pytest.raises(NoSuchChildError):
        await node.delete("x")


# -- interruptions


@pytest.mark.seed("S-114")
@pytest.mark.parametrize("calls", range(6))
async def test_a_move_that_is_cut_off_anywhere_never_loses_the_child(clients: Clients, calls: int) -> None:
    drive = clients.drive()
    source, target = await drive.create_directory("sdmf"), await drive.create_directory("sdmf")
    await source.set_uri("x", "URI:LIT:ba")

    clients.break_after(calls)
    error = None
    try:
        result = await source.move_child_to("x", target)
    except HoldfastError as caught:
        error = caught
    clients.mend()

    places = [await node.has_child("x") for node in (source, target)]
    if error is None:
        assert not result.atomic
        assert places == [False, True]
    elif isinstance(error, MoveIncompleteError):
        assert places == [True, True]
        assert (error.name, error.new_name) == ("x", "x")
    else:
        assert places == [True, False]
    assert calls < 5 or error is None


@pytest.mark.seed("S-114")
@pytest.mark.parametrize("calls", range(4))
async def test_a_rename_that_is_cut_off_is_made_or_not_made(clients: Clients, calls: int) -> None:
    node = await clients.drive().create_directory("sdmf")
    await node.set_uri("x", "URI:LIT:ba")

    clients.break_after(calls)
    try:
        assert (await node.move_child_to("x", node, "y")).atomic
        expected = ["y"]
    except BrokenError:
        expected = ["x"]
    clients.mend()
    assert list(await node.list()) == expected
    assert expected == (["y"] if calls >= 2 else ["x"])


async def test_a_cancelled_move_leaves_the_child_somewhere(clients: Clients) -> None:
    for steps in range(25):
        drive = clients.drive()
        source, target = await drive.create_directory("sdmf"), await drive.create_directory("sdmf")
        await source.set_uri("x", "URI:LIT:ba")
        task = asyncio.create_task(source.move_child_to("x", target))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await source.has_child("x") or await target.has_child("x")


@pytest.mark.seed("S-111")
async def test_nothing_is_stored_for_a_directory_that_cannot_take_it(clients: Clients) -> None:
    drive = clients.drive()
    node = await drive.create_directory("sdmf", {"taken": NewChild(drive.node("URI:LIT:ba"))})
    reading = directory(drive, node.get_immutable_uri())
    clients.grid.forget_calls()

    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("taken", DataSource(b"x" * 1000))
    with pytest.raises(VersionMismatchError):
        await node.add_file("taken", DataSource(b"x" * 1000), expect=bytes(16))
    with pytest.raises(NotMutableError):
        await reading.add_file("new", DataSource(b"x" * 1000))
    with pytest.raises(BadChildNameError):
        await node.add_file("\ud800", DataSource(b"x" * 1000), replace=True)
    with pytest.raises(ChildAlreadyPresentError):
        await node.create_empty_directory("taken")
    assert clients.grid.calls() == []
    assert len(clients.store.versions) == 1


@pytest.mark.seed("S-111")
async def test_a_name_that_is_taken_during_the_upload_is_not_replaced(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")

    async def before(what: str) -> None:
        if clients.grid.calls():
            clients.mend()
            await directory(clients.drive(), node.get_uri()).set_uri("x", "URI:LIT:ba")

    clients.store.before = before
    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("x", DataSource(b"x" * 1000))
    assert (await node.get("x")).get_uri() == "URI:LIT:ba"


@pytest.mark.seed("S-111")
async def test_an_upload_that_fails_leaves_no_link(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    encoding = EncodingSettings(shares_needed=3, shares_total=10, happiness=10)

    with pytest.raises(UnavailableError):
        await node.add_file("x", DataSource(b"x" * 1000), encoding=encoding)
    assert await node.list() == {}


@pytest.mark.seed("S-113")
async def test_a_directory_that_cannot_be_linked_leaves_its_parent_as_it_was(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    for calls in range(4):
        clients.break_after(calls)
        with pytest.raises(BrokenError):
            await node.create_empty_directory("x")
        clients.mend()
        assert await node.list() == {}


# -- what must survive


@pytest.mark.seed("S-016")
async def test_capabilities_of_the_future_survive_everything_byte_for_byte(clients: Clients) -> None:
    drive = clients.drive()
    slots = child_slots(FUTURE_RW, FUTURE_RO)
    unknown = drive.child("x", slots)
    assert unknown.kind == "unknown"
    one, two = await drive.create_directory("sdmf"), await drive.create_directory("mdmf")

    await one.set_node("x", unknown, metadata={"k": 1})
    await one.move_child_to("x", one, "y")
    await one.move_child_to("y", two, "z")
    assert await one.list() == {}
    await one.set_node("copy", await two.get("z"))
    for node, name in ((two, "z"), (one, "copy")):
        child = clients.table(node).get(name)
        assert child is not None
        assert child.child == slots
        assert child.child.rw == FUTURE_RW
        assert child.child.ro == b"ro." + FUTURE_RO
    assert await one.get("copy") == unknown


@pytest.mark.seed("S-016", "S-107")
async def test_a_capability_of_the_future_goes_through_a_text(clients: Clients) -> None:
    drive = clients.drive()
    node, cap = await drive.create_directory("sdmf"), b"imm.x-future:\xff\xfe bytes"
    text = cap.decode("utf-8", "surrogateescape")

    await node.set_uri("x", text)
    child = await node.get("x")
    assert child.get_uri() == text
    assert child == drive.node(text)
    await node.set_uri("y", str(child.get_uri()))
    entry = clients.table(node).get("y")
    assert entry is not None
    assert entry.child.ro == cap


async def test_entries_that_make_no_sense_are_told_and_kept(clients: Clients) -> None:
    node = await clients.drive().create_directory(
        "sdmf", {"fine": NewChild(await clients.drive().create_directory())}
    )
    raw = b"3:bad,11:URI:CHK:cut,0:,5:not{},"
    await (
        clients.drive()._mutable.open(file_cap(node)).modify(lambda old, _: old + b"%d:%s," % (len(raw), raw))
    )

    listed = await node.list()
    assert listed["bad"] == UnreadableEntry("bad", "the capability is malformed: is it cut off or misspelt?")
    with pytest.raises(UnreadableChildError):
        await node.list(on_error="raise")
    with pytest.raises(UnreadableChildError):
        await node.get("bad")
    with pytest.raises(UnreadableChildError):
        await node.move_child_to("bad", node, "worse")
    with pytest.raises(UnreadableChildError):
        await node.move_child_to("bad", await clients.drive().create_directory())
    assert await node.has_child("bad")
    await node.set_uri("more", "URI:LIT:ba")
    assert raw in clients.store.contents(file_cap(node))
    await node.delete("bad")
    assert raw not in clients.store.contents(file_cap(node))


async def test_untouched_entries_keep_their_bytes(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    odd = b"".join(
        b"%d:%s," % (len(entry), entry) for entry in (b'3:odd,11:URI:LIT:ba ,0:,9:{ "k":1 },trailing',)
    )
    await clients.drive()._mutable.open(file_cap(node)).modify(lambda old, _: odd)

    await node.set_uri("z", "URI:LIT:ba")
    assert clients.store.contents(file_cap(node)).startswith(odd)


async def test_what_is_no_directory_is_refused_and_left_alone(clients: Clients) -> None:
    drive = clients.drive()
    file = await drive.create_mutable_file(b"just a text")
    assert isinstance(file.cap, MutableWriteCap)
    node = drive.node(DirectoryCap(file.cap))
    assert isinstance(node, GridDirectoryNode)

    with pytest.raises(BadDirectoryError):
        await node.list()
    with pytest.raises(BadDirectoryError):
        await node.set_node("x", node)
    assert await file.download_to_data() == b"just a text"


async def test_metadata_that_is_none_changes_nothing(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    await node.set_node("x", node)

    for wrong in ({"k": object()}, {1: "k"}):
        with pytest.raises(BadMetadataError):
            await node.set_metadata("x", wrong)  # type: ignore[arg-type]
    assert "k" not in (await node.get_listed("x")).metadata


async def test_time_stamps_say_when_a_link_was_made_and_changed(clients: Clients) -> None:
    clients.step = 0.0
    node = await clients.drive().create_directory("sdmf")
    await node.set_uri("x", "URI:LIT:ba")
    clients.time = 2000.0
    await node.set_uri("x", "URI:LIT:ca", replace=True)

    assert (await node.get_listed("x")).metadata == {"tahoe": {"linkcrtime": 1000.0, "linkmotime": 2000.0}}


async def test_a_rename_to_the_same_name_asks_nothing(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    clients.store.calls.clear()

    assert (await node.move_child_to("caf\u00e9", node, "cafe\u0301")).atomic
    assert clients.store.calls == []


@pytest.mark.parametrize("kind", ["sdmf", "mdmf"])
async def test_a_new_directory_is_of_the_format_of_its_parent(clients: Clients, kind: DirectoryKind) -> None:
    node = await clients.drive().create_directory(kind)
    child = await node.create_empty_directory("x")
    assert isinstance(child.cap, DirectoryCap)
    assert isinstance(node.cap, DirectoryCap)
    assert child.cap.kind == node.cap.kind


async def test_writing_again_what_is_there_writes_nothing(clients: Clients) -> None:
    clients.step = 0.0
    node = await clients.drive().create_directory("sdmf")
    await node.set_uri("x", "URI:LIT:ba")
    clients.store.calls.clear()

    await node.set_uri("x", "URI:LIT:ba", replace=True)
    assert clients.store.calls == ["read"]


# -- immutable ones


@pytest.mark.parametrize("vector", VECTORS["immutable_directories"], ids=lambda vector: vector["label"])
async def test_immutable_directories_get_the_capability_of_the_reference(vector: dict[str, Any]) -> None:
    encoding = EncodingSettings(
        shares_needed=vector["k"],
        shares_total=vector["n"],
        happiness=1,
        segment_size_max=vector["max_segment_size"],
        convergence_secret=bytes.fromhex(vector["convergence_secret"]),
    )
    async with memory_grid(3, encoding) as grid:
        drive = Drive(grid.grid, MemoryMutableFiles())
        children = {
            child["name"]: NewChild(drive.node(child["ro_cap"]), child["metadata"])
            for child in vector["children"]
        }
        node = await drive.create_directory("immutable", children)

        assert node.get_uri() == vector["cap"]
        assert node.get_verify_uri() == vector["verify_cap"]
        assert (await node.contents.read()).to_bytes() == base64.b64decode(vector["packed"])
        assert list(await node.list()) == [child["name"] for child in vector["children"]]


async def test_nothing_that_can_change_gets_into_an_immutable_directory(clients: Clients) -> None:
    drive = clients.drive()
    mutable = await drive.create_directory("sdmf")
    clients.grid.forget_calls()

    for uri in (mutable.get_uri(), mutable.get_immutable_uri(), CAPS["ssk_read"], CAPS["mdmf_write"]):
        with pytest.raises(BadCapabilityError):
            await drive.create_directory("immutable", {"x": NewChild(drive.node(uri))})
    assert clients.grid.calls() == []


async def test_an_immutable_directory_below_a_mutable_one(clients: Clients) -> None:
    drive = clients.drive()
    node = await drive.create_directory("sdmf")

    child = await node.create_subdirectory("x", {"y": NewChild(drive.node(CAPS["chk"]))}, kind="immutable")
    assert not child.is_mutable()
    assert (await node.get_child_at_path("x/y")).get_uri() == CAPS["chk"]
    with pytest.raises(NotMutableError):
        await child.create_empty_directory("z")


async def test_an_absurdly_large_directory_is_not_fetched(clients: Clients) -> None:
    uri = "URI:DIR2-CHK:" + CAPS["chk"].removeprefix("URI:CHK:").rpartition(":")[0] + ":10000000000000"
    node = directory(clients.drive(), uri)
    clients.grid.forget_calls()

    with pytest.raises(HoldfastError, match="MiB"):
        await node.list()
    assert clients.grid.calls() == []


# -- large ones


async def test_a_directory_of_ten_thousand_children_works(clients: Clients) -> None:
    drive = clients.drive()
    chk = drive.node(CAPS["chk"])
    node = await drive.create_directory("mdmf", {f"child {n:05}": NewChild(chk) for n in range(10_000)})

    began = time.perf_counter()
    assert len(await node.list()) == 10_000
    await node.set_node("one more", chk)
    await node.delete("child 05000")
    await node.move_child_to("child 00000", node, "zzz")
    assert await node.get("child 09999") == chk
    names = [child.name async for child in node.iter_children()]
    assert len(names) == 10_000
    assert names[-1] == "zzz"
    assert time.perf_counter() - began < 20  # seconds; what takes the square of the entries takes far longer


async def test_a_large_directory_is_unpacked_and_looked_at_in_a_thread(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive, in_thread = clients.drive(), []
    chk = drive.node(CAPS["chk"])

    async def to_thread(function: Callable[..., Any], *args: Any) -> Any:
        in_thread.append(function.__name__)
        return function(*args)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    few = {f"child {n:05}": NewChild(chk) for n in range(100)}
    await (await drive.create_directory("immutable", few)).list()
    assert in_thread == []
    many = few | {f"other {n:05}": NewChild(chk) for n in range(500)}
    node = await drive.create_directory("mdmf", many)
    await node.list()
    assert in_thread == ["unpack_directory", "look_at"]
    in_thread.clear()
    assert len([child async for child in node.iter_children()]) == 600
    assert in_thread == ["unpack_directory", "look_at"]


async def test_a_directory_does_not_become_too_large_to_be_opened(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = clients.drive()
    child = NewChild(drive.node(CAPS["chk"]))
    node = await drive.create_directory("sdmf", {"x": child})
    monkeypatch.setattr(directory_contents, "DIRECTORY_SIZE_MAX", 1000)

    many = {str(number): child for number in range(10)}
    for change in (
        node.set_children(many),
        drive.create_directory("sdmf", many),
        drive.create_directory("immutable", many),
    ):
        with pytest.raises(InputError):
            await change
    assert list(await node.list()) == ["x"]
    monkeypatch.setattr(directory_contents, "DIRECTORY_SIZE_MAX", 100)
    with pytest.raises(InputError):
        await node.list()


async def test_a_set_of_many_children_is_one_change(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    clients.store.calls.clear()

    await node.set_children({f"{n}": NewChild(node) for n in range(500)})
    assert clients.store.calls == ["read", "write"]
    with pytest.raises(NoSuchChildError):
        await node.get("500")


async def test_whoever_is_overtaken_again_and_again_gives_up(clients: Clients) -> None:
    node = await clients.drive().create_directory("sdmf")
    other = clients.drive()._mutable.open(file_cap(node))
    busy = False

    async def before(what: str) -> None:
        nonlocal busy
        if what == "write" and not busy:
            busy = True
            await directory(clients.drive(), node.get_uri()).set_node(f"{clients.time}", node)
            busy = False

    clients.store.before = before
    with pytest.raises(ConflictError):
        await node.set_node("x", node)
    assert "x" not in await node.list()
    assert await other.read()
