"""Import: a bundle becomes a directory, or brings one that is there to a later version.

Everything is proven while it comes in, and stored where nobody finds it; only once the whole bundle has
proved right it takes its place, in one transaction. What is stored so far is charged to the account that
imports, so that nobody fills the disk with what never comes to an end.

Source: docs/spec/vdrive.md, section 14.4.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection, Row, insert, select, update

from holdfast.crypto.vdrive_keys import enabler_proof_holds, log_name, stored_enabler
from holdfast.formats.vdrive.bundle import BadBundleError, BundleHeader, BundleReader
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import Head, head_hash, parse_head
from holdfast.interfaces.vdrive import Committed
from holdfast.interfaces.vdrive_errors import (
    BadProofError,
    DirectoryExistsError,
    RefusedBundleError,
    VdriveBusyError,
    VdriveTooLargeError,
)
from holdfast.servers.vdrive import accounts, leases, removal
from holdfast.servers.vdrive.database import Database
from holdfast.servers.vdrive.node_rows import pack
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import LIVE, STAGED, directories, entries, heads, nodes
from holdfast.servers.vdrive.tables import leases as lease_rows
from holdfast.servers.vdrive.tree_rows import NewRow, recomputed

log = logging.getLogger(__name__)

PIECE = 256 * 1024  # bytes that are looked at, and stored, at once
ROWS_STEP = 1000
LONG_AGO = 0
"""When heads of bundles were committed, as far as it matters: versions before the newest are not here."""


class Right(Protocol):
    """By what right a directory is brought in."""

    def stored_enabler(self, header: BundleHeader, settings: VdriveServerSettings) -> bytes:
        """Return the hash of the write enabler that it gets.

        Raises:
            BadProofError: the enabler is not one that a writer chose for this server.
        """
        ...

    def account(self, connection: Connection, settings: VdriveServerSettings) -> int:
        """Return the id of the account that it is charged to.

        Raises:
            NotAuthorisedToCreateError: there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Importer:
    """Somebody who imports, with the enabler of a writer and the token of an account."""

    enabler: bytes
    proof: bytes
    token: str | None

    def stored_enabler(self, header: BundleHeader, settings: VdriveServerSettings) -> bytes:
        stored = stored_enabler(self.enabler)
        if not enabler_proof_holds(header.verify_key, header.index, settings.sid, stored, self.proof):
            raise BadProofError("the proof does not hold for this enabler at this server")
        return stored

    def account(self, connection: Connection, settings: VdriveServerSettings) -> int:
        return accounts.account_of(connection, self.token, settings)


async def import_bundle(
    database: Database,
    settings: VdriveServerSettings,
    clock: Callable[[], float],
    index: bytes,
    bundle: AsyncIterator[bytes],
    importer: Right,
) -> Committed:
    """Take the directory ``index`` from a bundle.

    Raises:
        RefusedBundleError: it is no bundle, not this directory's, cut off, or not what its head vouches for.
        BadProofError: the enabler is not one that a writer chose for this server.
        DirectoryExistsError: it is here, and what is here is not an earlier version that the bundle knows of.
        QuotaExceededError, NotAuthorisedToCreateError, VdriveTooLargeError: nothing was stored.
    """
    loading = _Loading(database, settings, clock, importer, BundleReader(index))
    try:
        return await loading.run(bundle)
    except BadBundleError as error:
        raise RefusedBundleError(str(error)) from None
    finally:
        await asyncio.shield(loading.clean_up())


class _Loading:
    """One import."""

    def __init__(
        self,
        database: Database,
        settings: VdriveServerSettings,
        clock: Callable[[], float],
        importer: Right,
        reader: BundleReader,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._importer = importer
        self._reader = reader
        self._header: BundleHeader | None = None
        self._staged: int | None = None  # id of the directory, until it has its place

    async def run(self, bundle: AsyncIterator[bytes]) -> Committed:
        async for piece in _pieces(bundle):
            loaded = await asyncio.to_thread(self._reader.feed, piece)
            if self._header is None and self._reader.header is not None:
                self._header = self._reader.header
                present = await self._begin(self._header)
                if present is not None:
                    return present
            if loaded:
                await self._store(loaded)
        self._reader.finish()
        await self._build_tree()
        return await self._put_in_place()

    async def clean_up(self) -> None:
        """Remove what has not found its place."""
        staged, self._staged = self._staged, None
        if staged is not None:
            try:
                await self._database.write(lambda c: _give_up(c, staged))
            except Exception as error:  # then the housekeeping does it
                log.warning("what was imported in vain could not be removed yet: %s", error)

    @property
    def _head(self) -> Head:
        assert self._reader.head is not None
        return self._reader.head

    async def _begin(self, header: BundleHeader) -> Committed | None:
        """Prepare to store the directory; return what is here already, if it is the same."""
        importer, settings = self._importer, self._settings
        stored = importer.stored_enabler(header, settings)
        if self._head.count > settings.max_children:
            raise VdriveTooLargeError(f"a directory has at most {settings.max_children} entries")
        head, now = self._head, int(self._clock())

        def begin(connection: Connection) -> int | None:
            account = importer.account(connection, settings)
            current = _current(connection, header.index)
            if current is not None and _is_same(current, header, head):
                return None
            return _stage(connection, header, head, stored, account, now)

        self._staged = await self._database.write(begin)
        return _committed(header, head) if self._staged is None else None

    async def _store(self, loaded: Sequence[SealedEntry]) -> None:
        digests = await asyncio.to_thread(digests_of, loaded)
        staged, now = self._staged, int(self._clock())
        rows = [
            {
                "dir_id": staged,
                "slot": entry.slot,
                "v_from": entry.version,
                "n": entry.name,
                "w": entry.write,
                "r": entry.read,
                "m": entry.metadata,
                "digest": digest,
            }
            for entry, digest in zip(loaded, digests, strict=True)
        ]
        size = sum(accounts.entry_size(entry[2:]) for entry in loaded)

        def store(connection: Connection) -> None:
            columns = directories.c
            this = update(directories).where(columns.id == staged, columns.state == STAGED)
            more = {
                "entry_count": columns.entry_count + len(rows),
                "byte_count": columns.byte_count + size,
                "modified_at": now,
            }
            if connection.execute(this.values(more)).rowcount == 0:
                raise VdriveBusyError("the import took too long between two pieces; begin again")
            account = connection.execute(select(columns.account_id).where(columns.id == staged)).scalar_one()
            connection.execute(insert(entries), rows)
            accounts.charge(connection, account, dirs=0, entries=len(rows), bytes=size)

        await self._database.write(store)

    async def _build_tree(self) -> None:
        """Store the rows of the tree. It takes long, so nobody who writes waits for it to be computed."""
        staged, version = self._staged, self._head.version
        assert staged is not None
        rows: list[dict[str, object]] = []

        def found(new: list[NewRow]) -> None:
            for row in new:
                packed = pack(row.parts)
                rows.append({"dir_id": staged, "prefix": row.prefix, "v_from": version, "subtrees": packed})

        root = await self._database.read(lambda c: recomputed(c, staged, found))
        assert root == (self._head.root, self._head.count), "the bundle was proven"
        for start in range(0, len(rows), ROWS_STEP):
            await self._database.write(partial(_insert_nodes, rows[start : start + ROWS_STEP]))

    async def _put_in_place(self) -> Committed:
        header, head, staged, now = self._header, self._head, self._staged, int(self._clock())
        assert header is not None
        assert staged is not None

        def put(connection: Connection) -> bool:
            current = _current(connection, header.index)
            if current is None:
                _appear(connection, staged, header, {"created_at": now}, now)
                leases.grant(connection, staged, None, None, now)
                return True
            if _is_same(current, header, head):
                return False
            _replace(connection, current, staged, header, now)
            return True

        if await self._database.write(put):
            self._staged = None
            log.info("directory %s was imported at version %d", log_name(header.index), head.version)
        return _committed(header, head)


def _insert_nodes(rows: Sequence[dict[str, object]], connection: Connection) -> None:
    connection.execute(insert(nodes), rows)


async def _pieces(bundle: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the bundle in pieces of about one size."""
    held = bytearray()
    async for data in bundle:
        held += data
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _committed(header: BundleHeader, head: Head) -> Committed:
    return Committed(header.index, head.version, head_hash(header.head.head))


def _current(connection: Connection, index: bytes) -> Row[Any] | None:
    query = select(directories).where(directories.c.idx == index)
    return connection.execute(query.with_for_update()).one_or_none()


def _is_same(current: Row[Any], header: BundleHeader, head: Head) -> bool:
    """Tell whether the bundle holds what is here.

    Raises:
        DirectoryExistsError: and that what is here is not before it, either.
    """
    if (current.version, current.head_hash) == (head.version, head_hash(header.head.head)):
        return True
    back = head.version - current.version
    if not 1 <= back <= len(header.tail) or head_hash(header.tail[-back].head) != current.head_hash:
        raise DirectoryExistsError(
            "the directory is here, and what is here is not an earlier version that the bundle knows of"
        )
    return False


def _stage(
    connection: Connection, header: BundleHeader, head: Head, enabler: bytes, account: int, now: int
) -> int:
    """Make the row of the directory, which nobody can find, and its heads; return its id."""
    accounts.charge(connection, account, dirs=1, entries=0, bytes=accounts.DIRECTORY_SIZE)
    row = insert(directories).values(
        idx=secrets.token_bytes(32),
        rid=secrets.token_bytes(32),
        vk=header.verify_key,
        rc=header.commitment,
        we_hash=enabler,
        account_id=account,
        version=head.version,
        head_hash=head_hash(header.head.head),
        root=head.root,
        entry_count=0,
        byte_count=accounts.DIRECTORY_SIZE,
        pinned=False,
        state=STAGED,
        created_at=now,
        modified_at=now,
    )
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    chain = [
        {
            "dir_id": key[0],
            "version": parse_head(signed.head).version,
            "head": signed.head,
            "sig": signed.signature,
            "committed_at": LONG_AGO,
        }
        for signed in (*header.tail, header.head)
    ]
    connection.execute(insert(heads), chain)
    dir_id: int = key[0]
    return dir_id


def _appear(
    connection: Connection, staged: int, header: BundleHeader, values: dict[str, object], now: int
) -> None:
    """Give the directory its place."""
    columns = directories.c
    this = update(directories).where(columns.id == staged, columns.state == STAGED)
    place = {"idx": header.index, "rid": header.refresh_id, "state": LIVE, "modified_at": now}
    if connection.execute(this.values(**place, **values)).rowcount == 0:
        raise VdriveBusyError("the import took too long; begin again")


def _replace(connection: Connection, old: Row[Any], staged: int, header: BundleHeader, now: int) -> None:
    """Put the directory in the place of an earlier version; its owner, its leases and its past stay."""
    columns = directories.c
    new = connection.execute(select(directories).where(columns.id == staged)).one()
    first = parse_head(header.tail[0].head).version
    past = update(heads).where(heads.c.dir_id == old.id, heads.c.version < first)
    connection.execute(past.values(dir_id=staged, committed_at=LONG_AGO))
    connection.execute(update(lease_rows).where(lease_rows.c.dir_id == old.id).values(dir_id=staged))
    removal.remove(connection, old.id)
    if old.account_id != new.account_id:
        counts = {"dirs": 1, "entries": new.entry_count, "bytes": new.byte_count}
        accounts.charge(connection, new.account_id, **{name: -count for name, count in counts.items()})
        accounts.charge(connection, old.account_id, **counts)
    kept = {"account_id": old.account_id, "pinned": old.pinned, "created_at": old.created_at}
    _appear(connection, staged, header, kept, now)
    leases.extend_owner(connection, staged, now)


def _give_up(connection: Connection, staged: int) -> None:
    columns = directories.c
    query = select(columns.id).where(columns.id == staged, columns.state == STAGED)
    if connection.scalar(query.with_for_update()) is not None:
        removal.remove(connection, staged)
