"""A walk meets each object once, in a fixed order, ends whatever the links are, and can be continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import DirectoryCap, ImmutableReadCap, LiteralCap, MutableReadCap, MutableWriteCap
from holdfast.caps.slots import ChildSlots, child_slots
from holdfast.crypto import base32
from holdfast.formats.directory_table import DirectoryTable, unpack_directory
from holdfast.planning.deep_stats import DeepStats, size_bucket
from holdfast.planning.traversal import Place, Traversal

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
VECTOR = VECTORS["traversal"]

Children = list[tuple[str, ChildSlots]]
Visit = tuple[tuple[str, ...], ChildSlots]


def literal_table(child: ChildSlots) -> tuple[int, DirectoryTable]:
    assert isinstance(child.cap, DirectoryCap)
    assert isinstance(child.cap.file_cap, LiteralCap)
    data = child.cap.file_cap.data
    return len(data), unpack_directory(data, None, True)


def test_a_tree_is_walked_as_the_reference_does() -> None:
    text: str = VECTOR["root_cap"]  # longer than a capability may be that is handed in as text
    cap = DirectoryCap(LiteralCap(base32.decode(text.removeprefix("URI:DIR2-LIT:"))))
    walk = Traversal(ChildSlots(ro=text.encode(), cap=cap))
    stats, visits = DeepStats(), []
    while not walk.finished:
        visits += walk.next_visits()
        stats.visited(visits[-1].child)
        if walk.awaited:
            size, table = literal_table(walk.awaited.child)
            walk.listed((entry.name, entry.child) for entry in table)
            stats.entered(size, len(table))

    assert [[list(place.path), (place.child.strongest or b"").decode()] for place in visits] == VECTOR[
        "manifest"
    ]
    assert sorted(place.verify_cap for place in visits if place.verify_cap) == VECTOR["verifycaps"]
    indexes = {place.child.cap.storage_index for place in visits if place.child.cap}
    assert sorted(base32.encode(index) for index in indexes if index) == VECTOR["storage_indexes"]
    assert stats.to_document() == VECTOR["stats"]
    assert stats.deep_size == VECTOR["stats"]["size-immutable-files"] + VECTOR["stats"]["size-directories"]


def test_sizes_fall_into_the_buckets_of_the_reference() -> None:
    for low, high in VECTORS["histogram_buckets"]:
        assert size_bucket(low) == size_bucket(high) == size_bucket((low + high) // 2) == (low, high)
    assert size_bucket(10**20 - 1) == (31622776601683793320, 10**20)  # the largest size in a capability


# -- graphs of all shapes


def directory(number: int, writable: bool = True) -> ChildSlots:
    cap = MutableWriteCap("SSK", number.to_bytes(16, "big"), bytes(32))
    return child_slots(DirectoryCap(cap if writable else cap.read_only).to_text(), None)


def file(number: int) -> ChildSlots:
    if number % 3 == 0:
        return child_slots(LiteralCap(b"%d" % number).to_text(), None)
    if number % 3 == 1:
        return child_slots(
            ImmutableReadCap(number.to_bytes(16, "big"), bytes(32), 3, 10, number).to_text(), None
        )
    return child_slots(MutableReadCap("MDMF", number.to_bytes(16, "big"), bytes(32)).to_text(), None)


def sized(size: int) -> ChildSlots:
    return child_slots(ImmutableReadCap(bytes(16), bytes(32), 3, 10, size).to_text(), None)


CHILD = st.one_of(
    st.builds(directory, st.integers(0, 5), st.booleans()),
    st.builds(file, st.integers(0, 8)),
    st.sampled_from([child_slots(None, "future:x"), ChildSlots(), ChildSlots(fault="malformed")]),
)
GRAPHS = st.lists(st.dictionaries(st.text("abcÿ😀", max_size=2), CHILD, max_size=5), min_size=6, max_size=6)
ROOT = directory(0)


def lister(graph: list[dict[str, ChildSlots]]) -> Callable[[ChildSlots], Mapping[str, ChildSlots]]:
    contents = {Place((), directory(number)).verify_cap: children for number, children in enumerate(graph)}
    return lambda child: contents[Place((), child).verify_cap]


def as_specified(list_children: Callable[[ChildSlots], Mapping[str, ChildSlots]]) -> Iterator[Visit]:
    """The text of section 9.1, without its stops; entries that cannot be read are told like unknown ones."""
    seen = {Place((), ROOT).verify_cap}

    def walk(where: ChildSlots, path: tuple[str, ...]) -> Iterator[Visit]:
        yield path, where
        files: list[Visit] = []
        directories: list[Visit] = []
        for name, child in sorted(list_children(where).items()):
            here = ((*path, name), child)
            if child.kind == "unknown":
                yield here
                continue
            verify_cap = Place((), child).verify_cap
            if verify_cap is not None and verify_cap in seen:
                continue
            seen.add(verify_cap)
            (directories if child.kind == "directory" else files).append(here)
        yield from files
        for path_below, child in directories:
            yield from walk(child, path_below)

    return walk(ROOT, ())


def walked(
    walk: Traversal, list_children: Callable[[ChildSlots], Mapping[str, ChildSlots]], limit: int = 1
) -> list[Visit]:
    visits: list[Visit] = []
    while not walk.finished:
        taken = walk.next_visits(limit)
        assert len(taken) <= limit
        visits += [(place.path, place.child) for place in taken]
        if walk.awaited is not None:
            assert walk.next_visits() == []
            walk.listed(reversed(list(list_children(walk.awaited.child).items())))
    return visits


@given(GRAPHS, st.integers(1, 5))
def test_any_graph_is_walked_in_the_order_specified(graph: list[dict[str, ChildSlots]], limit: int) -> None:
    list_children = lister(graph)
    visits = walked(Traversal(ROOT), list_children, limit)

    assert visits == list(as_specified(list_children))
    known = [cap for cap in (Place(*visit).verify_cap for visit in visits) if cap is not None]
    assert len(known) == len(set(known))


@given(GRAPHS, st.data())
def test_a_walk_continues_from_any_saved_state(
    graph: list[dict[str, ChildSlots]], data: st.DataObject
) -> None:
    list_children = lister(graph)
    expected = list(as_specified(list_children))
    walk, visits = Traversal(ROOT), []
    while not walk.finished:
        if data.draw(st.booleans()):
            state = walk.save()
            walk = Traversal.restored(state)
            assert walk.save() == state
        visits += [(place.path, place.child) for place in walk.next_visits(2)]
        if data.draw(st.booleans()):
            walk = Traversal.restored(walk.save())
        if walk.awaited is not None:
            walk.listed(list_children(walk.awaited.child).items())

    assert visits == expected


@given(GRAPHS, st.integers(1, 4))
def test_directories_can_be_listed_ahead_of_their_turn(
    graph: list[dict[str, ChildSlots]], limit: int
) -> None:
    list_children = lister(graph)
    walk, visits = Traversal(ROOT), []
    listings: dict[tuple[str, ...], Mapping[str, ChildSlots]] = {}
    while not walk.finished:
        visits += [(place.path, place.child) for place in walk.next_visits(3)]
        ahead = walk.upcoming(limit)
        assert len(ahead) <= limit
        assert all(place.is_directory for place in ahead)
        listings.update((place.path, list_children(place.child)) for place in ahead)
        if walk.awaited is not None:
            assert ahead[0] == walk.awaited
            walk.listed(listings.pop(walk.awaited.path).items())

    assert visits == list(as_specified(list_children))
    assert listings == {}


def test_a_name_is_claimed_when_its_directory_is_listed() -> None:
    walk = Traversal(ROOT)
    walk.next_visits()
    walk.listed([("a", directory(1)), ("z", directory(2))])
    assert [place.path for place in walk.next_visits()] == [("a",)]
    walk.listed([("inner", directory(2, writable=False)), ("back", ROOT)])

    assert [place.path for place in walk.next_visits()] == [("z",)]


def test_what_comes_next_is_known_ahead() -> None:
    walk = Traversal(ROOT)
    assert walk.upcoming(3) == walk.next_visits() == walk.upcoming(1)
    walk.listed([("c", directory(3)), ("a", directory(1)), ("f", file(1)), ("b", directory(2))])

    assert [place.path for place in walk.upcoming(2)] == [("a",), ("b",)]
    walk.next_visits(2)
    assert [place.path for place in walk.upcoming(2)] == [("a",), ("b",)]
    walk.listed([("deeper", directory(4))])
    assert [place.path for place in walk.upcoming(9)] == [("a", "deeper"), ("b",), ("c",)]


def test_a_listing_is_taken_only_for_a_directory_that_was_visited() -> None:
    with pytest.raises(ValueError, match="awaited"):
        Traversal(ROOT).listed([])


def test_a_state_is_plain_and_does_not_show_capabilities() -> None:
    walk = Traversal(ROOT)
    walk.next_visits()
    walk.listed([("a", directory(1)), ("f", file(1)), ("u", child_slots(None, b"future:\xff"))])
    state = walk.save()

    assert "URI" not in repr(state)
    assert state.leaves[0] == (("u",), None, b"ro.future:\xff", None)


@given(st.lists(st.one_of(CHILD, st.integers(0, 10**20 - 1).map(sized)), max_size=8))
def test_statistics_add_up_and_can_be_continued(children: list[ChildSlots]) -> None:
    stats = DeepStats()
    for number, child in enumerate(children):
        stats.visited(child)
        stats.entered(number, number // 2)
        stats = DeepStats.from_document(json.loads(json.dumps(stats.to_document())))

    found: dict[str, Any] = stats.to_document()
    sorts = ("count-immutable-files", "count-mutable-files", "count-literal-files")
    assert found["count-files"] == sum(found[sort] for sort in sorts)
    assert found["count-files"] + found["count-directories"] + found["count-unknown"] == sum(
        child.fault is None for child in children
    )
    in_buckets = found["count-immutable-files"] + found["count-literal-files"]
    assert sum(count for _, _, count in found["size-files-histogram"]) == in_buckets
    assert found["largest-directory"] == max(0, len(children) - 1)
    assert found["size-directories"] == sum(range(len(children)))
