"""The database of a virtual drive server: functions run in transactions, in threads.

Whoever waits for a write is answered once the transaction is committed, never before. What
goes wrong in the database becomes a refusal: the server is busy, or full.

Source: docs/spec/vdrive.md, sections 11.1 and 11.4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from holdfast.errors import ConfigError
from holdfast.servers.vdrive.database_errors import reason
from holdfast.servers.vdrive.migrating import migrate
from holdfast.servers.vdrive.postgres_database import PostgresDatabase
from holdfast.servers.vdrive.sqlite_database import SqliteDatabase

T = TypeVar("T")


class Database(Protocol):
    """An open database. Functions get a connection inside a transaction, and must not end it."""

    @property
    def shared(self) -> bool:
        """Whether other servers may change it."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """What the version document says of it."""
        ...

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run ``function`` on one state of the database, which contains everything answered before.

        Raises:
            VdriveBusyError: the database is locked, gone or broken.
        """
        ...

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run ``function``; return its result once what it wrote is durable.

        What it raises undoes what it wrote. It may be run again, if the database had to undo it; once begun
        it is finished, whether or not anybody still waits.

        Raises:
            VdriveBusyError: the database is locked, gone or broken; it may be that the change was made.
            QuotaExceededError: the disk is full; the change was not made.
        """
        ...

    def close(self) -> None:
        """Finish what was begun. Blocks."""
        ...


def open_database(url: str) -> Database:
    """Open a database, and bring its tables up to date. Blocks.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://...``.

    Raises:
        ConfigError: it cannot be opened, or a later version of Holdfast has been there.
    """
    try:
        place = make_url(url)
    except ArgumentError as error:
        raise ConfigError("vdrive_server: the URL of the database cannot be understood") from error
    name = place.render_as_string(hide_password=True)
    try:
        database = _at_sqlite(place.database) if url.startswith("sqlite") else PostgresDatabase(place)
        try:
            migrate(database.writer)
        except BaseException:
            database.close()
            raise
    except OSError as error:
        raise ConfigError(f"vdrive_server: {name} cannot be opened: {error.strerror}") from error
    except DBAPIError as error:
        raise ConfigError(f"vdrive_server: {name} cannot be used: {reason(error)}") from error
    return database


def _at_sqlite(path: str | None) -> SqliteDatabase:
    if not path:
        raise ConfigError("vdrive_server: the URL of the database names no file")
    return SqliteDatabase(Path(path))
