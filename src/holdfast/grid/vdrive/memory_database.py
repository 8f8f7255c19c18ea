"""The SQLite database in which a client keeps what it must not forget.

Several processes may use it. Readers never wait for writers. What is small is written at once; if that would
have to wait for somebody, a thread does it. A damaged file is put aside and begun anew.

Source: docs/spec/vdrive.md, section 7.1.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from holdfast.errors import UnavailableError
from holdfast.grid.write_ahead_log import keep_write_ahead_log

log = structlog.get_logger(__name__)

T = TypeVar("T")

BUSY_S = 5.0  # another process may hold the database as long as that
AT_ONCE_MAX = 64 * 1024  # bytes written without a thread
CHECKPOINT_EVERY = 500  # transactions
READ_ATTEMPTS, READ_PAUSE_S = 50, 0.01
_TABLES = (
    """CREATE TABLE IF NOT EXISTS heads (
        idx BLOB PRIMARY KEY, version INTEGER NOT NULL, hash BLOB NOT NULL, head BLOB NOT NULL,
        signature BLOB NOT NULL, seen REAL NOT NULL, contact REAL NOT NULL,
        chain_verified INTEGER NOT NULL, base_version INTEGER, base_hash BLOB, bound INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS commits (
        id INTEGER PRIMARY KEY AUTOINCREMENT, sid BLOB NOT NULL, request BLOB NOT NULL, size INTEGER NOT NULL,
        sent REAL NOT NULL, applied INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS commit_heads (
        commit_id INTEGER NOT NULL REFERENCES commits ON DELETE CASCADE, idx BLOB NOT NULL,
        version INTEGER NOT NULL, hash BLOB NOT NULL, enabler BLOB NOT NULL,
        PRIMARY KEY (commit_id, idx, version))""",
    "CREATE INDEX IF NOT EXISTS commit_heads_by_version ON commit_heads (idx, version)",
    "CREATE INDEX IF NOT EXISTS commits_open ON commits (id) WHERE NOT applied",
)


class VdriveMemoryError(UnavailableError):
    """What has to be kept on this machine cannot be: its disk is full, say."""


class MemoryDatabase:
    """Opened, or made, once it is needed. Only its owner can read it."""

    def __init__(self, path: Path | None) -> None:
        """``path``: None keeps everything in memory, for programs without a node."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-vdrive-memory")
        self._opening = threading.Lock()
        self._here: sqlite3.Connection | None = None  # used by the event loop's thread, never waits
        self._there: sqlite3.Connection | None = None  # used by the other thread
        self._since_checkpoint = 0

    def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``job`` finds. It takes no longer than a look into a file.

        Raises:
            VdriveMemoryError: the database cannot be read.
        """
        for left in reversed(range(READ_ATTEMPTS)):
            try:
                return job(self._connections()[0])
            except (sqlite3.Error, OSError) as error:
                if not left or not _is_busy(error):
                    raise VdriveMemoryError(
                        f"what is known of virtual drives cannot be read: {error}"
                    ) from None
            time.sleep(READ_PAUSE_S)  # somebody recovers the file after a crash: rare, and soon over
        raise AssertionError

    async def write(self, job: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Run ``job`` in one transaction, and return what it returns once that is stored.

        Args:
            size: bytes to be written, if they are many.

        Raises:
            VdriveMemoryError: it cannot be stored.
        """
        loop = asyncio.get_running_loop()
        self._since_checkpoint += 1
        if self._since_checkpoint >= CHECKPOINT_EVERY and self._path is not None:
            self._since_checkpoint = 0
            loop.run_in_executor(self._thread, self._checkpoint)
        if size <= AT_ONCE_MAX or self._path is None:
            try:
                return _in_transaction(self._connections()[0], job)
            except (sqlite3.Error, OSError) as error:
                if not _is_busy(error):
                    raise _unwritten(error) from None
        return await loop.run_in_executor(self._thread, self._write, job)

    def close(self) -> None:
        """Store what is under way, and let go of the file."""
        self._thread.shutdown(wait=True)
        for connection in (self._here, self._there):
            if connection is not None:
                connection.close()
        self._here = self._there = None

    def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return _in_transaction(self._connections()[1], job)
        except (sqlite3.Error, OSError) as error:
            raise _unwritten(error) from None

    def _checkpoint(self) -> None:
        try:
            self._connections()[1].execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, OSError) as error:
            log.warning("what is known of virtual drives is not tidied", reason=str(error))

    def _connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """Return the connection for the event loop's thread and the one for the other."""
        with self._opening:
            if self._here is None or self._there is None:
                self._here, self._there = self._open()
            return self._here, self._there

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        if self._path is None:
            only = _prepared(_connected(":memory:", BUSY_S))
            return only, only
        try:
            there = _opened(self._path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            _put_aside(self._path, error)
            there = _opened(self._path)
        here = _connected(self._path, 0.0)
        here.execute("PRAGMA synchronous = NORMAL")
        here.execute("PRAGMA foreign_keys = ON")
        here.execute("PRAGMA wal_autocheckpoint = 0")  # it takes time
        return here, there


def _in_transaction(connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        return job(connection)


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname.startswith("SQLITE_BUSY")


def _unwritten(error: Exception) -> VdriveMemoryError:
    return VdriveMemoryError(f"what is done on virtual drives cannot be noted: {error}")


def _connected(path: Path | str, timeout_s: float) -> sqlite3.Connection:
    """Return a connection on which a transaction begins where it is said to begin. One thread uses it."""
    return sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)


def _opened(path: Path) -> sqlite3.Connection:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    return _prepared(_connected(path, BUSY_S))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        keep_write_ahead_log(connection, BUSY_S)
        # A crash of the machine may cost the last moments of memory, never its consistency.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in _TABLES:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _put_aside(path: Path, error: Exception) -> None:
    log.warning("what was known of virtual drives is damaged; begun anew", path=str(path), reason=str(error))
    path.replace(f"{path}.damaged")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
