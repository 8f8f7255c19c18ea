"""What every directory does, of whatever kind. Subclass ``WritableDirectorySuite``, or
``ReadOnlyDirectorySuite`` for one that cannot be changed by its node, and provide ``place``.

Source: docs/spec/seed-map.md, section I; holdfast.interfaces.drive.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import pytest

from holdfast.errors import BadCapabilityError, NotCapableError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    ChildOfWrongTypeError,
    DirectoryNode,
    FileNode,
    NewChild,
    Node,
    NoSuchChildError,
    NotADirectoryNodeError,
    NotMutableError,
    Path,
    UnknownNode,
    VersionMismatchError,
)

COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"
ODD = "a/b"  # a name that not all kinds of directories take
NAMES = ("...", "~", "\n", "x" * 300, COMPOSED, "\uff5e", "\U0001f600", "a b", "A:b", "\x7f")
ODD_NAMES = ("", ".", "..", "/", ODD, "\x00", "x" * 1001)
FUTURE = "ro.x-future:one day"  # of no kind that is known, said to be for reading
Change = Callable[[DirectoryNode], Awaitable[object]]


class Place(Protocol):
    """Where the suite works."""

    async def new(self, children: Mapping[str, NewChild] | None = None) -> DirectoryNode:
        """Return a new directory of the kind under test."""
        ...

    async def file(self, text: str) -> FileNode:
        """Return a file; the same text gives the same file."""
        ...

    def unknown(self, uri: str) -> UnknownNode:
        """Return the node of a capability that nobody knows."""
        ...

    def calls(self) -> int:
        """Return how many requests were made so far."""
        ...

    def again(self, node: DirectoryNode) -> DirectoryNode:
        """Return the node of this directory in a client that begins anew."""
        ...


async def walked(directory: DirectoryNode, path: str) -> Node:
    return await directory.get_child_at_path(path)


async def uri_of(directory: DirectoryNode, name: str) -> str | None:
    return (await directory.get(name)).get_uri()


class DirectorySuite:
    """What directories of all kinds do.

    Attributes:
        any_name: their children can have any name.
    """

    any_name = True

    async def test_a_new_directory_is_empty(self, place: Place) -> None:
        assert await (await place.new()).list() == {}

    @pytest.mark.seed("S-101")
    async def test_children_are_listed_by_name_with_their_metadata(self, place: Place) -> None:
        one, two = await place.file("one"), await place.new()
        directory = await place.new(
            {"b": NewChild(one, {"k": [1, None]}), "a": NewChild(two), "Z": NewChild(one)}
        )

        assert await directory.list() == {"Z": one, "a": two, "b": one}
        children = [child async for child in directory.iter_children()]
        assert [child.name for child in children] == ["Z", "a", "b"]
        assert children[2].node == one
        assert children[2].metadata["k"] == [1, None]

    @pytest.mark.seed("S-102")
    async def test_a_child_is_found_under_any_form_of_its_name(self, place: Place) -> None:
        child = await place.file("one")
        directory = await place.new({DECOMPOSED: NewChild(child)})

        assert await directory.get(COMPOSED) == await directory.get(DECOMPOSED) == child
        assert await directory.has_child(DECOMPOSED)
        assert list(await directory.list()) == [COMPOSED]
        assert not await directory.has_child("cafe")

    @pytest.mark.seed("S-102", "S-207")
    async def test_a_missing_child_is_an_index_error(self, place: Place) -> None:
        directory = await place.new()

        for look in (directory.get, directory.get_listed, directory.get_child_at_path):
            with pytest.raises(IndexError) as caught:
                await look("no such")
            assert isinstance(caught.value, NoSuchChildError)
            assert isinstance(caught.value, KeyError)
            assert caught.value.name == "no such"
        assert not await directory.has_child("no such")

    @pytest.mark.seed("S-103", "S-104")
    async def test_paths_lead_through_directories_and_errors_say_how_far(self, place: Place) -> None:
        file = await place.file("one")
        inner = await place.new({"file": NewChild(file)})
        middle = await place.new({"inner": NewChild(inner)})
        top = await place.new({"middle": NewChild(middle), "unknown": NewChild(place.unknown(FUTURE))})

        assert await top.get_child_at_path("middle/inner/file") == file
        with pytest.raises(NoSuchChildError) as missing:
            await top.get_child_at_path("middle/x/file")
        assert (missing.value.name, missing.value.depth) == ("x", 1)
        for path, name, depth in (("middle/inner/file/x", "file", 2), ("unknown/x", "unknown", 0)):
            with pytest.raises(NotADirectoryNodeError) as through:
                await top.get_child_at_path(path)
            assert (through.value.name, through.value.depth) == (name, depth)
            assert isinstance(through.value, IndexError)

    @pytest.mark.seed("S-105")
    async def test_paths_have_several_forms(self, place: Place) -> None:
        file, slashed = await place.file("one"), await place.file("two")
        odd = {ODD: NewChild(slashed), "": NewChild(slashed)} if self.any_name else {}
        inner = await place.new({"file": NewChild(file)})
        top = await place.new({"inner": NewChild(inner), **odd})

        empties: tuple[Path, ...] = ("", "/", "//", [], ())
        for empty in empties:
            assert await top.get_child_at_path(empty) is top
        for path in ("inner/file", "/inner/file", "inner//file/", ["inner", "file"], ("inner", "file")):
            assert await top.get_child_at_path(path) == file
        for name in (ODD, ""):
            if self.any_name:
                assert await top.get_child_at_path([name]) == slashed
            else:
                with pytest.raises(BadChildNameError):
                    await top.get_child_at_path([name])

    @pytest.mark.seed("S-016")
    async def test_an_unknown_child_is_carried_byte_for_byte(self, place: Place) -> None:
        unknown = place.unknown(FUTURE)
        first = await place.new({"future": NewChild(unknown)})
        carried = await first.get("future")
        second = await place.new({"copy": NewChild(carried)})
        again = await second.get("copy")

        assert carried.kind == again.kind == "unknown"
        assert str(again.get_immutable_uri()).partition(".")[2] == FUTURE.partition(".")[2]
        assert carried == again

    @pytest.mark.seed("S-096")
    async def test_a_mounted_directory_is_the_same_directory(self, place: Place) -> None:
        mounted = await place.new({"x": NewChild(await place.file("one"))})
        directory = await place.new({"mounted": NewChild(mounted)})

        assert await directory.get("mounted") == mounted
        assert hash(await directory.get("mounted")) == hash(mounted)

    @pytest.mark.seed("S-097")
    async def test_capabilities_are_plain_words(self, place: Place) -> None:
        directory = await place.new()

        texts = [directory.get_uri(), directory.get_immutable_uri(), directory.get_refresh_capability()]
        assert all(text is None or re.fullmatch(r"[A-Za-z0-9:._~-]+", text) for text in texts)

    @pytest.mark.seed("S-090")
    async def test_nodes_are_known_by_their_capability(self, place: Place) -> None:
        directory = await place.new({"x": NewChild(await place.file("one"))})

        again = place.again(directory)
        assert again == directory
        assert hash(again) == hash(directory)
        assert again.get_uri() == directory.get_uri()
        assert await again.list() == await directory.list()

    async def test_no_capability_is_shown(self, place: Place) -> None:
        directory = await place.new({"x": NewChild(await place.file("one"))})

        assert all(
            part not in repr(directory) for part in directory.get_uri().split(":")[2:] if len(part) > 9
        )

    @pytest.mark.seed("S-115")
    async def test_the_manifest_has_everything_once(self, place: Place) -> None:
        shared = await place.file("shared" * 20)
        inner = await place.new({"again": NewChild(shared)})
        top = await place.new(
            {"shared": NewChild(shared), "inner": NewChild(inner), "future": NewChild(place.unknown(FUTURE))}
        )

        found = [item async for item in top.iter_manifest()]
        assert [item.path for item in found] == [(), ("future",), ("shared",), ("inner",)]
        assert [item.node for item in found[:1] + found[2:]] == [top, shared, inner]
        expected = {node.get_refresh_capability() for node in (top, shared, inner)}
        assert await top.build_manifest() == expected - {None}


class ReadOnlyDirectorySuite(DirectorySuite):
    """What directories do that cannot be changed by their node."""

    @pytest.mark.seed("S-092", "S-093", "S-099")
    async def test_it_only_reads(self, place: Place) -> None:
        directory = await place.new()

        assert not directory.is_mutable()
        assert directory.is_readonly()
        assert directory.get_uri() == directory.get_immutable_uri()

    @pytest.mark.seed("S-108", "S-110", "S-111", "S-112", "S-206")
    async def test_nothing_that_changes_it_sends_anything(self, place: Place) -> None:
        file = await place.file("one")
        directory = await place.new({"x": NewChild(file)})
        changes: list[Change] = [
            lambda node: node.set_uri("y", file.get_uri()),
            lambda node: node.set_node("y", file),
            lambda node: node.set_children({"y": NewChild(file)}),
            lambda node: node.set_metadata("x", {}),
            lambda node: node.add_file("y", DataSource(b"two" * 50)),
            lambda node: node.delete("x"),
            lambda node: node.delete("none", must_exist=False),
            lambda node: node.create_empty_directory("y"),
            lambda node: node.move_child_to("x", node, "y"),
            lambda node: node.move_child_to("x", node),
        ]
        before = place.calls()

        for change in changes:
            with pytest.raises(NotMutableError) as caught:
                await change(directory)
            assert isinstance(caught.value, NotCapableError)
        assert place.calls() == before
        assert list(await directory.list()) == ["x"]


class WritableDirectorySuite(DirectorySuite):
    """What directories do that can be changed by their node."""

    @pytest.mark.seed("S-092", "S-094", "S-098")
    async def test_it_can_be_changed_and_shared_for_reading(self, place: Place) -> None:
        directory = await place.new()

        assert directory.is_mutable()
        assert not directory.is_readonly()
        assert directory.get_immutable_uri() != directory.get_uri()

    @pytest.mark.seed("S-106", "S-107")
    async def test_any_capability_can_be_linked(self, place: Place) -> None:
        directory, child = await place.new(), await place.new()
        file = await place.file("one")
        uris = [file.get_uri(), child.get_uri(), child.get_immutable_uri(), FUTURE]

        for number, uri in enumerate(uris):
            await directory.set_uri(str(number), f" {uri}\n")
        assert [await uri_of(directory, str(number)) for number in range(len(uris))] == uris
        for wrong in ("URI:CHK:cut", "URI:DIR2:x:y", "x-nobody-knows-what-this-allows"):
            with pytest.raises(BadCapabilityError):
                await directory.set_uri("wrong", wrong)
        assert not await directory.has_child("wrong")

    @pytest.mark.seed("S-109")
    async def test_linking_a_node_returns_that_node(self, place: Place) -> None:
        directory, child = await place.new(), await place.file("one")

        assert await directory.set_node("x", child) is child
        assert await directory.get("x") == child

    @pytest.mark.seed("S-106", "S-207")
    async def test_a_taken_name_is_refused_or_replaced_as_asked(self, place: Place) -> None:
        one, two, three = [await place.file(text) for text in ("one", "two", "three")]
        directory = await place.new({"file": NewChild(one), "dir": NewChild(await place.new())})

        for name in ("file", "dir"):
            with pytest.raises(IndexError) as caught:
                await directory.set_node(name, two)
            assert isinstance(caught.value, ChildAlreadyPresentError)
        await directory.set_node("file", two, replace="only-files")
        with pytest.raises(ChildAlreadyPresentError):
            await directory.set_node("dir", two, replace="only-files")
        await directory.set_node("dir", three, replace=True)
        assert await directory.list() == {"dir": three, "file": two}

    @pytest.mark.seed("S-106")
    async def test_linking_can_depend_on_what_the_name_leads_to(self, place: Place) -> None:
        one, two = await place.file("one"), await place.file("two")
        directory = await place.new()

        await directory.set_node("x", one, expect="absent")
        with pytest.raises(VersionMismatchError):
            await directory.set_node("x", two, expect="absent", replace=True)
        version = (await directory.get_listed("x")).version
        await directory.set_node("x", two, expect=version)
        with pytest.raises(VersionMismatchError):
            await directory.set_node("x", one, expect=version)
        assert await directory.get("x") == two

    async def test_several_children_are_linked_together_or_not_at_all(self, place: Place) -> None:
        one = await place.file("one")
        directory = await place.new({"x": NewChild(one)})

        await directory.set_children({"y": NewChild(one, {"k": 1}), "z": NewChild(one)})
        with pytest.raises(ChildAlreadyPresentError):
            await directory.set_children({"a": NewChild(one), "x": NewChild(one)})
        with pytest.raises(ChildAlreadyPresentError):
            await directory.set_children({COMPOSED: NewChild(one), DECOMPOSED: NewChild(one)})
        assert list(await directory.list()) == ["x", "y", "z"]
        assert (await directory.get_listed("y")).metadata["k"] == 1

    async def test_metadata_is_kept_changed_or_cleared(self, place: Place) -> None:
        one, two = await place.file("one"), await place.file("two")
        directory = await place.new()

        async def mine() -> dict[str, object]:
            metadata = (await directory.get_listed("x")).metadata
            return {key: value for key, value in metadata.items() if key != "tahoe"}

        await directory.set_node("x", one, metadata={"k": 1, "tahoe": {"linkcrtime": "mine"}})
        assert await mine() == {"k": 1}
        await directory.set_node("x", two, replace=True)
        assert await mine() == {"k": 1}
        await directory.set_metadata("x", {"other": COMPOSED})
        assert await mine() == {"other": COMPOSED}
        assert await directory.get("x") == two
        await directory.set_node("x", two, replace=True, metadata={})
        assert await mine() == {}
        with pytest.raises(NoSuchChildError):
            await directory.set_metadata("y", {})

    async def test_no_write_takes_the_right_to_write_from_a_link(self, place: Place) -> None:
        directory, child = await place.new(), await place.new()

        await directory.set_node("x", child)
        assert (await directory.get("x")).get_uri() == child.get_uri()
        await directory.set_metadata("x", {"no-write": True})
        await directory.set_metadata("x", {})
        assert (await directory.get("x")).get_uri() == child.get_immutable_uri()

    @pytest.mark.seed("S-101")
    async def test_who_only_reads_gets_children_for_reading(self, place: Place) -> None:
        child = await place.new()
        directory = await place.new({"child": NewChild(child)})
        await directory.set_uri("self", directory.get_uri())
        await directory.set_uri("reading", directory.get_immutable_uri())

        reading = await directory.get("reading")
        assert reading.kind == "directory"
        seen = await reading.list()
        assert seen["child"].kind == "directory"
        assert (await walked(reading, "child")).get_uri() == child.get_immutable_uri()
        assert (await walked(reading, "self/self/child")).get_uri() == child.get_immutable_uri()
        assert (await walked(directory, "self/self/child")).get_uri() == child.get_uri()

    @pytest.mark.seed("S-096")
    async def test_a_change_through_one_path_is_seen_through_the_other(self, place: Place) -> None:
        mounted, one = await place.new(), await place.file("one")
        first = await place.new({"a": NewChild(mounted)})
        second = await place.new()
        await second.set_uri("b", mounted.get_uri())

        through = await second.get("b")
        assert through.kind == "directory"
        await through.set_node("x", one)
        assert await first.get_child_at_path("a/x") == one

    @pytest.mark.seed("S-111")
    async def test_a_file_is_stored_and_linked(self, place: Place) -> None:
        directory = await place.new()
        data = b"contents" * 100

        node = await directory.add_file("x", DataSource(data), metadata={"k": 1})
        assert await node.download_to_data() == data
        assert await directory.get("x") == node
        assert (await directory.get_listed("x")).metadata["k"] == 1
        with pytest.raises(ChildAlreadyPresentError):
            await directory.add_file("x", DataSource(b"other" * 100))
        assert await directory.add_file("x", DataSource(b"other" * 100), replace=True) != node

    @pytest.mark.seed("S-112")
    async def test_deleting_removes_the_link(self, place: Place) -> None:
        one = await place.file("one")
        child = await place.new({"y": NewChild(one)})
        directory = await place.new({"file": NewChild(one), "dir": NewChild(child), COMPOSED: NewChild(one)})

        await directory.delete(DECOMPOSED)
        with pytest.raises(NoSuchChildError):
            await directory.delete(COMPOSED)
        await directory.delete(COMPOSED, must_exist=False)
        with pytest.raises(ChildOfWrongTypeError):
            await directory.delete("file", must_be_directory=True)
        with pytest.raises(ChildOfWrongTypeError):
            await directory.delete("dir", must_be_file=True)
        await directory.delete("file", must_be_file=True)
        await directory.delete("dir", must_be_directory=True)
        assert await directory.list() == {}
        assert await child.list() == {"y": one}

    @pytest.mark.seed("S-113")
    async def test_a_new_directory_is_linked_and_writable(self, place: Place) -> None:
        directory, one = await place.new(), await place.file("one")

        child = await directory.create_empty_directory("sub", metadata={"k": 1})
        await child.set_node("x", one)
        assert await directory.get("sub") == child
        assert await directory.get_child_at_path("sub/x") == one
        with pytest.raises(ChildAlreadyPresentError):
            await directory.create_empty_directory("sub")

    @pytest.mark.seed("S-114")
    async def test_children_move_between_directories_with_their_metadata(self, place: Place) -> None:
        one, two = await place.file("one"), await place.file("two")
        source, target = await place.new(), await place.new()
        await source.set_node("x", one, metadata={"k": 1})
        await target.set_node("taken", two)

        await source.move_child_to("x", target)
        assert await source.list() == {}
        assert (await target.get_listed("x")).metadata["k"] == 1
        with pytest.raises(ChildAlreadyPresentError):
            await target.move_child_to("x", target, "taken")
        assert await target.list() == {"taken": two, "x": one}
        await target.move_child_to("x", target, "taken", replace=True)
        assert await target.list() == {"taken": one}
        assert (await target.get_listed("taken")).metadata["k"] == 1
        await target.move_child_to("taken", source, "y")
        assert await source.list() == {"y": one}

    @pytest.mark.seed("S-114")
    async def test_a_move_that_is_refused_changes_nothing(self, place: Place) -> None:
        one, two = await place.file("one"), await place.file("two")
        source, target = await place.new({"x": NewChild(one)}), await place.new({"x": NewChild(two)})

        for missing_in in (source, target):
            with pytest.raises(NoSuchChildError):
                await source.move_child_to("none", missing_in, "other")
        with pytest.raises(ChildAlreadyPresentError):
            await source.move_child_to("x", target)
        assert await source.list() == {"x": one}
        assert await target.list() == {"x": two}

    @pytest.mark.seed("S-114")
    async def test_moving_something_to_where_it_is_does_nothing(self, place: Place) -> None:
        one = await place.file("one")
        directory = await place.new({COMPOSED: NewChild(one)})
        before = (await directory.get_listed(COMPOSED)).version

        result = await directory.move_child_to(DECOMPOSED, directory, COMPOSED)
        assert result.atomic
        assert (await directory.get_listed(COMPOSED)).version == before
        assert (await directory.move_child_to(COMPOSED, directory, "new")).atomic
        assert await directory.list() == {"new": one}

    @pytest.mark.seed("S-206", "S-114")
    async def test_moving_from_or_to_where_one_only_reads_sends_nothing(self, place: Place) -> None:
        directory, other = await place.new({"x": NewChild(await place.file("one"))}), await place.new()
        await other.set_uri("reading", directory.get_immutable_uri())
        reading = await other.get("reading")
        assert reading.kind == "directory"
        before = place.calls()

        for source, target in ((directory, reading), (reading, directory), (reading, other)):
            with pytest.raises(NotMutableError):
                await source.move_child_to("x", target, "y")
        assert place.calls() == before

    @pytest.mark.seed("S-016")
    async def test_an_unknown_child_can_be_moved_and_keeps_both_capabilities(self, place: Place) -> None:
        directory, other = await place.new(), await place.new()
        await directory.set_uri("x", FUTURE)

        await directory.move_child_to("x", other, "y")
        await other.move_child_to("y", other, "z")
        assert (await other.get("z")).get_uri() == FUTURE

    @pytest.mark.seed("S-115")
    async def test_circles_end(self, place: Place) -> None:
        top = await place.new()
        below = await top.create_empty_directory("below")
        await below.set_node("top", top)
        await below.set_uri("reading", top.get_immutable_uri())
        await top.set_node("self", top)

        assert [item.path async for item in top.iter_manifest()] == [(), ("below",)]
        assert len(await top.build_manifest()) == 2

    async def test_changes_at_once_are_all_made(self, place: Place) -> None:
        one = await place.file("one")
        directory = await place.new({"old": NewChild(one)})

        await asyncio.gather(
            *(directory.set_node(f"n{number}", one) for number in range(10)), directory.delete("old")
        )
        assert len(await directory.list()) == 10

    async def test_no_change_leaves_the_version(self, place: Place) -> None:
        directory = await place.new({"x": NewChild(await place.file("one"))})
        before = (await directory.get_listed("x")).version

        await directory.delete("y", must_exist=False)
        await directory.set_children({})
        assert (await directory.get_listed("x")).version == before

    async def test_names_of_any_kind_keep_their_order(self, place: Place) -> None:
        one = await place.file("one")
        names = [*NAMES, *ODD_NAMES] if self.any_name else [*NAMES]
        directory = await place.new()

        for name in names:
            await directory.set_node(name, one)
        assert list(await directory.list()) == sorted(names)

    async def test_what_cannot_be_a_name_is_refused(self, place: Place) -> None:
        one = await place.file("one")
        directory = await place.new({"x": NewChild(one)})
        changes: list[Callable[[str], Awaitable[object]]] = [
            directory.get,
            directory.get_listed,
            directory.has_child,
            directory.delete,
            directory.create_empty_directory,
            lambda name: directory.set_node(name, one),
            lambda name: directory.set_children({"y": NewChild(one), name: NewChild(one)}),
            lambda name: directory.set_metadata(name, {}),
            lambda name: directory.add_file(name, DataSource(b"two" * 50)),
            lambda name: directory.move_child_to("x", directory, name),
        ]

        for name in ["\ud800"] if self.any_name else ["\ud800", *ODD_NAMES]:
            for change in changes:
                with pytest.raises(BadChildNameError):
                    await change(name)
        assert await directory.list() == {"x": one}
