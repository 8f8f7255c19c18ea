"""The database beside the shares: which shares there are, their leases, and what
still has to be done to the files (redo records).

Looking up is done here, from any thread; changes are collected in a ``Changes`` and
written by ``catalog_writer``.

Source: docs/spec/storage-disk.md, sections 5 and 8.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import NullPool

from holdfast.errors import ConfigError
from holdfast.interfaces.types import StorageIndex

CATALOG_VERSION = 1

_tables = MetaData()
catalog_table = Table("catalog", _tables, Column("version", Integer, primary_key=True))
shares_table = Table(
    "shares",
    _tables,
    Column("storage_index", LargeBinary(16), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
leases_table = Table(
    "leases",
    _tables,
    Column("storage_index", LargeBinary(16), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("renew_hash", LargeBinary(32), primary_key=True),
    Column("cancel_hash", LargeBinary(32), nullable=False),
    Column("owner", Integer, nullable=False),
    Column("expiry", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
totals_table = Table(
    "totals",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("shares", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
redo_table = Table(
    "redo",
    _tables,
    Column("serial", Integer, primary_key=True, autoincrement=False),
    Column("storage_index", LargeBinary(16), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", String, nullable=False),  # in incoming/; empty: the share is deleted
    Column("content", LargeBinary),  # of small files; larger ones were synchronised before
)
Index("redo_of_share", redo_table.c.storage_index, redo_table.c.number)


class Kind(IntEnum):
    """Of shares."""

    IMMUTABLE = 0
    MUTABLE = 1


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class ShareRow:
    """What the catalog knows of one complete share."""

    number: int
    kind: Kind
    size: int  # of the share data


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease. Secrets are kept as their hashes."""

    renew_hash: bytes = field(repr=False)
    cancel_hash: bytes = field(repr=False)
    owner: int
    expiry: int  # seconds since 1970


@dataclass(frozen=True, slots=True)
class RedoRow:
    """A file change that a committed transaction has promised."""

    serial: int
    index: StorageIndex
    number: int
    name: str
    content: bytes | None = field(repr=False)


_put_lease = insert(leases_table).values(
    {column.name: bindparam(column.name) for column in leases_table.columns}
)
_put_lease_or_renew = _put_lease.on_conflict_do_update(
    index_elements=["storage_index", "number", "renew_hash"],
    set_={"expiry": func.max(leases_table.c.expiry, _put_lease.excluded.expiry)},
)
_renew_all = insert(leases_table).from_select(
    ["storage_index", "number", "renew_hash", "cancel_hash", "owner", "expiry"],
    select(
        shares_table.c.storage_index,
        shares_table.c.number,
        bindparam("renew_hash", type_=LargeBinary),
        bindparam("cancel_hash", type_=LargeBinary),
        bindparam("owner", type_=Integer),
        bindparam("expiry", type_=BigInteger),
    ).where(shares_table.c.storage_index == bindparam("of_index")),
)
_renew_all_or_add = _renew_all.on_conflict_do_update(
    index_elements=["storage_index", "number", "renew_hash"],
    set_={"expiry": func.max(leases_table.c.expiry, _renew_all.excluded.expiry)},
)
_put_share = insert(shares_table).values(
    {column.name: bindparam(column.name) for column in shares_table.columns}
)
_put_share_or_resize = _put_share.on_conflict_do_update(
    index_elements=["storage_index", "number"],
    set_={"kind": _put_share.excluded.kind, "size": _put_share.excluded.size},
)


class Step(IntEnum):
    """The statements of a transaction, in the order in which a whole batch runs them.

    The order is right for one ``Changes``, and for any mixture of them that is in flight at once:
    changes that exclude one another (deletion and creation of a share) wait for each other.
    """

    CLEAR_REDO = 0
    DROP_LEASES = 1
    DROP_SHARE = 2
    PUT_SHARE = 3
    PUT_LEASE = 4
    RENEW_ALL = 5
    PUT_REDO = 6


STATEMENTS: dict[Step, Any] = {
    Step.CLEAR_REDO: redo_table.delete().where(redo_table.c.serial == bindparam("of_serial")),
    Step.DROP_LEASES: leases_table.delete().where(
        leases_table.c.storage_index == bindparam("of_index"), leases_table.c.number == bindparam("of_number")
    ),
    Step.DROP_SHARE: shares_table.delete().where(
        shares_table.c.storage_index == bindparam("of_index"), shares_table.c.number == bindparam("of_number")
    ),
    Step.PUT_SHARE: _put_share_or_resize,
    Step.PUT_LEASE: _put_lease_or_renew,
    Step.RENEW_ALL: _renew_all_or_add,
    Step.PUT_REDO: insert(redo_table).values({c.name: bindparam(c.name) for c in redo_table.columns}),
}
ADD_TO_TOTALS: Any = totals_table.update().values(
    shares=totals_table.c.shares + bindparam("more_shares"),
    bytes=totals_table.c.bytes + bindparam("more_bytes"),
)


@dataclass(slots=True)
class Changes:
    """What one transaction changes, all or nothing.

    ``afterwards`` is called once the changes are on stable storage, before whoever committed them goes on.
    """

    steps: list[tuple[Step, dict[str, Any]]] = field(default_factory=list)
    more_shares: int = 0
    more_bytes: int = 0
    afterwards: Callable[[], None] | None = None

    def put_share(
        self, index: StorageIndex, number: int, kind: Kind, size: int, *, replaces: int | None = None
    ) -> None:
        """Add a share of ``size`` bytes, or set the size of one that had ``replaces`` bytes."""
        row = {"storage_index": index, "number": number, "kind": int(kind), "size": size}
        self.steps.append((Step.PUT_SHARE, row))
        self.more_shares += replaces is None
        self.more_bytes += size - (replaces or 0)

    def drop_share(self, index: StorageIndex, number: int, size: int) -> None:
        """Forget a share of ``size`` bytes, and its leases."""
        of_share = {"of_index": index, "of_number": number}
        self.steps += [(Step.DROP_LEASES, of_share), (Step.DROP_SHARE, of_share)]
        self.more_shares -= 1
        self.more_bytes -= size

    def put_lease(self, index: StorageIndex, number: int, lease: LeaseRow) -> None:
        """Add a lease to one share, or renew it there; an expiry further away stays."""
        row = {
            "storage_index": index,
            "number": number,
            "renew_hash": lease.renew_hash,
            "cancel_hash": lease.cancel_hash,
            "owner": lease.owner,
            "expiry": lease.expiry,
        }
        self.steps.append((Step.PUT_LEASE, row))

    def renew_all(self, index: StorageIndex, lease: LeaseRow) -> None:
        """Add a lease to every share of ``index``, or renew it there."""
        row = {
            "of_index": index,
            "renew_hash": lease.renew_hash,
            "cancel_hash": lease.cancel_hash,
            "owner": lease.owner,
            "expiry": lease.expiry,
        }
        self.steps.append((Step.RENEW_ALL, row))

    def put_redo(self, row: RedoRow) -> None:
        """Promise a file change."""
        values = {
            "serial": row.serial,
            "storage_index": row.index,
            "number": row.number,
            "name": row.name,
            "content": row.content,
        }
        self.steps.append((Step.PUT_REDO, values))

    def clear_redo(self, serial: int) -> None:
        """Note that a promised file change is on stable storage."""
        self.steps.append((Step.CLEAR_REDO, {"of_serial": serial}))


class Catalog:
    """An open catalog. Its look-ups may be made from any thread."""

    def __init__(self, path: str, *, synchronise: bool) -> None:
        self.engine = _open_engine(path, synchronise=synchronise)
        dialect = self.engine.dialect
        self._shares_of, self._leases_of = (str(q.compile(dialect=dialect)) for q in (_shares_of, _leases_of))
        self._local = threading.local()
        self._connections: list[Connection] = []
        with self.engine.begin() as connection:
            _tables.create_all(connection)
            version = connection.scalar(select(catalog_table.c.version))
            self.is_new = version is None
            if version is None:
                connection.execute(catalog_table.insert().values(version=CATALOG_VERSION))
                connection.execute(totals_table.insert().values(id=1, shares=0, bytes=0))
            elif version != CATALOG_VERSION:
                raise ConfigError(f"storage: {path} has catalog version {version}, not {CATALOG_VERSION}")
            last = connection.scalar(select(func.max(redo_table.c.serial))) or 0
        self.serials = itertools.count(last + 1)

    def close(self) -> None:
        """Close every connection. No other thread may be looking up."""
        for connection in self._connections:
            connection.close()
        self.engine.dispose()

    def shares_of(self, index: StorageIndex) -> dict[int, ShareRow]:
        """Return the complete shares of ``index`` by number."""
        rows = self._look_up(self._shares_of, {"of_index": index})
        return {number: ShareRow(number, _KINDS[kind], size) for number, kind, size in rows}

    def leases_of(self, index: StorageIndex, number: int) -> list[LeaseRow]:
        """Return the leases of one share."""
        rows = self._look_up(self._leases_of, {"of_index": index, "of_number": number})
        return [LeaseRow(*row) for row in rows]

    def totals(self) -> tuple[int, int]:
        """Return the number of complete shares, and the bytes in them."""
        shares, size = self._connection().execute(select(totals_table.c.shares, totals_table.c.bytes)).one()
        return shares, size

    def redo_rows(self) -> list[RedoRow]:
        """Return the file changes that were promised and not noted as done, oldest first."""
        columns = redo_table.c
        query = select(
            columns.serial, columns.storage_index, columns.number, columns.name, columns.content
        ).order_by(columns.serial)
        return [
            RedoRow(serial, StorageIndex(index), number, name, content)
            for serial, index, number, name, content in self._connection().execute(query)
        ]

    def _look_up(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query that was compiled before: each request makes one, and compiling costs more than it."""
        raw = getattr(self._local, "raw", None)
        if raw is None:
            raw = self._local.raw = self._connection().connection.driver_connection
        assert raw is not None
        rows: list[tuple[Any, ...]] = raw.execute(query, values).fetchall()
        return rows

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._local.connection = connection
            self._connections.append(connection)
        return connection


_shares_of = select(shares_table.c.number, shares_table.c.kind, shares_table.c.size).where(
    shares_table.c.storage_index == bindparam("of_index")
)
_leases_of = select(
    leases_table.c.renew_hash, leases_table.c.cancel_hash, leases_table.c.owner, leases_table.c.expiry
).where(
    leases_table.c.storage_index == bindparam("of_index"), leases_table.c.number == bindparam("of_number")
)


def _open_engine(path: str, *, synchronise: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        paramstyle="named",
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {'FULL' if synchronise else 'OFF'}")
        cursor.execute("PRAGMA cache_size = -4096")
        cursor.close()

    return engine
