"""How far back a directory can be looked at, and the deletion of what lies further back.

A version stays as long as the one after it is not older than ``history``: then no row that it
needs is deleted. Heads stay much longer.

Source: docs/spec/vdrive.md, sections 8.6, 8.7 and 11.6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Select, Table, bindparam, delete, func, select

from holdfast.formats.vdrive.head import SignedHead, parse_head
from holdfast.interfaces.vdrive import HEADS_MAX, HeadRange
from holdfast.interfaces.vdrive_errors import HistoryPrunedError, SnapshotExpiredError
from holdfast.servers.vdrive.node_rows import Node
from holdfast.servers.vdrive.reading import StoredDirectory, find
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import directories, entries, heads, nodes

MARGIN_S = 60  # between what is no longer answered and what is deleted: clocks of servers differ


class Snapshot(NamedTuple):
    """One version of a directory.

    Attributes:
        past: whether there is a later one.
    """

    id: int
    version: int
    past: bool
    root: Node
    head: SignedHead


def snapshot(
    connection: Connection, index: bytes, version: int | None, settings: VdriveServerSettings, now: int
) -> Snapshot:
    """Return a version of a directory; None for the current one.

    Raises:
        SnapshotExpiredError: it is no longer kept, or there is no such version.
    """
    directory = find(connection, index)
    if version is None or version == directory.version:
        return Snapshot(directory.id, directory.version, False, directory.root, directory.head)
    check_kept(connection, directory, version, settings, now)
    signed = head_at(connection, directory.id, version)
    if signed is None:
        raise _expired()
    head = parse_head(signed.head)
    return Snapshot(directory.id, version, True, Node(head.root, head.count), signed)


def check_kept(
    connection: Connection, directory: StoredDirectory, version: int, settings: VdriveServerSettings, now: int
) -> None:
    """See that the rows of a version of a directory are there.

    Raises:
        SnapshotExpiredError: they are not, or there is no such version.
    """
    if version == directory.version:
        return
    if version > directory.version:
        raise _expired()
    superseded = connection.execute(
        _COMMITTED_AT, {"dir_id": directory.id, "version": version + 1}
    ).scalar_one_or_none()
    if superseded is None or superseded <= now - settings.history_s:
        raise _expired()


def head_at(connection: Connection, dir_id: int, version: int) -> SignedHead | None:
    """Return the head of a version, if it is there."""
    row = connection.execute(_HEADS, {"dir_id": dir_id, "first": version, "last": version}).one_or_none()
    return None if row is None else SignedHead(row.head, row.sig)


def head_range(connection: Connection, index: bytes, first: int, last: int) -> HeadRange:
    """Return the heads of versions ``first`` to ``last``, as far as they are there and fit into a page.

    Raises:
        HistoryPrunedError: the first of them is no longer kept.
    """
    directory = find(connection, index)
    last = min(last, directory.version)
    if first > last:
        return HeadRange((), more=False)
    bounds = {"dir_id": directory.id, "first": first, "last": min(last, first + HEADS_MAX - 1)}
    found: list[SignedHead] = []
    for row in connection.execute(_HEADS, bounds):
        if row.version != first + len(found):
            break
        found.append(SignedHead(row.head, row.sig))
    if not found:
        oldest = connection.execute(_OLDEST, {"dir_id": directory.id}).scalar_one()
        raise HistoryPrunedError(
            "heads of this version are no longer kept", oldest=oldest or directory.version
        )
    return HeadRange(tuple(found), more=first + len(found) <= last)


class Pruning:
    """One round of deleting what need not be kept, in small transactions."""

    def __init__(self, settings: VdriveServerSettings, now: int, rows_max: int) -> None:
        self._history_before = now - settings.history_s - MARGIN_S
        self._heads_before = now - settings.head_retention_s
        self._heads_min = settings.heads_min
        self._rows_max = rows_max
        self._steps: list[Callable[[Connection], bool]] = [
            self._step_of_heads,
            partial(self._step_of_rows, nodes),
            partial(self._step_of_rows, entries),
        ]
        self._dir_id = 0  # of the last directory that is done

    def step(self, connection: Connection) -> bool:
        """Delete about so many rows; False once there are no more."""
        while self._steps:
            if self._steps[-1](connection):
                return True
            self._steps.pop()
            self._dir_id = 0
        return False

    def _step_of_rows(self, table: Table, connection: Connection) -> bool:
        """Delete superseded rows of the next directory that has some; False if none has any more."""
        while True:
            row = connection.execute(_NEXT_PAST[table], {"after": self._dir_id}).one_or_none()
            if row is None:
                return False
            newest = self._newest(connection, row.dir_id, self._history_before)
            if newest is not None and row.v_to <= newest:
                bounds = {"of": row.dir_id, "enough": self._rows_max}
                enough = connection.execute(_ENOUGH[table], bounds).scalar_one_or_none()
                end = newest if enough is None else min(enough, newest)
                connection.execute(_DELETE_PAST[table], {"of": row.dir_id, "end": end})
                return True
            self._dir_id = row.dir_id

    def _step_of_heads(self, connection: Connection) -> bool:
        """Delete the lowest heads of a directory but that of version 0; False if there is nothing to do."""
        while True:
            bounds = {"after": self._dir_id, "heads_min": self._heads_min}
            long = connection.execute(_NEXT_LONG, bounds).one_or_none()
            if long is None:
                return False
            newest = self._newest(connection, long.id, self._heads_before)
            oldest: int | None = connection.execute(_OLDEST, {"dir_id": long.id}).scalar_one()
            if newest is not None and oldest is not None:
                end = min(newest, long.version - self._heads_min, oldest + self._rows_max - 1)
                if end >= oldest:
                    connection.execute(_DELETE_HEADS, {"of": long.id, "end": end})
                    return True
            self._dir_id = long.id

    def _newest(self, connection: Connection, dir_id: int, before: int) -> int | None:
        """Return the last version of a directory that was committed so early."""
        found: int | None = connection.execute(_NEWEST, {"dir_id": dir_id, "before": before}).scalar_one()
        return found


def _expired() -> SnapshotExpiredError:
    return SnapshotExpiredError("this version of the directory is no longer kept")


def _next_past(table: Table) -> Select[tuple[int, int]]:
    """Return the query for the directory, and the version, of the first superseded row after a directory."""
    return (
        select(table.c.dir_id, table.c.v_to)
        .where(table.c.dir_id > bindparam("after"), table.c.v_to.is_not(None))
        .order_by(table.c.dir_id, table.c.v_to)
        .limit(1)
        .with_hint(table, f"INDEXED BY {table.name}_to", "sqlite")
    )


def _enough(table: Table) -> Select[tuple[int]]:
    """Return the query for the version at which so many rows of a directory have been superseded."""
    return (
        select(table.c.v_to)
        .where(table.c.dir_id == bindparam("of"), table.c.v_to.is_not(None))
        .order_by(table.c.v_to)
        .offset(bindparam("enough"))
        .limit(1)
        .with_hint(table, f"INDEXED BY {table.name}_to", "sqlite")
    )


_NEXT_PAST = {table: _next_past(table) for table in (entries, nodes)}
_ENOUGH = {table: _enough(table) for table in (entries, nodes)}
_DELETE_PAST = {
    table: delete(table).where(table.c.dir_id == bindparam("of"), table.c.v_to <= bindparam("end"))
    for table in (entries, nodes)
}
_HEADS = (
    select(heads.c.version, heads.c.head, heads.c.sig)
    .where(
        heads.c.dir_id == bindparam("dir_id"),
        heads.c.version.between(bindparam("first"), bindparam("last")),
    )
    .order_by(heads.c.version)
)
_COMMITTED_AT = select(heads.c.committed_at).where(
    heads.c.dir_id == bindparam("dir_id"), heads.c.version == bindparam("version")
)
_OLDEST = select(func.min(heads.c.version)).where(heads.c.dir_id == bindparam("dir_id"), heads.c.version > 0)
_NEWEST = select(func.max(heads.c.version)).where(
    heads.c.dir_id == bindparam("dir_id"), heads.c.committed_at <= bindparam("before")
)
_NEXT_LONG = (
    select(directories.c.id, directories.c.version)
    .where(directories.c.id > bindparam("after"), directories.c.version > bindparam("heads_min"))
    .order_by(directories.c.id)
    .limit(1)
)
_DELETE_HEADS = delete(heads).where(
    heads.c.dir_id == bindparam("of"), heads.c.version.between(1, bindparam("end"))
)
