"""Where the newest version seen of each mutable file is remembered, so that servers cannot go back behind it.

A node keeps it in a database in its private directory; programs without a node, in memory. It only grows
less certain: the versions of files not used for the longest time are forgotten first.

Source: docs/spec/mutable.md, section 4.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import structlog

from holdfast.grid.write_ahead_log import keep_write_ahead_log
from holdfast.planning.rollback import RememberedVersion

log = structlog.get_logger(__name__)

FILES_MAX = 100_000
BUSY_S = 1.0  # another process may hold the database as long as that
_SPARE = 1000  # files by which the database may exceed that, between two looks


_TRIM = """DELETE FROM versions WHERE storage_index IN
    (SELECT storage_index FROM versions ORDER BY used DESC LIMIT -1 OFFSET ?)"""


class RollbackStore(Protocol):
    """Versions by storage index. Nothing here raises: what cannot be kept is not."""

    def get(self, index: bytes) -> RememberedVersion | None: ...

    def put(self, index: bytes, version: RememberedVersion) -> None:
        """Remember ``version`` instead of whatever was."""
        ...

    def forget(self, index: bytes) -> None: ...

    def close(self) -> None: ...


class MemoryRollbackStore:
    """Remembers as long as the program runs."""

    def __init__(self, files_max: int = FILES_MAX) -> None:
        self._files_max = files_max
        self._versions: OrderedDict[bytes, RememberedVersion] = OrderedDict()

    def get(self, index: bytes) -> RememberedVersion | None:
        return self._versions.get(index)

    def put(self, index: bytes, version: RememberedVersion) -> None:
        self._versions[index] = version
        self._versions.move_to_end(index)
        if len(self._versions) > self._files_max:
            self._versions.popitem(last=False)

    def forget(self, index: bytes) -> None:
        self._versions.pop(index, None)

    def close(self) -> None:
        pass


class FileRollbackStore:
    """Remembers in an SQLite database, which several processes may use. Only its owner can read it."""

    def __init__(self, path: Path, files_max: int = FILES_MAX) -> None:
        """``path`` of the database: opened, or made, once it is needed; a damaged one is begun anew."""
        self._path = path
        self._files_max = files_max
        self._puts = 0
        self._opened: sqlite3.Connection | None = None

    def get(self, index: bytes) -> RememberedVersion | None:
        try:
            row = (
                self._database()
                .execute("SELECT sequence, root_hash FROM versions WHERE storage_index = ?", (index,))
                .fetchone()
            )
        except (sqlite3.Error, OSError) as error:
            log.warning("a remembered version cannot be read", reason=str(error))
            return None
        # SQLite's numbers end at 2**63, sequence numbers at 2**64: they are kept as text.
        return None if row is None else RememberedVersion(int(row[0]), bytes(row[1]))

    def put(self, index: bytes, version: RememberedVersion) -> None:
        try:
            with self._database() as database:
                database.execute(
                    "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?)",
                    (index, str(version.sequence), version.root_hash, time.time()),
                )
                self._puts += 1
                if self._puts % _SPARE == 0:
                    database.execute(_TRIM, (self._files_max,))
        except (sqlite3.Error, OSError) as error:
            log.warning("a version cannot be remembered", reason=str(error))

    def forget(self, index: bytes) -> None:
        try:
            with self._database() as database:
                database.execute("DELETE FROM versions WHERE storage_index = ?", (index,))
        except (sqlite3.Error, OSError) as error:
            log.warning("a remembered version cannot be forgotten", reason=str(error))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = self._open()
            except sqlite3.DatabaseError as error:
                if not isinstance(error, sqlite3.OperationalError):
                    self._begin_anew(error)
                self._opened = self._open()
        return self._opened

    def _begin_anew(self, error: Exception) -> None:
        log.warning("remembered versions are lost", path=str(self._path), reason=str(error))
        for name in (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
            name.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        database = sqlite3.connect(self._path, timeout=BUSY_S)
        try:
            keep_write_ahead_log(database, BUSY_S)
            database.execute("PRAGMA synchronous = NORMAL")
            with database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS versions"
                    " (storage_index BLOB PRIMARY KEY, sequence TEXT, root_hash BLOB, used REAL)"
                )
                database.execute("CREATE INDEX IF NOT EXISTS versions_by_use ON versions (used)")
        except BaseException:
            database.close()
            raise
        return database
