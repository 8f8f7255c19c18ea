"""Has an SQLite database keep a write-ahead log, so that it can be read while somebody writes."""

from __future__ import annotations

import random
import sqlite3
import time

_PAUSE_MAX_S = 0.05


def keep_write_ahead_log(connection: sqlite3.Connection, busy_s: float) -> None:
    """Begin to keep the log, if the database has none yet.

    Whoever opens a new database wants this at the same time as others may; SQLite refuses it at once
    then, however long the connection is ready to wait.

    Args:
        connection: outside of a transaction.
        busy_s: how long to try.

    Raises:
        sqlite3.OperationalError: others kept the database busy all the time, or it cannot be written.
    """
    end = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(random.uniform(0, _PAUSE_MAX_S))  # noqa: S311  (to come apart, not to be secret)
        else:
            return
