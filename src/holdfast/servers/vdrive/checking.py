"""Looks at everything that a virtual drive server keeps, and tells what cannot be right.

Every tree is computed anew from the entries, every head is verified, every account added up.
No more than some thousand entries are in memory at once.

Source: docs/spec/vdrive.md, sections 11.2, 11.3 and 16.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, func, or_, select

from holdfast.crypto.vdrive_keys import index_of, log_name, refresh_id
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import SignedHead, head_hash, verified_head
from holdfast.servers.vdrive.accounts import DIRECTORY_SIZE, entry_size
from holdfast.servers.vdrive.node_rows import Node, pack
from holdfast.servers.vdrive.reading import ENTRY_COLUMNS
from holdfast.servers.vdrive.tables import (
    CONDEMNED,
    LIVE,
    REMOVED,
    accounts,
    directories,
    entries,
    heads,
    nodes,
)
from holdfast.servers.vdrive.tree_rows import NewRow, recomputed

ROWS_AT_ONCE = 1000


@dataclass(slots=True)
class CheckReport:
    """What was looked at, and what was found wrong; a problem names its directory as logs do."""

    directories: int = 0
    entries: int = 0
    heads: int = 0
    problems: list[str] = field(default_factory=list)


def check(connection: Connection) -> CheckReport:
    """Look at everything. It takes long; what is committed meanwhile is not seen."""
    report = CheckReport()
    for row in _chained(connection, _DIRECTORIES, {}, "id", 0):
        _Checking(connection, row, report).run()
        report.directories += 1
    _check_accounts(connection, report)
    return report


class _Checking:
    """Of one directory."""

    def __init__(self, connection: Connection, row: Row[Any], report: CheckReport) -> None:
        self._connection = connection
        self._row = row
        self._report = report
        self._rows_found = 0

    def run(self) -> None:
        row = self._row
        if row.idx != index_of(row.rc, row.vk) or row.rid != refresh_id(row.idx):
            self._problem("its names do not follow from its keys")
        self._check_heads()
        self._check_entries()
        self._check_tree()
        self._check_past()

    def _problem(self, what: str) -> None:
        self._report.problems.append(f"directory {log_name(self._row.idx)}: {what}")

    def _check_heads(self) -> None:
        """Every head is signed and follows the one before it; the last one is that of the directory."""
        row, before, hash_before = self._row, -1, b""
        last: tuple[int, bytes, Node] | None = None
        for stored in _chained(self._connection, _HEADS, {"dir_id": row.id}, "version", -1):
            self._report.heads += 1
            try:
                head = verified_head(SignedHead(stored.head, stored.sig), row.vk, row.idx)
            except HoldfastError as error:
                self._problem(f"head {stored.version}: {error}")
                continue
            if head.version != stored.version:
                self._problem(f"head {stored.version} is of version {head.version}")
            if before == stored.version - 1 and before >= 0 and head.previous != hash_before:
                self._problem(f"head {stored.version} does not follow the one before it")
            if before > 0 and before != stored.version - 1:
                self._problem(f"heads between {before} and {stored.version} are missing")
            before, hash_before = stored.version, head_hash(stored.head)
            last = (stored.version, hash_before, Node(head.root, head.count))
        if last != (row.version, row.head_hash, Node(row.root, row.entry_count)):
            self._problem("its row and its last head differ")

    def _check_entries(self) -> None:
        row, size = self._row, DIRECTORY_SIZE
        for some in _chunks(self._connection, _ENTRIES, {"dir_id": row.id}, "slot", b""):
            found = [SealedEntry._make(one[: len(ENTRY_COLUMNS)]) for one in some]
            self._report.entries += len(found)
            size += sum(entry_size(entry[2:]) for entry in found)
            wrong = sum(
                digest != one.digest or not 1 <= one.v_from <= row.version
                for digest, one in zip(digests_of(found), some, strict=True)
            )
            if wrong:
                self._problem(f"{wrong} entries are damaged")
        if size != row.byte_count:
            self._problem(f"it has {size} bytes, and {row.byte_count} are charged")

    def _check_tree(self) -> None:
        row = self._row
        root = recomputed(self._connection, row.id, self._check_rows)
        if root != (row.root, row.entry_count):
            self._problem("its entries are not those that its head vouches for")
        stored = self._connection.execute(_COUNT_NODES, {"dir_id": row.id}).scalar_one()
        if stored != self._rows_found:
            self._problem(f"its tree has {stored} rows instead of {self._rows_found}")

    def _check_rows(self, rows: list[NewRow]) -> None:
        self._rows_found += len(rows)
        for row in rows:
            stored = self._connection.execute(
                _NODE, {"dir_id": self._row.id, "prefix": row.prefix}
            ).scalar_one_or_none()
            if stored != pack(row.parts):
                self._problem("a row of its tree is missing or wrong")

    def _check_past(self) -> None:
        for table, query in _IMPOSSIBLE.items():
            bounds = {"dir_id": self._row.id, "version": self._row.version}
            if self._connection.execute(query, bounds).scalar_one():
                self._problem(f"there are rows of {table} of versions that cannot be")


def _check_accounts(connection: Connection, report: CheckReport) -> None:
    """What accounts have used is what their directories are charged."""
    used: defaultdict[int, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for row in connection.execute(_CHARGED):
        used[row.account_id] = (int(row[1]), int(row[2]), int(row[3]))
    for account in connection.execute(_ACCOUNTS):
        if tuple(account[1:]) != used[account.id]:
            report.problems.append(f"account {account.id}: what it uses is not what it is charged")


def _chained(
    connection: Connection, query: Select[Any], bounds: dict[str, object], key: str, after: object
) -> Iterator[Row[Any]]:
    for some in _chunks(connection, query, bounds, key, after):
        yield from some


def _chunks(
    connection: Connection, query: Select[Any], bounds: dict[str, object], key: str, after: object
) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows of a query, some at once, which are ordered by ``key``."""
    while some := connection.execute(query, {**bounds, "after": after, "enough": ROWS_AT_ONCE}).all():
        yield some
        after = getattr(some[-1], key)


_DIRECTORIES = (
    select(directories)
    .where(directories.c.id > bindparam("after"), directories.c.state.in_((LIVE, CONDEMNED)))
    .order_by(directories.c.id)
    .limit(bindparam("enough"))
)
_HEADS = (
    select(heads.c.version, heads.c.head, heads.c.sig)
    .where(heads.c.dir_id == bindparam("dir_id"), heads.c.version > bindparam("after"))
    .order_by(heads.c.version)
    .limit(bindparam("enough"))
)
_ENTRIES = (
    select(*ENTRY_COLUMNS, entries.c.digest)
    .where(
        entries.c.dir_id == bindparam("dir_id"),
        entries.c.slot > bindparam("after"),
        entries.c.v_to.is_(None),
    )
    .order_by(entries.c.slot)
    .limit(bindparam("enough"))
)
_LIVE_NODES = (nodes.c.dir_id == bindparam("dir_id"), nodes.c.v_to.is_(None))
_COUNT_NODES = select(func.count()).select_from(nodes).where(*_LIVE_NODES)
_NODE = select(nodes.c.subtrees).where(*_LIVE_NODES, nodes.c.prefix == bindparam("prefix"))


def _impossible(since: ColumnElement[int], until: ColumnElement[int]) -> ColumnElement[bool]:
    version: ColumnElement[int] = bindparam("version")
    return or_(since > version, and_(until.is_not(None), or_(until <= since, until > version)))


_IMPOSSIBLE = {
    table.name: select(func.count())
    .select_from(table)
    .where(table.c.dir_id == bindparam("dir_id"), _impossible(table.c.v_from, table.c.v_to))
    for table in (entries, nodes)
}
_CHARGED = (
    select(
        directories.c.account_id,
        func.count(),
        func.sum(directories.c.entry_count),
        func.sum(directories.c.byte_count),
    )
    .where(directories.c.state != REMOVED)
    .group_by(directories.c.account_id)
)
_ACCOUNTS = select(
    accounts.c.id, accounts.c.used_dirs, accounts.c.used_entries, accounts.c.used_bytes
).order_by(accounts.c.id)
