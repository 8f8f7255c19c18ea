"""Databases that keep a write-ahead log."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.grid.write_ahead_log import keep_write_ahead_log

HELD_S = 0.3


def journal_mode(connection: sqlite3.Connection) -> str:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "database")) as connection:
        connection.execute("CREATE TABLE one (x)")
    return tmp_path / "database"


def writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_the_log_is_kept_from_then_on(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        keep_write_ahead_log(connection, 1)
    with closing(sqlite3.connect(path)) as connection:
        assert journal_mode(connection) == "wal"


def test_a_database_that_somebody_writes_to_is_waited_for(path: Path) -> None:
    with closing(writer(path)) as other, closing(sqlite3.connect(path, timeout=5)) as connection:
        timer = threading.Timer(HELD_S, other.execute, ["COMMIT"])
        timer.start()
        keep_write_ahead_log(connection, 5)
        timer.join()
        assert journal_mode(connection) == "wal"


def test_a_database_that_stays_busy_is_given_up_in_time(path: Path) -> None:
    with closing(writer(path)), closing(sqlite3.connect(path, timeout=5)) as connection:
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            keep_write_ahead_log(connection, HELD_S)
        assert HELD_S <= time.monotonic() - began < 5


def test_other_errors_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "database").write_bytes(b"no database" * 100)
    with closing(sqlite3.connect(tmp_path / "database")) as connection, pytest.raises(sqlite3.DatabaseError):
        keep_write_ahead_log(connection, 60)
