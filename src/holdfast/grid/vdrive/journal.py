"""The client's own commits, as they were sent: what was never answered is sent again, and what a server lost
can be given back to it.

The secrets that go with a commit are kept as well, so that it can be sent again as a whole by whoever
holds the capability of but one of its directories. They allow nothing without the signatures inside.

Source: docs/spec/vdrive.md, sections 6.6, 7.1, 9.1 and 14.7.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from holdfast.grid.vdrive.memory_database import MemoryDatabase

KEPT_S = 30 * 86400.0
KEPT_VERSIONS = 1000
KEPT_BYTES = 1 << 30
_TRIM_EVERY = 256  # commits


@dataclass(frozen=True, slots=True)
class JournalHead:
    """A head in a commit, and the enabler, 32 bytes, that goes with it."""

    index: bytes
    version: int
    head_hash: bytes
    enabler: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class JournalCommit:
    """A commit that was sent, or was about to be.

    Attributes:
        sid: of the service it was for; its enablers are for that one.
        request: encoded ``CommitRequest``.
        sent: Unix time.
        applied: the server said so. Otherwise nobody knows.
    """

    number: int
    sid: bytes
    request: bytes = field(repr=False)
    heads: tuple[JournalHead, ...] = field(repr=False)
    sent: float
    applied: bool


class Journal:
    """Every method raises VdriveMemoryError if the disk does not do its part."""

    def __init__(self, database: MemoryDatabase, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, sid: bytes, request: bytes, heads: Sequence[JournalHead]) -> int:
        """Note a commit that is about to be sent; return its number."""
        now = self._clock()

        def write(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO commits (sid, request, size, sent, applied) VALUES (?, ?, ?, ?, 0)",
                (sid, request, len(request), now),
            )
            number = cursor.lastrowid
            assert number is not None
            rows = [(number, h.index, h.version, h.head_hash, h.enabler) for h in heads]
            connection.executemany("INSERT INTO commit_heads VALUES (?, ?, ?, ?, ?)", rows)
            if number % _TRIM_EVERY == 0:  # many programs send but one
                _trim(connection, now)
            return number

        return await self._database.write(write, len(request))

    async def applied(self, number: int) -> None:
        """Note that the server has made a commit."""
        await self._database.write(
            lambda connection: connection.execute("UPDATE commits SET applied = 1 WHERE id = ?", (number,))
        )

    async def refused(self, number: int) -> None:
        """Forget a commit that was not made and never will be."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM commits WHERE id = ?", (number,))
        )

    async def gave_up(self, index: bytes, numbers: Sequence[int]) -> None:
        """Forget what commits were to do to one directory: its history went another way."""

        def write(connection: sqlite3.Connection) -> None:
            for number in numbers:
                connection.execute(
                    "DELETE FROM commit_heads WHERE commit_id = ? AND idx = ?", (number, index)
                )
                connection.execute(
                    "DELETE FROM commits WHERE id = ? AND NOT EXISTS"
                    " (SELECT 1 FROM commit_heads WHERE commit_id = ?)",
                    (number, number),
                )

        await self._database.write(write)

    def unanswered(self, index: bytes) -> list[JournalCommit]:
        """Return the commits of a directory whose fate is not known, oldest first."""
        return self._database.read(
            lambda connection: _commits(
                connection, "h.idx = ? AND NOT c.applied", (index,), "INDEXED BY commits_open CROSS JOIN"
            )
        )

    def following(self, index: bytes, version: int) -> list[JournalCommit]:
        """Return the commits that gave a directory, or were to give it, a version above ``version``."""
        return self._database.read(
            lambda connection: _commits(connection, "h.idx = ? AND h.version > ?", (index, version))
        )

    def newest_made(self, index: bytes, version: int) -> JournalCommit | None:
        """Return the commit that gave a directory the newest own version up to ``version``."""
        newest = (
            "c.id = (SELECT k.commit_id FROM commit_heads k JOIN commits d ON d.id = k.commit_id"
            " WHERE k.idx = ? AND k.version <= ? AND d.applied ORDER BY k.version DESC, d.id DESC LIMIT 1)"
        )
        found = self._database.read(lambda connection: _commits(connection, newest, (index, version)))
        return found[0] if found else None

    def order_of(self, index: bytes) -> list[tuple[int, int, bool]]:
        """Return number and version of each own head, and whether it was made, in the order of numbers."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, int, bool]]:
            rows = connection.execute(
                "SELECT c.id, h.version, c.applied FROM commit_heads h JOIN commits c ON c.id = h.commit_id"
                " WHERE h.idx = ? ORDER BY c.id, h.version",
                (index,),
            )
            return [(number, version, bool(applied)) for number, version, applied in rows]

        return self._database.read(read)

    def commit(self, number: int) -> JournalCommit | None:
        """Return one commit."""
        found = self._database.read(lambda connection: _commits(connection, "c.id = ?", (number,)))
        return found[0] if found else None

    def hashes_of(self, index: bytes, version: int) -> set[bytes]:
        """Return the hashes of own heads of one version that were made; several, if history was disowned."""

        def read(connection: sqlite3.Connection) -> set[bytes]:
            rows = connection.execute(
                "SELECT h.hash FROM commit_heads h JOIN commits c ON c.id = h.commit_id"
                " WHERE h.idx = ? AND h.version = ? AND c.applied",
                (index, version),
            )
            return {head_hash for (head_hash,) in rows}

        return self._database.read(read)


def _commits(
    connection: sqlite3.Connection, where: str, values: tuple[object, ...], join: str = "JOIN"
) -> list[JournalCommit]:
    rows = connection.execute(
        "SELECT DISTINCT c.id, c.sid, c.request, c.sent, c.applied"  # noqa: S608  (constants)
        f" FROM commits c {join} commit_heads h ON h.commit_id = c.id WHERE {where} ORDER BY c.id",
        values,
    ).fetchall()
    return [
        JournalCommit(number, sid, request, _heads(connection, number), sent, bool(applied))
        for number, sid, request, sent, applied in rows
    ]


def _heads(connection: sqlite3.Connection, number: int) -> tuple[JournalHead, ...]:
    rows = connection.execute(
        "SELECT idx, version, hash, enabler FROM commit_heads WHERE commit_id = ? ORDER BY idx, version",
        (number,),
    )
    return tuple(JournalHead(*row) for row in rows)


def _trim(connection: sqlite3.Connection, now: float) -> None:
    """Forget what is both old and far behind; and the oldest, as long as there is too much."""
    connection.execute(
        "DELETE FROM commits WHERE applied AND sent < ? AND id IN ("
        " SELECT h.commit_id FROM commit_heads h JOIN heads k ON k.idx = h.idx GROUP BY h.commit_id"
        " HAVING max(h.version - k.version) < ?)",
        (now - KEPT_S, -KEPT_VERSIONS),
    )
    (size,) = connection.execute("SELECT coalesce(sum(size), 0) FROM commits").fetchone()
    if size <= KEPT_BYTES:
        return
    for number, length in connection.execute(
        "SELECT id, size FROM commits WHERE applied ORDER BY id"
    ).fetchall():
        connection.execute("DELETE FROM commits WHERE id = ?", (number,))
        size -= length
        if size <= KEPT_BYTES:
            return
