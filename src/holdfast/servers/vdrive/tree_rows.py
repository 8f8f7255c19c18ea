"""Keeps the rows of ``vd_node`` in step with the entries of a directory.

A change reads and writes the rows above the slots that it touches, and computes the rest from
the at most 64 entries around each. Superseded rows stay for a while, as superseded entries do.

Source: docs/spec/vdrive.md, section 11.3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from holdfast.formats.vdrive.tree import Leaf, roots_of
from holdfast.servers.vdrive.live_rows import LIVE_INDEX, LiveRanges
from holdfast.servers.vdrive.node_rows import DIGIT_BITS, DIGITS, NOTHING, SMALL_MAX, Node, nodes_above, pack
from holdfast.servers.vdrive.stored_tree import StoredTree, bounds_of
from holdfast.servers.vdrive.tables import entries, nodes

_COMPUTED_AT_ONCE = 4096  # entries


class Child(NamedTuple):
    """An entry that is there, without its boxes.

    Attributes:
        version: at which it was written.
        size: bytes of its boxes.
    """

    digest: bytes
    version: int
    size: int


class NewRow(NamedTuple):
    """A row to be inserted."""

    prefix: str
    parts: Sequence[Node]


class TreeChange:
    """A change of the current tree of a directory: made, looked at, and then stored or forgotten."""

    def __init__(self, tree: StoredTree, slots: Collection[bytes]) -> None:
        """Look up what is needed to change the entries at ``slots``. Their directory is locked."""
        self._tree = tree
        tree.load_paths(slots)
        self._prefixes = {slot: tree.small_above(slot) for slot in slots}
        self._small = self._children(sorted(set(self._prefixes.values())))
        self._closed: list[str] = []
        self._opened: list[NewRow] = []

    def child(self, slot: bytes) -> Child | None:
        """Return the entry at one of the slots, before the change."""
        return self._small[self._prefixes[slot]].get(slot)

    def apply(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes]) -> Node:
        """Return the tree with these entries, by their digests, and without those. To be called once."""
        changed = {
            prefix: {slot: child.digest for slot, child in children.items()}
            for prefix, children in self._small.items()
        }
        for slot, digest in puts.items():
            changed[self._prefixes[slot]][slot] = digest
        for slot in deletes:
            del changed[self._prefixes[slot]][slot]
        leaves = {prefix: sorted(children.items()) for prefix, children in changed.items()}
        fresh = computed(leaves, self._opened)
        for length in range(max(map(len, fresh), default=0), 0, -1):
            fresh.update(
                self._above({prefix: node for prefix, node in fresh.items() if len(prefix) == length})
            )
        return fresh.get("", self._tree.root)

    def store(self, version: int) -> None:
        """Write the rows as of ``version``."""
        connection, dir_id = self._tree.connection, self._tree.dir_id
        if self._closed:
            rows = [
                {"dir": dir_id, "name": prefix, "since": self._tree.row(prefix).version, "until": version}
                for prefix in self._closed
            ]
            connection.execute(_CLOSE, rows)
        store_rows(connection, dir_id, version, self._opened)

    def _above(self, fresh: Mapping[str, Node]) -> dict[str, Node]:
        """Return the subtrees one digit above those, all of one length, and note their rows."""
        rows: list[NewRow] = []
        for prefix, changed in groupby(sorted(fresh.items()), key=lambda item: item[0][:-1]):
            parts = list(self._tree.row(prefix).parts)
            for name, node in changed:
                parts[DIGITS.index(name[-1])] = node
            rows.append(NewRow(prefix, parts))
        self._closed += [row.prefix for row in rows]
        above = nodes_above([row.parts for row in rows])
        self._opened += [row for row, node in zip(rows, above, strict=True) if not node.small]
        return {row.prefix: node for row, node in zip(rows, above, strict=True)}

    def _children(self, prefixes: Sequence[str]) -> dict[str, dict[bytes, Child]]:
        filled = [prefix for prefix in prefixes if self._tree.node(prefix).total]
        ranges = [bounds_of(prefix) for prefix in filled]
        found = _CHILDREN.many(self._tree.connection, self._tree.dir_id, ranges)
        children: dict[str, dict[bytes, Child]] = {prefix: {} for prefix in prefixes}
        for prefix, rows in zip(filled, found, strict=True):
            children[prefix] = {slot: Child(digest, version, size) for slot, digest, version, size in rows}
        return children


def computed(subtrees: Mapping[str, Sequence[Leaf]], rows: list[NewRow]) -> dict[str, Node]:
    """Return what these entries, by the prefix of their slots and sorted, make; add the rows that takes."""
    small = {prefix: leaves for prefix, leaves in subtrees.items() if len(leaves) <= SMALL_MAX}
    values = roots_of([(DIGIT_BITS * len(prefix), leaves) for prefix, leaves in small.items()])
    result = {
        prefix: Node(value, len(leaves))
        for (prefix, leaves), value in zip(small.items(), values, strict=True)
    }
    for prefix, leaves in subtrees.items():
        if prefix not in small:
            parts = computed(_divided(prefix, leaves), rows)
            row = NewRow(prefix, [parts.get(prefix + digit, NOTHING) for digit in DIGITS])
            rows.append(row)
            result[prefix] = nodes_above([row.parts])[0]
    return result


def recomputed(connection: Connection, dir_id: int, found: Callable[[list[NewRow]], None]) -> Node:
    """Return the current tree, computed from the entries alone, and pass on the rows that it should have.

    No more than some thousand entries are in memory at once.
    """
    return _recomputed(connection, dir_id, "", found)


def store_rows(connection: Connection, dir_id: int, version: int, rows: Sequence[NewRow]) -> None:
    """Insert current rows."""
    if rows:
        values = [
            {"dir_id": dir_id, "prefix": row.prefix, "v_from": version, "subtrees": pack(row.parts)}
            for row in rows
        ]
        connection.execute(_INSERT, values)


def _recomputed(
    connection: Connection, dir_id: int, prefix: str, found: Callable[[list[NewRow]], None]
) -> Node:
    first, last = bounds_of(prefix)
    bounds = {"dir_id": dir_id, "first": first, "last": last}
    if connection.execute(_COUNT, bounds).scalar_one() <= _COMPUTED_AT_ONCE:
        rows: list[NewRow] = []
        leaves = [(slot, digest) for slot, digest, _, _ in _CHILDREN.one(connection, dir_id, first, last)]
        node = computed({prefix: leaves}, rows)[prefix]
        found(rows)
        return node
    parts = [_recomputed(connection, dir_id, prefix + digit, found) for digit in DIGITS]
    found([NewRow(prefix, parts)])
    return nodes_above([parts])[0]


def _divided(prefix: str, leaves: Sequence[Leaf]) -> dict[str, Sequence[Leaf]]:
    """Return the entries by the next digit of their slots, those where there are any."""
    starts = [bisect_left(leaves, (bounds_of(prefix + digit)[0], b"")) for digit in DIGITS]
    ends = [*starts[1:], len(leaves)]
    return {
        prefix + digit: leaves[start:end]
        for digit, start, end in zip(DIGITS, starts, ends, strict=True)
        if start < end
    }


_IN_BOUNDS = (
    entries.c.dir_id == bindparam("dir_id"),
    entries.c.slot.between(bindparam("first"), bindparam("last")),
    entries.c.v_to.is_(None),
)
_SIZE = sum((func.length(entries.c[box]) for box in "wrm"), func.length(entries.c.n))
_CHILDREN = LiveRanges(entries.c.digest, entries.c.v_from, _SIZE)
_COUNT = select(func.count()).select_from(entries).where(*_IN_BOUNDS).with_hint(entries, LIVE_INDEX, "sqlite")
_CLOSE = (
    update(nodes)
    .where(
        nodes.c.dir_id == bindparam("dir"),
        nodes.c.prefix == bindparam("name"),
        nodes.c.v_from == bindparam("since"),
    )
    .values(v_to=bindparam("until"))
)
_INSERT = insert(nodes)
