"""The tree of one directory at one version, as far as it was looked up.

Source: docs/spec/vdrive.md, sections 11.2 and 11.3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, and_, bindparam, or_, select

from holdfast.formats.vdrive.opening import Subtree
from holdfast.formats.vdrive.tree import EMPTY, INNER_KIND, SLOT_SIZE, Leaf, last_slot
from holdfast.servers.vdrive.live_rows import LiveKeys, LiveRanges
from holdfast.servers.vdrive.node_rows import (
    DIGIT_BITS,
    DIGITS,
    FANOUT,
    SMALL_MAX,
    Node,
    unpack,
    values_above,
)
from holdfast.servers.vdrive.tables import entries, nodes

_PREFIXES_MAX = 1000  # in one query
_SLOT_DIGITS = 2 * SLOT_SIZE


class Row(NamedTuple):
    """A row of ``vd_node``, with the version that it was written at."""

    version: int
    parts: list[Node]


class StoredTree:
    """Made within a transaction, and valid as long as that. It is a ``NodeSource`` of witnesses.

    Attributes:
        root: the whole tree.
    """

    def __init__(self, connection: Connection, dir_id: int, root: Node, version: int | None = None) -> None:
        """``version`` is None for the current one, whose rows are found without looking at those before."""
        self.connection = connection
        self.dir_id = dir_id
        self.root = root
        self._version = version
        self._rows: dict[str, Row] = {}
        self._values: dict[str, list[list[bytes]]] = {}

    # -- rows

    def row(self, prefix: str) -> Row:
        """Return the row of a subtree that has one."""
        if prefix not in self._rows:
            self._load([prefix])
        return self._rows[prefix]

    def node(self, prefix: str) -> Node:
        """Return what is known of a subtree. All that contain it have rows."""
        return self.root if not prefix else self.row(prefix[:-1]).parts[int(prefix[-1], FANOUT)]

    def small_above(self, slot: bytes) -> str:
        """Return the prefix of the largest subtree without a row that ``slot`` lies in."""
        digits = slot.hex()
        for length in range(_SLOT_DIGITS):
            if self.node(digits[:length]).small:
                return digits[:length]
        raise AssertionError("a subtree of one slot holds one entry")

    def load_paths(self, slots: Collection[bytes]) -> None:
        """Look up all rows above these slots, with as few queries as possible."""
        if self.root.small:
            return
        digits = [slot.hex() for slot in slots]
        expected = _digits_of(self.root.total)
        self._load({one[:length] for one in digits for length in range(expected)})
        for length in range(expected, _SLOT_DIGITS):
            digits = [one for one in digits if self._leads_on(one, length)]
            if not digits:
                return
            self._load({one[:length] for one in digits})

    def _leads_on(self, digits: str, length: int) -> bool:
        """Whether the subtree of the first ``length`` digits has a row; those above it were asked for."""
        row = self._rows.get(digits[: length - 1])
        return row is not None and not row.parts[int(digits[length - 1], FANOUT)].small

    def _load(self, prefixes: Iterable[str]) -> None:
        missing = [prefix for prefix in prefixes if prefix not in self._rows]
        if self._version is None:
            for some in _chunks(missing, _PREFIXES_MAX):
                for prefix, version, subtrees in _LIVE_ROWS.find(self.connection, self.dir_id, some):
                    self._rows[prefix] = Row(version, unpack(subtrees))
            return
        for prefix in missing:
            found_one = self.connection.execute(
                _PAST_ROW, {"dir_id": self.dir_id, "prefix": prefix, "version": self._version}
            ).one_or_none()
            if found_one is not None and (found_one.v_to is None or found_one.v_to > self._version):
                self._rows[prefix] = Row(found_one.v_from, unpack(found_one.subtrees))

    # -- what witnesses are made of

    def kept(self, depth: int, prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        if depth == 0:
            return {} if self.root.small else {prefixes[0]: self.root.value}
        length = (depth - 1) // DIGIT_BITS  # of the rows that tell
        digits = {prefix: prefix.hex() for prefix in prefixes}
        self._load({one[:length] for one in digits.values() if not length or self._leads_on(one, length)})
        values: dict[bytes, bytes] = {}
        for prefix, one in digits.items():
            if one[:length] in self._rows:
                value = self._value(one[:length], int(one[length], FANOUT), depth - DIGIT_BITS * length)
                if value.startswith(INNER_KIND):
                    values[prefix] = value
        return values

    def leaves(self, subtrees: Sequence[Subtree]) -> Sequence[Sequence[Leaf]]:
        filled = [subtree for subtree in subtrees if not self._is_empty(subtree)]
        found = dict(zip(filled, self._leaves([(one.prefix, one.last) for one in filled]), strict=True))
        return [found.get(subtree, ()) for subtree in subtrees]

    def _value(self, prefix: str, digit: int, levels: int) -> bytes:
        """Return the value of what is ``levels``, 1 to 4, below the row of ``prefix``, towards ``digit``."""
        below = self._values.get(prefix)
        if below is None:
            below = [[part.value for part in self._rows[prefix].parts]]
            while len(below) < DIGIT_BITS:
                below.append(values_above(below[-1]))
            self._values[prefix] = below
        unused = DIGIT_BITS - levels
        return below[unused][digit >> unused]

    def _is_empty(self, subtree: Subtree) -> bool:
        if subtree.depth == 0:
            return self.root.total == 0
        digits, length = subtree.prefix.hex(), (subtree.depth - 1) // DIGIT_BITS
        if digits[:length] not in self._rows:
            return False
        levels = subtree.depth - DIGIT_BITS * length
        return self._value(digits[:length], int(digits[length], FANOUT), levels) == EMPTY

    def _leaves(self, ranges: Sequence[tuple[bytes, bytes]]) -> list[list[Leaf]]:
        if self._version is None:
            found = _LIVE_LEAVES.many(self.connection, self.dir_id, ranges)
        else:
            found = [self._past_leaves(*bounds) for bounds in ranges]
        return [[(slot, digest) for slot, digest in rows] for rows in found]

    def _past_leaves(self, first: bytes, last: bytes) -> Sequence[Any]:
        bounds = {"dir_id": self.dir_id, "first": first, "last": last, "version": self._version}
        return self.connection.execute(_PAST_LEAVES, bounds).all()


def visible_at(version: ColumnElement[int], table: FromClause = entries) -> ColumnElement[bool]:
    """Return the condition that a row is there at a version."""
    since, until = table.c.v_from, table.c.v_to
    return and_(since <= version, or_(until.is_(None), until > version))


def bounds_of(prefix: str) -> tuple[bytes, bytes]:
    """Return the first and the last slot of the subtree with these first digits."""
    first = bytes.fromhex(prefix.ljust(_SLOT_DIGITS, DIGITS[0]))
    return first, last_slot(first, DIGIT_BITS * len(prefix))


def _digits_of(count: int) -> int:
    """Return how many rows one expects above a slot, in a tree of so many entries."""
    expected = 0
    while count > SMALL_MAX:
        count //= FANOUT
        expected += 1
    return expected


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


_LIVE_ROWS = LiveKeys(
    nodes, nodes.c.prefix, "INDEXED BY vd_node_live", nodes.c.prefix, nodes.c.v_from, nodes.c.subtrees
)
_PAST_ROW = (
    select(nodes.c.v_from, nodes.c.v_to, nodes.c.subtrees)
    .where(
        nodes.c.dir_id == bindparam("dir_id"),
        nodes.c.prefix == bindparam("prefix"),
        nodes.c.v_from <= bindparam("version"),
    )
    .order_by(nodes.c.v_from.desc())
    .limit(1)
)
_PAST_LEAVES = (
    select(entries.c.slot, entries.c.digest)
    .where(
        entries.c.dir_id == bindparam("dir_id"),
        entries.c.slot.between(bindparam("first"), bindparam("last")),
        visible_at(bindparam("version")),
    )
    .order_by(entries.c.slot)
)
_LIVE_LEAVES = LiveRanges(entries.c.digest)
