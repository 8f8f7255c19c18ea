"""Checks what a crowd of writers told against all versions of the directories.

There must be a serial execution of everything that was done: in the order of the versions of each directory,
with both halves of a move at once, and with nothing before what had ended when it began. Whatever was
acknowledged is in it, and what is in it was asked for, and done once.

Source: docs/spec/vdrive.md, section 17, V-09; told by holdfast.testing.vdrive_crowd.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple


class Told(NamedTuple):
    """An entry, as the crowd tells of it.

    Attributes:
        by: who wrote it.
        source: who wrote what was moved here; empty if it was not.
    """

    text: str
    by: str
    source: str


State = Mapping[str, Told]
"""A directory at one version, by name."""


@dataclass(slots=True)
class Doing:
    """Something that a writer or reader did.

    Attributes:
        end: infinite if nobody knows when, or whether it ever was.
        versions: of its directories, after it; empty if nobody knows.
        seen: what it was decided on, for each directory.
        failed: it was told to have failed, and not to have been done.
    """

    op: str
    kind: str
    places: Sequence[int]
    names: Sequence[str]
    begin: float
    end: float = float("inf")
    versions: Sequence[int] = ()
    changed: bool = False
    seen: Sequence[Mapping[str, Told | None]] = ()
    failed: bool = False


class BrokenHistoryError(AssertionError):
    """What was told cannot have been."""


@dataclass(slots=True)
class Summary:
    """What was checked."""

    acknowledged: int
    open_and_done: int
    open_and_not_done: int
    reads: int


def told_in(logs: Sequence[Path]) -> dict[str, Doing]:
    """Return what the logs tell, by op."""
    doings: dict[str, Doing] = {}
    for line in _lines(logs):
        op, time = str(line["op"]), float(line["time"])
        if "doing" in line:
            doings[op] = Doing(op, line["doing"], line["places"], line["names"], time)
        elif "failed" in line:
            doings[op].failed = not line["open"]
        else:
            doing = doings[op]
            doing.end, doing.versions, doing.changed = time, line["versions"], line["changed"]
            doing.seen = [
                {name: None if one is None else Told(*one) for name, one in seen.items()}
                for seen in line["seen"]
            ]
    return doings


def _lines(logs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for log in logs:
        for line in log.read_bytes().splitlines():
            yield json.loads(line)


def check_history(doings: Mapping[str, Doing], states: Sequence[Sequence[State]]) -> Summary:
    """Check it all.

    Args:
        states: of each directory, at each version from 0.

    Raises:
        BrokenHistoryError: and why.
    """
    history = _History(doings, states)
    history.find_changes()
    history.place_acknowledged()
    history.place_open()
    history.check_all_is_explained()
    history.check_order()
    return history.summary()


_Place = tuple[int, int]  # directory and version


@dataclass(slots=True)
class _History:
    doings: Mapping[str, Doing]
    states: Sequence[Sequence[State]]
    put: dict[str, tuple[_Place, str]] = field(default_factory=dict)  # by who did it: where, and the name
    deleted: dict[str, tuple[_Place, str]] = field(default_factory=dict)  # by who had written it
    done: dict[str, list[_Place]] = field(default_factory=dict)

    # -- what happened

    def find_changes(self) -> None:
        """Find what each version changed, from the versions themselves."""
        for directory, versions in enumerate(self.states):
            _require(versions[0] == {}, "a directory began with entries")
            for version in range(1, len(versions)):
                self._find_changes_of((directory, version), versions[version - 1], versions[version])

    def _find_changes_of(self, place: _Place, before: State, after: State) -> None:
        for name in before.keys() - after.keys():
            by = before[name].by
            _require(by not in self.deleted, f"{by} was deleted twice")
            self.deleted[by] = place, name
        for name, told in after.items():
            if before.get(name) == told:
                continue
            _require(told.by in self.doings, f"{place}: nobody tells of {told}")
            _require(told.by not in self.put, f"{told.by} was done twice, at {place} again")
            doing = self.doings[told.by]
            target = doing.places[-1], doing.names[-1]
            _require(target == (place[0], name), f"{told.by} was to be done at {target}, and was at {place}")
            self.put[told.by] = place, name

    # -- who did it

    def place_acknowledged(self) -> None:
        """Find everything acknowledged where it was said to be."""
        for doing in self.doings.values():
            if not doing.versions or doing.kind == "read" or not doing.changed:
                continue
            places = list(zip(doing.places, doing.versions, strict=True))
            for place, seen in zip(places, doing.seen, strict=True):
                self._check_seen((place[0], place[1] - 1), seen, doing)
            if doing.kind != "delete":
                _require(self.put.get(doing.op, (None,))[0] == places[-1], f"lost: {doing}")
            if doing.kind != "set":
                gone = doing.seen[0][doing.names[0]]
                assert gone is not None
                _require(self.deleted.pop(gone.by, (None,))[0] == places[0], f"lost: {doing}")
            self.done[doing.op] = places

    def place_open(self) -> None:
        """Find what was done, and nobody was told."""
        for doing in self.doings.values():
            if doing.versions or doing.kind not in ("set", "move") or doing.op not in self.put:
                continue
            _require(not doing.failed, f"done though it failed: {doing}")
            place, name = self.put[doing.op]
            self.done[doing.op] = [place]
            if doing.kind == "move":
                source = self.states[place[0]][place[1]][name].source
                gone = self.deleted.pop(source, None)
                _require(gone is not None, f"a move was done by half: {doing}")
                assert gone is not None
                _require((gone[0][0], gone[1]) == (doing.places[0], doing.names[0]), f"moved: {doing}")
                self.done[doing.op] = [gone[0], place]

    def check_all_is_explained(self) -> None:
        """See that what else was deleted was so by those who never heard of it."""
        candidates = Counter(
            (doing.places[0], doing.names[0])
            for doing in self.doings.values()
            if doing.kind == "delete" and not doing.versions and not doing.failed
        )
        for by, (place, name) in self.deleted.items():
            candidates[place[0], name] -= 1
            _require(candidates[place[0], name] >= 0, f"{by} was deleted at {place}, by nobody")

    def _check_seen(self, place: _Place, seen: Mapping[str, Told | None], doing: Doing) -> None:
        there = self.states[place[0]][place[1]]
        for name, told in seen.items():
            _require(there.get(name) == told, f"{doing} saw {told}; {place} has {there.get(name)}")

    # -- when it was

    def check_order(self) -> None:
        """Find the serial execution."""
        order = _Order(self.states)
        for op, places in self.done.items():
            order.one_moment(places)
            order.between(self.doings[op], places)
        for doing in self.doings.values():
            if not doing.versions or doing.op in self.done:
                continue
            for place, seen in zip(zip(doing.places, doing.versions, strict=True), doing.seen, strict=True):
                self._check_seen(place, seen, doing)
            order.looked(doing, list(zip(doing.places, doing.versions, strict=True)))
        order.check()

    def summary(self) -> Summary:
        reads = sum(doing.kind == "read" and bool(doing.versions) for doing in self.doings.values())
        known = sum(bool(self.doings[op].versions) for op in self.done)
        opened = sum(not doing.versions and not doing.failed for doing in self.doings.values())
        done = len(self.done) - known + len(self.deleted)
        return Summary(known, done, opened - done, reads)


class _Order:
    """What was before what."""

    def __init__(self, states: Sequence[Sequence[State]]) -> None:
        self._same: dict[_Place, _Place] = {}  # places of one commit
        self._before: list[tuple[Hashable, Hashable]] = []
        self._times: set[float] = set()
        self._versions = [len(versions) for versions in states]
        for directory, count in enumerate(self._versions):
            self._before += [((directory, v - 1), (directory, v)) for v in range(1, count)]

    def one_moment(self, places: Sequence[_Place]) -> None:
        """Note that places are of one commit."""
        first = self._root(places[0])
        for place in places[1:]:
            self._same[self._root(place)] = first

    def between(self, doing: Doing, nodes: Sequence[Hashable]) -> None:
        """Note that something was done after it began and before it ended."""
        for node in nodes:
            self._before += [(("time", doing.begin), node), (node, ("time", doing.end))]
        self._times |= {doing.begin, doing.end}

    def looked(self, doing: Doing, places: Sequence[_Place]) -> None:
        """Note that somebody saw a version, and no later one."""
        for place in places:
            node = ("look", doing.op, place)
            self.between(doing, [node])
            self._before.append((place, node))
            if place[1] + 1 < self._versions[place[0]]:
                self._before.append((node, (place[0], place[1] + 1)))

    def check(self) -> None:
        times = sorted(self._times)
        self._before += [(("time", a), ("time", b)) for a, b in pairwise(times)]
        graph: TopologicalSorter[Hashable] = TopologicalSorter()
        for first, second in self._before:
            graph.add(self._node(second), self._node(first))
        try:
            graph.prepare()
        except CycleError as error:
            raise BrokenHistoryError(f"there is no order in which this can have been done: {error}") from None

    def _node(self, node: Hashable) -> Hashable:
        is_place = isinstance(node, tuple) and isinstance(node[0], int)
        return self._root(node) if is_place else node  # type: ignore[arg-type]

    def _root(self, place: _Place) -> _Place:
        while place in self._same and self._same[place] != place:
            place = self._same[place]
        return place


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise BrokenHistoryError(otherwise)
