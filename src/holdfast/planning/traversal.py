"""Walks a tree of directories: says what to visit next and which directory to list, each
object once, whatever circles the links form.

The caller visits and lists; several visits may be under way at once, and directories may be
listed ahead of their turn. The order of visits is the same in any case, as long as the
directories are: depth first, in each directory unknown children before files before
directories, by name.

Source: docs/spec/directories.md, section 9.1.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.caps import VdriveReadCap, VdriveWriteCap
from holdfast.caps.slots import ChildFault, ChildKind, ChildSlots, child_slots

MARK_SIZE = 16  # bytes

SavedPlace = tuple[tuple[str, ...], bytes | None, bytes | None, ChildFault | None]
"""A place in plain values: path, the two capabilities, fault."""


@dataclass(frozen=True, slots=True)
class Place:
    """Something met on the way.

    Attributes:
        path: names from the root down; empty for the root.
        child: what is there. With a fault it is an entry that cannot be read.
    """

    path: tuple[str, ...]
    child: ChildSlots

    @property
    def is_directory(self) -> bool:
        return self.child.kind == "directory"

    @property
    def verify_cap(self) -> str | None:
        """What an object is known by; None for literal and unknown ones, which are visited at every link."""
        verify_cap = None if self.child.cap is None else self.child.cap.verify_cap
        return None if verify_cap is None else verify_cap.to_text()

    @property
    def mark(self) -> bytes | None:
        """Sixteen bytes that stand for the verify capability: a tree may have a million of them.

        A directory at a virtual drive server is the same wherever it is said to be.
        """
        if isinstance(self.child.cap, VdriveWriteCap | VdriveReadCap):
            return self.child.cap.index[:MARK_SIZE]
        verify_cap = self.verify_cap
        return None if verify_cap is None else hashlib.sha256(verify_cap.encode("ascii")).digest()[:MARK_SIZE]


@dataclass(frozen=True, slots=True)
class TraversalState:
    """Where a traversal is, in plain values. It holds capabilities.

    Attributes:
        seen: marks (16 bytes) of what was met, visited or not.
        leaves: what to visit before any directory, in order.
        directories: those to visit after that, in order.
        awaited: the directory whose children are needed to go on.
    """

    seen: frozenset[bytes] = field(repr=False)
    leaves: tuple[SavedPlace, ...] = field(repr=False)
    directories: tuple[SavedPlace, ...] = field(repr=False)
    awaited: SavedPlace | None = field(repr=False)


class Traversal:
    """One walk. Until ``finished``: visit what ``next_visits`` returns; if a directory is ``awaited``, report
    its children with ``listed``.

    A directory is visited before it is listed, so whoever checks it first learns more of one that cannot be
    listed. A directory that cannot be listed ends a walk, or is reported to have no children.
    """

    def __init__(self, root: ChildSlots) -> None:
        self._leaves: deque[Place] = deque()
        self._directories = [Place((), root)]  # the next one last
        self._awaited: Place | None = None
        mark = self._directories[0].mark
        self._seen = set() if mark is None else {mark}

    @property
    def finished(self) -> bool:
        return not (self._leaves or self._directories or self._awaited)

    @property
    def awaited(self) -> Place | None:
        """The directory without whose children nothing more can be visited; None if there is none."""
        return self._awaited

    def next_visits(self, limit: int = 1) -> list[Place]:
        """Return up to ``limit`` places to visit now, in order; none while a directory is awaited.

        They count as visited from now on. A directory comes last, and is awaited then.
        """
        visits: list[Place] = []
        while self._awaited is None and len(visits) < limit:
            if self._leaves:
                visits.append(self._leaves.popleft())
            elif self._directories:
                visits.append(self._directories.pop())
                if visits[-1].is_directory:
                    self._awaited = visits[-1]
            else:
                break
        return visits

    def upcoming(self, limit: int) -> list[Place]:
        """Return up to ``limit`` directories to be awaited next, as far as known, the present one first.

        Their children may be fetched already; what is found below one of them comes before the next.
        """
        following = [place for place in self._directories[: -limit - 1 : -1] if place.is_directory]
        return ([self._awaited, *following] if self._awaited else following)[:limit]

    def listed(self, children: Iterable[tuple[str, ChildSlots]]) -> None:
        """Report the names and children of the directory that is awaited, in any order.

        An object met before is left out, under whatever name; the first name met is claimed here.
        """
        if self._awaited is None:
            raise ValueError("no directory is awaited")
        path = self._awaited.path
        self._awaited = None
        found: dict[ChildKind, list[Place]] = {"unknown": [], "file": [], "directory": []}
        for name, child in sorted(children, key=lambda named: named[0]):
            place = Place((*path, name), child)
            mark = place.mark
            if mark is not None:
                if mark in self._seen:
                    continue
                self._seen.add(mark)
            found[child.kind].append(place)
        self._leaves.extend(found["unknown"] + found["file"])
        self._directories.extend(reversed(found["directory"]))

    def save(self) -> TraversalState:
        """Return where the walk is. Places handed out count as visited: save when they really are."""
        return TraversalState(
            frozenset(self._seen),
            tuple(map(_saved, self._leaves)),
            tuple(map(_saved, reversed(self._directories))),
            None if self._awaited is None else _saved(self._awaited),
        )

    @classmethod
    def restored(cls, state: TraversalState) -> Traversal:
        """Return a walk that goes on where another one was."""
        walk = cls(ChildSlots())
        walk._leaves.extend(map(_restored, state.leaves))
        walk._directories = [_restored(place) for place in reversed(state.directories)]
        walk._awaited = None if state.awaited is None else _restored(state.awaited)
        walk._seen = set(state.seen)
        return walk


def _saved(place: Place) -> SavedPlace:
    return place.path, place.child.rw, place.child.ro, place.child.fault


def _restored(saved: SavedPlace) -> Place:
    path, rw, ro, fault = saved
    return Place(path, child_slots(rw, ro) if fault is None else ChildSlots(fault=fault))
