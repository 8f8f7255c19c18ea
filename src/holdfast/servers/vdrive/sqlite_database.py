"""SQLite: one thread writes, and puts whatever is waiting into one transaction; others read meanwhile.

So the cost of making a change durable is shared by all who wait for it.

Source: docs/spec/vdrive.md, section 11.1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from holdfast.grid.write_ahead_log import keep_write_ahead_log
from holdfast.interfaces.vdrive_errors import VdriveBusyError
from holdfast.servers.vdrive.database_errors import refusal_of

log = logging.getLogger(__name__)

READERS = 4  # threads
BATCH_MAX = 100  # changes in one transaction
BUSY_S = 5  # waiting for another process that writes
PAGE_SIZE = 8192  # bytes; an entry has about 500
WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 16 << 10  # each
CHECKPOINT_PAGES = 4096

T = TypeVar("T")


@dataclass(slots=True)
class _Work(Generic[T]):
    function: Callable[[Connection], T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    result: T | None = None
    error: Exception | None = None

    def answer(self) -> None:
        """Tell whoever waits. On the event loop."""
        if self.future.done():  # its waiter was cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # there is one where there is no error
        else:
            self.future.set_exception(self.error)


class SqliteDatabase:
    """See ``database.Database``.

    Attributes:
        writer: whose transactions begin by taking the right to write.
    """

    shared = False
    features = ("durable-sync",)

    def __init__(self, path: Path) -> None:
        # The files that SQLite puts beside it get the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.writer = _engine(path, "BEGIN IMMEDIATE", WRITER_CACHE_KIB, connections=1)
        self._reader = _engine(path, "BEGIN", READER_CACHE_KIB, connections=READERS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="vdrive-reads")
        self._waiting: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vdrive-writes", daemon=True)
        self._thread.start()

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        work: _Work[T] = _Work(function, loop, loop.create_future())
        self._waiting.put(work)
        return await work.future

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._readers.shutdown()
        self._reader.dispose()
        self.writer.dispose()

    # -- in the threads

    def _read(self, function: Callable[[Connection], T]) -> T:
        try:
            with self._reader.begin() as connection:
                return function(connection)
        except DBAPIError as error:
            raise refusal_of(error) from error

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._next_batch()
            if batch:
                self._write(batch)
                self._tell(batch)

    def _next_batch(self) -> tuple[list[_Work[Any]], bool]:
        batch: list[_Work[Any]] = []
        work = self._waiting.get()
        try:
            while work is not None:
                batch.append(work)
                if len(batch) == BATCH_MAX:
                    break
                work = self._waiting.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, work is not None

    def _write(self, batch: list[_Work[Any]]) -> None:
        if len(batch) == 1:
            self._write_alone(batch[0])
            return
        try:
            with self.writer.begin() as connection:
                for work in batch:
                    _write_one(connection, work)
        except Exception as error:
            # What was refused may have been refused for what now never happened.
            refusal = refusal_of(error) if isinstance(error, DBAPIError) else _broken(error)
            for work in batch:
                work.error = refusal

    def _write_alone(self, work: _Work[Any]) -> None:
        try:
            with self.writer.begin() as connection:
                work.result = work.function(connection)
        except DBAPIError as error:
            work.error = refusal_of(error)
        except Exception as error:
            work.error = error

    def _tell(self, batch: list[_Work[Any]]) -> None:
        for work in batch:
            try:
                work.loop.call_soon_threadsafe(work.answer)
            except RuntimeError:  # the event loop has ended without closing us
                log.debug("nobody is left to be told")


def _write_one(connection: Connection, work: _Work[Any]) -> None:
    try:
        with connection.begin_nested():
            work.result = work.function(connection)
    except OperationalError:
        raise  # locked, full, unreadable: SQLite may have undone everything
    except DBAPIError as error:
        work.error = refusal_of(error)
    except Exception as error:
        work.error = error


def _broken(error: Exception) -> VdriveBusyError:
    log.error("a transaction of the virtual drive server failed", exc_info=error)
    refusal = VdriveBusyError("the server could not do it")
    refusal.__cause__ = error
    return refusal


def _engine(path: Path, begin: str, cache_kib: int, *, connections: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # they have no place in logs
        connect_args={"check_same_thread": False, "timeout": BUSY_S, "cached_statements": 256},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin below
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # of a new database
        keep_write_ahead_log(connection, BUSY_S)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
