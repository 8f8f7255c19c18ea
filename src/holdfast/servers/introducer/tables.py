"""The database of an introducer: announcements, the keys that announced them, invitations.

Source: docs/spec/control-and-introducer.md, section 3.6.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    create_engine,
    event,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from holdfast.errors import ConfigError

SCHEMA_VERSION = b"1"
EPOCH_SIZE = 16  # bytes
BUSY_S = 10  # waiting for another process that writes

_tables = MetaData()
meta_table = Table(
    "in_meta",
    _tables,
    Column("key", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
announcements_table = Table(
    "in_ann",
    _tables,
    Column("service", String, primary_key=True),
    Column("vk", LargeBinary(32), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("ann", LargeBinary, nullable=False),
    Column("sig", LargeBinary(64), nullable=False),
    Column("cursor", BigInteger, nullable=False, unique=True),
    Column("received", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("kept_until", BigInteger, nullable=False),
    Column("source", String, nullable=False),
)
Index("in_ann_vk", announcements_table.c.vk)
Index("in_ann_expires", announcements_table.c.expires)
Index("in_ann_kept_until", announcements_table.c.kept_until)
keys_table = Table(
    "in_key",
    _tables,
    Column("vk", LargeBinary(32), primary_key=True),
    Column("first_seen", BigInteger, nullable=False),
    Column("admitted", Integer),  # 1: yes, 0: expelled, null: no operator has decided
    Column("label", String, nullable=False),
)
invitations_table = Table(
    "in_invitation",
    _tables,
    Column("hash", LargeBinary(32), primary_key=True),  # SHA-256 of the secret
    Column("role", String, nullable=False),
    Column("nickname", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("redeemed", BigInteger),
)


def open_tables(path: Path, *, synchronise: bool) -> Engine:
    """Open the database, or make a new one with a new epoch.

    Transactions of its connections begin by taking the right to write, so that what is read in one
    still holds when it is committed.

    Raises:
        ConfigError: the file is damaged, of another version, or cannot be opened; the message names it.
    """
    engine = _engine(path, synchronise=synchronise)
    try:
        with _explained(path):
            _make_private(path)
            with engine.connect() as connection:
                problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                connection.rollback()
            if problem != "ok":
                raise ConfigError(f"introducer: the database {path} is damaged: {problem}")
            with engine.begin() as connection:
                _make_tables(connection)
                version = read_meta(connection, "version")
        if version != SCHEMA_VERSION:
            raise ConfigError(f"introducer: {path} was made by another version of Holdfast")
    except BaseException:
        engine.dispose()
        raise
    return engine


def read_meta(connection: Connection, key: str) -> bytes:
    """Return one value of ``in_meta``; b"" if it is missing."""
    value: bytes | None = connection.scalar(select(meta_table.c.value).where(meta_table.c.key == key))
    return value or b""


def write_meta(connection: Connection, key: str, value: bytes) -> None:
    """Set one value of ``in_meta``."""
    row = insert(meta_table).values(key=key, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def _make_tables(connection: Connection) -> None:
    _tables.create_all(connection)
    for key, value in (("version", SCHEMA_VERSION), ("epoch", os.urandom(EPOCH_SIZE)), ("counter", b"0")):
        connection.execute(insert(meta_table).values(key=key, value=value).on_conflict_do_nothing())


def _make_private(path: Path) -> None:
    """Let the file be readable by its owner alone; the files that SQLite puts beside it follow."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"introducer: the database {path} cannot be opened: {error.strerror}") from error
    except OperationalError as error:
        raise ConfigError(f"introducer: the database {path} cannot be used: {error.orig}") from error
    except DatabaseError as error:
        raise ConfigError(
            f"introducer: the database {path} is damaged ({error.orig}). Restore it, or move it away: "
            "a new one is made, and nodes announce themselves again"
        ) from error


def _engine(path: Path, *, synchronise: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_S, "cached_statements": 256},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin below
        connection.execute("PRAGMA journal_mode = WAL")
        # Without FULL, only the last transactions can be lost, never the whole.
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronise else 'NORMAL'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
