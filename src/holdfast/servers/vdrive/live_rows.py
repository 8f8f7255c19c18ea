"""Looks for many live rows of a directory, by their keys or by ranges of these, in one query where each query
is a journey.

PostgreSQL is told how to do it: where it has no statistics, as of a directory that was filled just now, it
would rather read the whole directory.

Source: docs/spec/vdrive.md, section 11.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    bindparam,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from holdfast.servers.vdrive.tables import entries

LIVE_INDEX = "INDEXED BY vd_entry_live"
"""For SQLite: not to look at what was there before, of which a slot in heavy use has much."""

_SLOTS = ARRAY(LargeBinary)


class LiveKeys:
    """Looks up some columns of the live rows of a table that has one at most for each key in a directory."""

    def __init__(self, table: Table, key: Column[Any], index: str, *columns: ColumnElement[Any]) -> None:
        """``index``: what makes SQLite use the one of live rows."""
        live = _live(table, columns)
        listed = live.where(key.in_(bindparam("keys", expanding=True))).order_by(key)
        self._listed = listed.with_hint(table, index, "sqlite")
        wanted = func.unnest(bindparam("keys", type_=ARRAY(key.type))).table_valued("key")
        keys = wanted.render_derived(name="keys")
        # The offset keeps the planner from turning it round.
        found = live.where(key == keys.c.key).offset(0).lateral("found")
        self._joined = select(found).select_from(keys.join(found, true())).order_by(found.c[key.name])

    def find(self, connection: Connection, dir_id: int, keys: Sequence[Any]) -> Sequence[Any]:
        """Return the rows that there are, in the order of their keys."""
        query = self._joined if _is_postgresql(connection) else self._listed
        return connection.execute(query, {"dir_id": dir_id, "keys": list(keys)}).all() if keys else []


class LiveRanges:
    """Looks up some columns of entries; the first is the slot."""

    def __init__(self, *columns: ColumnElement[Any]) -> None:
        live = _live(entries, [entries.c.slot, *columns])
        self._one = _between(live, bindparam("first"), bindparam("last")).with_hint(
            entries, LIVE_INDEX, "sqlite"
        )
        bounds = func.unnest(
            bindparam("firsts", type_=_SLOTS), bindparam("lasts", type_=_SLOTS)
        ).table_valued("first", "last")
        ranges = bounds.render_derived(name="ranges")
        found = _between(live, ranges.c.first, ranges.c.last).offset(0).lateral("found")
        self._many = select(found).select_from(ranges.join(found, true())).order_by(found.c.slot)

    def one(self, connection: Connection, dir_id: int, first: bytes, last: bytes) -> Sequence[Any]:
        """Return the rows of the entries from one slot to another, ascending."""
        return connection.execute(self._one, {"dir_id": dir_id, "first": first, "last": last}).all()

    def many(
        self, connection: Connection, dir_id: int, ranges: Sequence[tuple[bytes, bytes]]
    ) -> list[Sequence[Any]]:
        """Return what ``one`` does of each range; no two of them overlap."""
        if not ranges or not _is_postgresql(connection):
            return [self.one(connection, dir_id, *bounds) for bounds in ranges]
        firsts, lasts = map(list, zip(*ranges, strict=True))
        rows = connection.execute(self._many, {"dir_id": dir_id, "firsts": firsts, "lasts": lasts}).all()
        slots = [row[0] for row in rows]
        return [rows[bisect_left(slots, first) : bisect_right(slots, last)] for first, last in ranges]


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _live(table: Table, columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return select(*columns).where(table.c.dir_id == bindparam("dir_id"), table.c.v_to.is_(None))


def _between(query: Select[Any], first: ColumnElement[Any], last: ColumnElement[Any]) -> Select[Any]:
    return query.where(entries.c.slot.between(first, last)).order_by(entries.c.slot)
