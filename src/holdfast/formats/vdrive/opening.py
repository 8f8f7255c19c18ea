"""Witnesses, made by whoever keeps the tree: which nodes are opened, and which stay shut.

The keeper is asked for everything of one depth together, so that a witness for a thousand
slots costs a database about as many queries as the tree is deep.

Source: docs/spec/vdrive.md, sections 6.3, 8.6 and 11.3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeAlias

from holdfast.formats.vdrive.tree import SLOT_SIZE, Leaf, half, last_slot, roots_of
from holdfast.formats.vdrive.witness import PAGE, OpenedLeaf, OpenedNode, Witness


class Subtree(NamedTuple):
    """Where a subtree is.

    Attributes:
        prefix: its first ``depth`` bits, then zeros: 32 bytes, which are its first slot, too.
    """

    depth: int
    prefix: bytes

    def half(self, one: int) -> Subtree:
        return Subtree(self.depth + 1, half(self.prefix, self.depth, one))

    @property
    def last(self) -> bytes:
        """Its last slot."""
        return last_slot(self.prefix, self.depth)


class NodeSource(Protocol):
    """The tree of a directory at one version.

    Its keeper knows the values of some subtrees. It has those of all that hold more than a certain number of
    entries, so that the others can be computed from their entries whenever they are needed.
    """

    def kept(self, depth: int, prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return the values, 33 bytes, of those of these subtrees that are kept, by prefix.

        No subtree with fewer than two entries is among them.
        """
        ...

    def leaves(self, subtrees: Sequence[Subtree]) -> Sequence[Sequence[Leaf]]:
        """Return the entries of each of these subtrees, none of which is kept, in the order of slots."""
        ...


class Treatment(Enum):
    """What a witness shows of a subtree."""

    SHUT = auto()  # its value
    OPEN = auto()  # its halves, or its only entry
    PAGE = auto()  # nothing, for the page has all of its entries


Rule: TypeAlias = Callable[[bytes, bytes, Sequence[Leaf]], Treatment]
"""Decides by the first and the last slot of a subtree, and by its entries if they were looked up.

What is not OPEN holds nothing that should be opened.
"""


def witness_of(source: NodeSource, slots: Collection[bytes]) -> Witness:
    """Return the witness that tells of each of these slots."""
    wanted = sorted(slots)

    def rule(first: bytes, last: bytes, leaves: Sequence[Leaf]) -> Treatment:
        position = bisect_left(wanted, first)
        return Treatment.OPEN if position < len(wanted) and wanted[position] <= last else Treatment.SHUT

    return opened(source, rule)


def opened(source: NodeSource, rule: Rule) -> Witness:
    """Return the part of a tree that a rule wants to be seen."""
    return _Opening(source, rule).witness()


class _Shut(NamedTuple):
    """A subtree whose value is still to be computed."""

    number: int


class _Fork(NamedTuple):
    """An opened node, somewhere below which a value is still to be computed."""

    zero: _Sketch
    one: _Sketch


_Sketch: TypeAlias = Witness | _Shut | _Fork


class _Opening:
    def __init__(self, source: NodeSource, rule: Rule) -> None:
        self._source = source
        self._rule = rule
        self._kept: dict[Subtree, tuple[Treatment, bytes]] = {}
        self._leaves: dict[Subtree, Sequence[Leaf]] = {}
        self._shut: list[tuple[int, Sequence[Leaf]]] = []

    def witness(self) -> Witness:
        root = Subtree(0, bytes(SLOT_SIZE))
        self._look_up(root)
        sketch = self._sketch(root)
        return _completed(sketch, roots_of(self._shut))

    def _look_up(self, root: Subtree) -> None:
        """Fetch whatever the witness may need, depth by depth."""
        small: list[Subtree] = []
        reached = [root]
        while reached:
            values = self._source.kept(reached[0].depth, [subtree.prefix for subtree in reached])
            below: list[Subtree] = []
            for subtree in reached:
                found = values.get(subtree.prefix)
                if found is None:
                    small.append(subtree)
                    continue
                treatment = self._rule(subtree.prefix, subtree.last, ())
                self._kept[subtree] = treatment, found
                if treatment is Treatment.OPEN:
                    below += subtree.half(0), subtree.half(1)
            reached = below
        if small:
            self._leaves = dict(zip(small, self._source.leaves(small), strict=True))

    def _sketch(self, subtree: Subtree) -> _Sketch:
        if subtree not in self._kept:
            return self._sketch_small(subtree, self._leaves[subtree])
        treatment, value = self._kept[subtree]
        if treatment is Treatment.OPEN:
            return _Fork(self._sketch(subtree.half(0)), self._sketch(subtree.half(1)))
        return PAGE if treatment is Treatment.PAGE else value

    def _sketch_small(self, subtree: Subtree, leaves: Sequence[Leaf]) -> _Sketch:
        if not leaves:
            return None
        treatment = self._rule(subtree.prefix, subtree.last, leaves)
        if treatment is Treatment.PAGE:
            return PAGE
        if treatment is Treatment.SHUT:
            self._shut.append((subtree.depth, leaves))
            return _Shut(len(self._shut) - 1)
        if len(leaves) == 1:
            return OpenedLeaf(*leaves[0])
        one = subtree.half(1)
        border = bisect_left(leaves, (one.prefix, b""))
        return _Fork(
            self._sketch_small(subtree.half(0), leaves[:border]),
            self._sketch_small(one, leaves[border:]),
        )


def _completed(sketch: _Sketch, values: Sequence[bytes]) -> Witness:
    if isinstance(sketch, _Shut):
        return values[sketch.number]
    if isinstance(sketch, _Fork):
        return OpenedNode(_completed(sketch.zero, values), _completed(sketch.one, values))
    return sketch
