"""What a client remembers of each directory, so that no server can go back behind it or tell two stories.

Source: docs/spec/vdrive.md, sections 7.1 and 7.2.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from holdfast.formats.vdrive.head import SignedHead
from holdfast.grid.vdrive.evidence import EvidenceKeeper
from holdfast.grid.vdrive.journal import Journal
from holdfast.grid.vdrive.memory_database import MemoryDatabase, VdriveMemoryError

log = structlog.get_logger(__name__)

CONTACT_S = 60.0  # the time of the last contact is kept with this precision
EVIDENCE_DIRECTORY = "vdrive-evidence"
_UNWRITTEN_MAX = 10_000  # directories remembered without a disk to write to


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The newest head of a directory that was verified here.

    Attributes:
        head_hash: 32 bytes.
        seen: Unix time at which it was seen first.
        contact: Unix time of the last answer that agreed with it.
        chain_verified: each head since the first one remembered was seen to follow the one before.
        base: version and hash of the last head before one that was not; a writer has yet to walk from there.
        bound: the newest version named by a parent that is known to be on this chain (7.5); -1: none.
    """

    version: int
    head_hash: bytes
    signed: SignedHead
    seen: float
    contact: float
    chain_verified: bool = True
    base: tuple[int, bytes] | None = None
    bound: int = -1


class VdriveMemory:
    """Heads by index, whatever the service, since a directory may move; and the journal of own commits.

    Attributes:
        journal: what was sent.
        evidence: what servers did that they must not.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """``path`` of the database; evidence is kept beside it. None: in memory, for as long as it lasts."""
        self._database = MemoryDatabase(path)
        self._clock = clock
        self._unwritten: dict[bytes, KnownHead] = {}
        self.journal = Journal(self._database, clock)
        self.evidence = EvidenceKeeper(None if path is None else path.parent / EVIDENCE_DIRECTORY, clock)

    def known(self, index: bytes) -> KnownHead | None:
        """Return what is remembered of a directory."""
        try:
            found = self._database.read(lambda connection: _head_of(connection, index))
        except VdriveMemoryError as error:
            log.warning("virtual drives are not protected by what was seen before", reason=str(error))
            found = None
        unwritten = self._unwritten.get(index)
        if unwritten is not None and (found is None or found.version < unwritten.version):
            return unwritten
        return found

    async def remember(
        self,
        index: bytes,
        version: int,
        head_hash: bytes,
        signed: SignedHead,
        *,
        chain_verified: bool = True,
        base: tuple[int, bytes] | None = None,
    ) -> None:
        """Remember a head, unless a newer one is remembered already."""
        now = self._clock()
        known = KnownHead(version, head_hash, signed, now, now, chain_verified, base)
        await self._put(index, known, _PUT_NEWER)

    async def caught_up(self, index: bytes, *, chain_verified: bool) -> None:
        """Note that a writer has walked from the base, as far as the server had kept the history."""
        await self._try(
            "UPDATE heads SET chain_verified = ?, base_version = NULL, base_hash = NULL WHERE idx = ?",
            (chain_verified, index),
        )

    async def replace(self, index: bytes, version: int, head_hash: bytes, signed: SignedHead) -> None:
        """Remember a head instead of any other: history was disowned."""
        now = self._clock()
        self._unwritten.pop(index, None)
        await self._put(index, KnownHead(version, head_hash, signed, now, now), _PUT_ANY)

    async def met(self, index: bytes, known: KnownHead) -> None:
        """Note that a server agreed just now with what is known."""
        now = self._clock()
        if now - known.contact >= CONTACT_S:
            await self._try("UPDATE heads SET contact = ? WHERE idx = ?", (now, index))

    async def bounded(self, index: bytes, version: int) -> None:
        """Note that the version that a parent names is on the chain that is remembered."""
        await self._try("UPDATE heads SET bound = max(bound, ?) WHERE idx = ?", (version, index))

    async def forget(self, index: bytes) -> None:
        """Forget a directory: whatever its server shows next is believed, if it is signed."""
        self._unwritten.pop(index, None)
        await self._try("DELETE FROM heads WHERE idx = ?", (index,))

    def close(self) -> None:
        """Store what is under way, and let go of the files."""
        self._database.close()

    async def _put(self, index: bytes, known: KnownHead, statement: str) -> None:
        if await self._try(statement, _row(index, known)):
            self._unwritten.pop(index, None)
            return
        if len(self._unwritten) >= _UNWRITTEN_MAX:
            self._unwritten.pop(next(iter(self._unwritten)))
        self._unwritten[index] = replace(known)

    async def _try(self, statement: str, values: tuple[object, ...]) -> bool:
        try:
            await self._database.write(lambda connection: connection.execute(statement, values))
        except VdriveMemoryError as error:
            log.warning(
                "what was seen of a virtual drive is remembered until the end only", reason=str(error)
            )
            return False
        return True


_PUT_ANY = "INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_NEWER = """INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (idx) DO UPDATE SET version = excluded.version, hash = excluded.hash, head = excluded.head,
        signature = excluded.signature, seen = excluded.seen, contact = excluded.contact,
        chain_verified = min(chain_verified, excluded.chain_verified),
        base_hash = CASE WHEN base_version IS NULL THEN excluded.base_hash ELSE base_hash END,
        base_version = coalesce(base_version, excluded.base_version)
    WHERE excluded.version > version"""


def _row(index: bytes, known: KnownHead) -> tuple[object, ...]:
    return (
        index,
        known.version,
        known.head_hash,
        known.signed.head,
        known.signed.signature,
        known.seen,
        known.contact,
        known.chain_verified,
        *(known.base or (None, None)),
        known.bound,
    )


def _head_of(connection: sqlite3.Connection, index: bytes) -> KnownHead | None:
    row = connection.execute(
        "SELECT version, hash, head, signature, seen, contact, chain_verified, base_version, base_hash, bound"
        " FROM heads WHERE idx = ?",
        (index,),
    ).fetchone()
    if row is None:
        return None
    version, head_hash, head, signature, seen, contact, chain_verified, base_version, base_hash, bound = row
    base = None if base_version is None else (base_version, base_hash)
    signed = SignedHead(head, signature)
    return KnownHead(version, head_hash, signed, seen, contact, bool(chain_verified), base, bound)
