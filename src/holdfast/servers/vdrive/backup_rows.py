"""What a backup takes from the rows of a server, beside its bundles, and how the rows come back.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from holdfast.errors import InputError
from holdfast.formats.vdrive.backup import BackedAccount, BackedDirectory, BackedLease, BackupCatalogue
from holdfast.formats.vdrive.bundle import BundleHeader
from holdfast.servers.vdrive import accounts, public_root, tables
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import CONDEMNED, LIVE, directories, leases, meta

RESTORING = "restoring"  # key in vd_meta: the hash of the catalogue that is being restored
NO_LIMIT = 2**62


class DirectoryRow(NamedTuple):
    """A directory as its row describes it; ``idx`` is its index."""

    idx: bytes
    version: int
    head_hash: bytes
    enabler_hash: bytes
    account: int
    pinned: bool
    created_at: int
    modified_at: int
    condemned_at: int | None
    size: int
    leases: tuple[BackedLease, ...]


@dataclass(frozen=True, slots=True)
class ServerRows:
    """All rows that a backup needs, of one moment; those of directories in the order of indices."""

    public_root: bytes | None
    accounts: tuple[BackedAccount, ...]
    directories: Sequence[DirectoryRow]


def read_rows(connection: Connection) -> ServerRows:
    """Return the rows of a server."""
    held: defaultdict[int, list[BackedLease]] = defaultdict(list)
    columns = leases.c
    query = select(columns.dir_id, columns.lease_hash, columns.created_at, columns.expires_at)
    for dir_id, *lease in connection.execute(query.order_by(columns.dir_id, columns.lease_hash)):
        held[dir_id].append(BackedLease(*lease))
    found = [
        DirectoryRow(*row[1:], leases=tuple(held[row.id]))
        for row in connection.execute(_DIRECTORIES.order_by(directories.c.idx))
    ]
    root = connection.scalar(select(meta.c.value).where(meta.c.key == public_root.META_KEY))
    kept = connection.execute(_ACCOUNTS.order_by(tables.accounts.c.id))
    return ServerRows(root, tuple(BackedAccount(*row) for row in kept), found)


@dataclass(frozen=True, slots=True)
class Restorer:
    """The right of the operator, who brings back what was there (``importing.Right``)."""

    enabler_hash: bytes
    account_id: int

    def stored_enabler(self, header: BundleHeader, settings: VdriveServerSettings) -> bytes:
        return self.enabler_hash

    def account(self, connection: Connection, settings: VdriveServerSettings) -> int:
        return self.account_id


def begin_restoring(
    connection: Connection, settings: VdriveServerSettings, catalogue: BackupCatalogue, mark: bytes, now: int
) -> dict[int, int]:
    """Make the accounts, without limits; return their new ids by the old ones.

    Args:
        mark: of the catalogue. An attempt with the same one is taken up again.

    Raises:
        InputError: the database holds directories already.
    """
    begun = connection.scalar(select(meta.c.value).where(meta.c.key == RESTORING))
    if begun is None:
        if connection.scalar(select(func.count()).select_from(directories)):
            raise InputError("the database holds directories; restore into one that is empty")
        connection.execute(insert(meta).values(key=RESTORING, value=mark))
        if catalogue.public_root is not None:
            connection.execute(insert(meta).values(key=public_root.META_KEY, value=catalogue.public_root))
    elif begun != mark:
        raise InputError("another backup is being restored into this database; make it empty first")
    accounts.prepare(connection, settings, now)
    ids = {}
    for one in catalogue.accounts:
        ids[one.id] = one.id if one.token_hash is None else _account(connection, one)
    free = {"max_dirs": NO_LIMIT, "max_entries": NO_LIMIT, "max_bytes": NO_LIMIT}
    connection.execute(update(tables.accounts).values(free))
    return ids


def put_back(connection: Connection, directory: BackedDirectory) -> None:
    """Give a directory, which is there again, what its row and its leases said."""
    columns = directories.c
    dir_id = connection.execute(select(columns.id).where(columns.idx == directory.idx)).scalar_one()
    values = {
        "pinned": directory.pinned,
        "state": LIVE if directory.condemned_at is None else CONDEMNED,
        "created_at": directory.created_at,
        "modified_at": directory.modified_at,
        "condemned_at": directory.condemned_at,
    }
    connection.execute(update(directories).where(columns.id == dir_id).values(values))
    connection.execute(delete(leases).where(leases.c.dir_id == dir_id))
    if directory.leases:
        connection.execute(
            insert(leases), [{"dir_id": dir_id, **lease._asdict()} for lease in directory.leases]
        )


def end_restoring(
    connection: Connection,
    settings: VdriveServerSettings,
    catalogue: BackupCatalogue,
    ids: dict[int, int],
    now: int,
) -> None:
    """Give the accounts their limits."""
    accounts.prepare(connection, settings, now)
    for one in catalogue.accounts:
        if one.token_hash is not None:
            limits = {
                "max_dirs": one.max_dirs,
                "max_entries": one.max_entries,
                "max_bytes": one.max_bytes,
            }
            this = update(tables.accounts).where(tables.accounts.c.id == ids[one.id])
            connection.execute(this.values(**limits, disabled=one.disabled))
    connection.execute(delete(meta).where(meta.c.key == RESTORING))


def _account(connection: Connection, one: BackedAccount) -> int:
    columns = tables.accounts.c
    found: int | None = connection.scalar(select(columns.id).where(columns.token_hash == one.token_hash))
    if found is not None:
        return found
    row = {
        "label": one.label,
        "token_hash": one.token_hash,
        "max_dirs": one.max_dirs,
        "max_entries": one.max_entries,
        "max_bytes": one.max_bytes,
        "used_dirs": 0,
        "used_entries": 0,
        "used_bytes": 0,
        "disabled": one.disabled,
        "created_at": one.created_at,
    }
    key = connection.execute(insert(tables.accounts).values(row)).inserted_primary_key
    assert key is not None
    made: int = key[0]
    return made


_DIRECTORIES = select(
    directories.c.id,
    directories.c.idx,
    directories.c.version,
    directories.c.head_hash,
    directories.c.we_hash,
    directories.c.account_id,
    directories.c.pinned,
    directories.c.created_at,
    directories.c.modified_at,
    directories.c.condemned_at,
    directories.c.byte_count,
).where(directories.c.state.in_((LIVE, CONDEMNED)))
_ACCOUNTS = select(
    tables.accounts.c.id,
    tables.accounts.c.label,
    tables.accounts.c.token_hash,
    tables.accounts.c.max_dirs,
    tables.accounts.c.max_entries,
    tables.accounts.c.max_bytes,
    tables.accounts.c.disabled,
    tables.accounts.c.created_at,
)
