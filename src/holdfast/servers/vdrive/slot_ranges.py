"""Live entries of a directory in many ranges of slots: in one query where each query is a journey.

Source: docs/spec/vdrive.md, section 11.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from holdfast.servers.vdrive.tables import entries

LIVE_INDEX = "INDEXED BY vd_entry_live"
"""For SQLite: not to look at what was there before, of which a slot in heavy use has much."""

_SLOTS = ARRAY(LargeBinary)


class LiveRanges:
    """Looks up some columns of entries; the first is the slot."""

    def __init__(self, *columns: ColumnElement[Any]) -> None:
        live = select(entries.c.slot, *columns).where(
            entries.c.dir_id == bindparam("dir_id"), entries.c.v_to.is_(None)
        )
        self._one = _between(live, bindparam("first"), bindparam("last")).with_hint(
            entries, LIVE_INDEX, "sqlite"
        )
        bounds = func.unnest(
            bindparam("firsts", type_=_SLOTS), bindparam("lasts", type_=_SLOTS)
        ).table_valued("first", "last")
        ranges = bounds.render_derived(name="ranges")
        # The offset keeps the planner from turning it round, which it does where it has no statistics yet.
        found = _between(live, ranges.c.first, ranges.c.last).offset(0).lateral("found")
        self._many = select(found).select_from(ranges.join(found, true())).order_by(found.c.slot)

    def one(self, connection: Connection, dir_id: int, first: bytes, last: bytes) -> Sequence[Any]:
        """Return the rows of the entries from one slot to another, ascending."""
        return connection.execute(self._one, {"dir_id": dir_id, "first": first, "last": last}).all()

    def many(
        self, connection: Connection, dir_id: int, ranges: Sequence[tuple[bytes, bytes]]
    ) -> list[Sequence[Any]]:
        """Return what ``one`` does of each range; no two of them overlap."""
        if connection.dialect.name != "postgresql" or len(ranges) < 2:
            return [self.one(connection, dir_id, *bounds) for bounds in ranges]
        firsts, lasts = map(list, zip(*ranges, strict=True))
        rows = connection.execute(self._many, {"dir_id": dir_id, "firsts": firsts, "lasts": lasts}).all()
        slots = [row[0] for row in rows]
        return [rows[bisect_left(slots, first) : bisect_right(slots, last)] for first, last in ranges]


def _between(query: Select[Any], first: ColumnElement[Any], last: ColumnElement[Any]) -> Select[Any]:
    return query.where(entries.c.slot.between(first, last)).order_by(entries.c.slot)
