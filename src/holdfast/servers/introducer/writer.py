"""Writes to the database: one thread, which puts whatever is waiting into one transaction.

So the cost of making announcements durable is shared by all who wait for it. The thread also notices
when another process has changed the announcements (an operator expels a key, say).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from holdfast.servers.introducer.index import Held
from holdfast.servers.introducer.refusals import FullError, UnavailableDatabaseError
from holdfast.servers.introducer.tables import announcements_table, read_meta

log = logging.getLogger(__name__)

BATCH_MAX = 500  # pieces of work in one transaction
LOOK_EVERY_S = 1.0  # for changes made by other processes

T = TypeVar("T")

Contents = tuple[list[Held], int]
"""All announcements, and the number that was given last."""


@dataclass(slots=True)
class _Work(Generic[T]):
    """``write`` runs in the thread; ``applied`` on the event loop, with its result, once that is durable."""

    write: Callable[[Connection], T]
    applied: Callable[[T], None] | None
    future: asyncio.Future[T]
    result: T | None = None
    error: Exception | None = None

    def answer(self) -> None:
        """Tell whoever waits. On the event loop."""
        if self.error is None and self.applied is not None:
            self.applied(self.result)  # type: ignore[arg-type]  # there is a result where there is no error
        if self.future.done():  # its waiter was cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(self.error)


class Writer:
    """The only thread that uses the database. Made on the event loop; ``close`` ends it.

    Results are applied in the order in which they were written.
    """

    def __init__(self, engine: Engine, replaced: Callable[[Contents], None]) -> None:
        """``replaced`` is called on the event loop when another process has changed the announcements."""
        self._engine = engine
        self._replaced = replaced
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._data_version: object = None
        self._shape: object = None
        self._thread = threading.Thread(target=self._run, name="introducer-database", daemon=True)

    def start(self, contents: Contents) -> None:
        """Begin to write; ``contents`` are known already."""
        held, _ = contents
        self._shape = (len(held), max((one.cursor for one in held), default=0))
        self._thread.start()

    def submit(
        self, write: Callable[[Connection], T], applied: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        """Have ``write`` run inside a transaction; the future has its result once that is committed.

        What it raises undoes what it wrote, and nothing else, and becomes the outcome. Work once submitted
        is done whether or not anybody still waits.

        The future raises:
            FullError: the disk is full.
            UnavailableDatabaseError: the database is locked or broken.
        """
        work = _Work(write, applied, self._loop.create_future())
        self._waiting.put(work)
        return work.future

    def close(self) -> None:
        """Do what is waiting, and end. Blocks."""
        self._waiting.put(None)
        self._thread.join()

    # -- in the thread

    def _run(self) -> None:
        with self._engine.connect() as connection:
            open_ = True
            while open_:
                batch, open_ = self._next_batch()
                if batch:
                    self._write(connection, batch)
                    self._tell(self._answer, batch)
                self._look_around(connection)
            _checkpoint(connection)

    def _next_batch(self) -> tuple[list[_Work[Any]], bool]:
        batch: list[_Work[Any]] = []
        try:
            work = self._waiting.get(timeout=LOOK_EVERY_S)
            while work is not None:
                batch.append(work)
                if len(batch) == BATCH_MAX:
                    break
                work = self._waiting.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, work is not None

    def _write(self, connection: Connection, batch: list[_Work[Any]]) -> None:
        try:
            with connection.begin():
                for work in batch:
                    _write_one(connection, work)
                shape = _shape(connection)
        except Exception as error:
            refusal = _refusal_of(error)
            for work in batch:
                work.error = work.error or refusal
            return
        with suppress(sqlite3.Error):  # then it is read again by whoever looks around
            if self._data_version_of(connection) == self._data_version:
                self._shape = shape

    def _look_around(self, connection: Connection) -> None:
        """Pass on the announcements if another process has changed them."""
        try:
            version = self._data_version_of(connection)
            if version == self._data_version:
                return
            with connection.begin():
                shape = _shape(connection)
                contents = read_contents(connection) if shape != self._shape else None
        except Exception as error:
            log.warning("the database of the introducer cannot be read: %s", _reason(error))
            return
        self._data_version, self._shape = version, shape
        if contents is not None:
            self._tell(self._replaced, contents)

    def _data_version_of(self, connection: Connection) -> object:
        cursor = connection.connection.cursor()  # outside a transaction, so that it holds nobody up
        try:
            return cursor.execute("PRAGMA data_version").fetchone()
        finally:
            cursor.close()

    def _tell(self, function: Callable[[T], None], argument: T) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the event loop has ended without closing us
            log.debug("nobody is left to be told")

    # -- on the event loop

    def _answer(self, batch: list[_Work[Any]]) -> None:
        for work in batch:
            work.answer()


def read_contents(connection: Connection) -> Contents:
    """Return everything that is announced."""
    columns = announcements_table.c
    rows = connection.execute(
        select(columns.service, columns.vk, columns.ann, columns.sig, columns.cursor, columns.expires)
    ).all()
    return [Held(*row) for row in rows], int(read_meta(connection, "counter"))


def _shape(connection: Connection) -> tuple[int, int]:
    """Return what changes whenever somebody adds or removes announcements."""
    row = connection.execute(_COUNT_AND_LAST).one()
    return row[0], row[1]


_COUNT_AND_LAST = select(func.count(), func.coalesce(func.max(announcements_table.c.cursor), 0)).select_from(
    announcements_table
)


def _write_one(connection: Connection, work: _Work[Any]) -> None:
    try:
        with connection.begin_nested():
            work.result = work.write(connection)
    except DBAPIError:
        raise
    except Exception as error:
        work.error = error


def _checkpoint(connection: Connection) -> None:
    try:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    except sqlite3.Error as error:
        log.debug("no checkpoint at the end: %s", error)


def _reason(error: BaseException) -> str:
    """Return what went wrong first: SQLite ends a transaction by itself when the disk is full, say, and
    then the attempt to end it fails too.
    """
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return str(error)


def _refusal_of(error: Exception) -> Exception:
    """Return what a failed transaction means for those who asked for it."""
    if not isinstance(error, DBAPIError):
        return error
    reason = _reason(error)
    log.error("the database of the introducer could not be written: %s", reason)
    if "full" in reason:
        refusal: Exception = FullError("the introducer's disk is full")
    else:
        refusal = UnavailableDatabaseError("the introducer cannot write its database")
    refusal.__cause__ = error
    return refusal
