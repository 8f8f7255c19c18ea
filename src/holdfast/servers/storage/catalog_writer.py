"""Writes to the catalog: one thread, which puts whatever is waiting into one transaction.

So the cost of making a transaction durable is shared by all who wait for it.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from holdfast.interfaces.storage_errors import NoSpaceError
from holdfast.servers.storage.catalog import ADD_TO_TOTALS, STATEMENTS, Catalog, Changes, Step
from holdfast.servers.storage.disk import Disk, refusal_of

BATCH_MAX = 1000  # changes in one transaction


class UnfinishedMoveError(Exception):
    """A change is on stable storage, but its file is not in its place yet; that will be tried again."""


MakeChanges = Callable[[], Changes]
_Ready = tuple[Changes, "asyncio.Future[None]"]
_Waiting = tuple[Changes | MakeChanges, "asyncio.Future[None]"]


class CatalogWriter:
    """The only writer of a catalog. Made and used on the event loop; ``close`` ends its thread."""

    def __init__(self, catalog: Catalog, disk: Disk) -> None:
        self._catalog = catalog
        self._disk = disk
        # Compiled once: a transaction of a few rows would spend half its time on that.
        dialect = catalog.engine.dialect
        self._texts = {step: str(text.compile(dialect=dialect)) for step, text in STATEMENTS.items()}
        self._add_to_totals = str(ADD_TO_TOTALS.compile(dialect=dialect))
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="storage-catalog", daemon=True)
        self._thread.start()

    async def commit(self, changes: Changes) -> None:
        """Return once ``changes`` are on stable storage, and what was to come afterwards has been done.

        They are committed even if the caller is cancelled meanwhile.

        Raises:
            NoSpaceError: the file system has no room; nothing changed.
            UnfinishedMoveError: the changes are made, but not all that was to come afterwards.
        """
        await self.submit(changes)

    def submit(self, changes: Changes | MakeChanges) -> asyncio.Future[None]:
        """Have ``changes`` committed; the future tells when they are. Do not cancel it.

        A function is called by the thread that commits, right before, and returns the changes. What it
        raises becomes the outcome, and nothing is committed of it.
        """
        future = self._loop.create_future()
        self._waiting.put((changes, future))
        return future

    def close(self) -> None:
        """Commit what is waiting and end. Blocks."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = self._catalog.engine.connect()
        closing = False
        while not closing:
            batch: list[_Waiting] = []
            item = self._waiting.get()
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH_MAX or self._waiting.empty():
                    break
                item = self._waiting.get()
            closing = item is None
            if ready := self._made(batch):
                self._commit_batch(connection, ready)
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
        connection.close()

    def _made(self, items: list[_Waiting]) -> list[_Ready]:
        """Have the changes made that are still to be made; answer those that cannot be."""
        ready: list[_Ready] = []
        failed: list[tuple[asyncio.Future[None], Exception | None]] = []
        for changes, future in items:
            try:
                ready.append((changes if isinstance(changes, Changes) else changes(), future))
            except Exception as error:
                failed.append((future, error))
        if failed:
            self._loop.call_soon_threadsafe(_answer, failed)
        return ready

    def _commit_batch(self, connection: Connection, batch: list[_Ready]) -> None:
        outcomes: list[Exception | None]
        try:
            self._transact(connection, [changes for changes, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame: each for itself
                for item in batch:
                    self._commit_batch(connection, [item])
                return
            outcomes = [_as_refusal(error)]
        else:
            outcomes = [_do(changes) for changes, _ in batch]
        answers = [(future, outcome) for (_, future), outcome in zip(batch, outcomes, strict=True)]
        self._loop.call_soon_threadsafe(_answer, answers)

    def _transact(self, connection: Connection, batch: list[Changes]) -> None:
        parameters: defaultdict[Step, list[dict[str, Any]]] = defaultdict(list)
        for changes in batch:
            for step, values in changes.steps:
                parameters[step].append(values)
        more_shares = sum(changes.more_shares for changes in batch)
        more_bytes = sum(changes.more_bytes for changes in batch)
        try:
            cursor = connection.connection.cursor()
            for step in sorted(parameters):
                cursor.executemany(self._texts[step], parameters[step])
            if more_shares or more_bytes:
                cursor.execute(self._add_to_totals, {"more_shares": more_shares, "more_bytes": more_bytes})
            cursor.close()
            self._disk.commit(connection.connection.commit)
        except BaseException:
            connection.connection.rollback()
            raise


def _do(changes: Changes) -> Exception | None:
    try:
        if changes.afterwards is not None:
            changes.afterwards()
    except OSError as error:
        unfinished = UnfinishedMoveError(f"a file could not be put into its place: {error.strerror}")
        unfinished.__cause__ = error
        return unfinished
    except Exception as error:
        return error
    return None


def _answer(answers: list[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for future, outcome in answers:
        if future.done():  # its waiter was cancelled
            continue
        if outcome is None:
            future.set_result(None)
        else:
            future.set_exception(outcome)


def _as_refusal(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        refusal = NoSpaceError("the disk is full")
        refusal.__cause__ = error
        return refusal
    return refusal_of(error) if isinstance(error, OSError) else error
