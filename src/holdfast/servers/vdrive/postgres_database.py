"""PostgreSQL: some threads, with a transaction each. Other servers may do the same meanwhile.

Source: docs/spec/vdrive.md, sections 11.1, 11.4 and 14.2.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from holdfast.servers.vdrive.database_errors import refusal_of, sql_state

READERS = 8  # threads, each with a connection of its own
WRITERS = 8
ATTEMPTS = 3
PAUSE_S = 0.02  # at most, before the second attempt
LOCK_TIMEOUT_S = 5
CONNECT_TIMEOUT_S = 10

_NOT_SERIALISABLE, _DEADLOCK, _LOCKED = "40001", "40P01", "55P03"
_ENDING = "57P"  # the server is being stopped or started

T = TypeVar("T")


class PostgresDatabase:
    """See ``database.Database``.

    Attributes:
        writer: whose transactions see what others commit meanwhile; locks of rows give the order.
    """

    shared = True

    def __init__(self, place: URL) -> None:
        self.writer = create_engine(
            place.set(drivername="postgresql+psycopg"),
            pool_size=READERS + WRITERS,
            max_overflow=0,
            hide_parameters=True,  # they have no place in logs
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        event.listen(self.writer, "connect", _set_up)
        with self.writer.connect() as connection:
            standby = connection.exec_driver_sql("SHOW synchronous_standby_names").scalar_one()
        # Whether a commit that was answered survives the loss of the machine of the database.
        self.features = ("durable-sync" if standby else "durable-async",)
        self._reader = self.writer.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="vdrive-reads")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="vdrive-writes")

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, self._write, function)

    def close(self) -> None:
        self._writers.shutdown()
        self._readers.shutdown()
        self.writer.dispose()

    # -- in the threads

    def _read(self, function: Callable[[Connection], T]) -> T:
        return _repeated(lambda: self._read_once(function))

    def _read_once(self, function: Callable[[Connection], T]) -> T:
        with self._reader.begin() as connection:
            return function(connection)

    def _write(self, function: Callable[[Connection], T]) -> T:
        return _repeated(lambda: self._write_once(function))

    def _write_once(self, function: Callable[[Connection], T]) -> T:
        with self.writer.connect() as connection, connection.begin() as transaction:
            result = function(connection)
            try:
                transaction.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _UnknownOutcomeError(error) from error
                raise
            return result


class _UnknownOutcomeError(Exception):
    """The connection was lost while a transaction was being committed."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__("it is not known whether a transaction was committed")
        self.error = error


def _repeated(attempt: Callable[[], T]) -> T:
    """Return the result of ``attempt``, made again where that may help and can do no harm."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except _UnknownOutcomeError as unknown:
            raise refusal_of(unknown.error) from unknown
        except DBAPIError as error:
            if number == ATTEMPTS or not _may_pass(error):
                raise refusal_of(error) from error
        time.sleep(random.uniform(0, PAUSE_S * number))  # noqa: S311  (nothing is secret about it)
    raise AssertionError("every attempt returns or raises")


def _may_pass(error: DBAPIError) -> bool:
    state = sql_state(error)
    return (
        error.connection_invalidated
        or state in (_NOT_SERIALISABLE, _DEADLOCK, _LOCKED)
        or state.startswith(_ENDING)
    )


def _set_up(connection: psycopg.Connection, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        cursor.execute("SET synchronous_commit = on")
    connection.commit()
