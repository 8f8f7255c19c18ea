"""What a virtual drive server keeps of one directory, for its operator: nothing of it can be read.

Source: docs/spec/vdrive.md, sections 11.2 and 16; docs/spec/seed-map.md, X-16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.interfaces.vdrive_errors import NoSuchDirectoryError
from holdfast.servers.vdrive.reading import ENTRY_COLUMNS
from holdfast.servers.vdrive.tables import CONDEMNED, directories, entries, heads, leases

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class StoredDirectory:
    """A directory.

    Attributes:
        id: of its row.
        account: id of the one that it is charged to.
        size: bytes that it is charged.
        leases: their ends, Unix seconds.
        heads: how many are kept.
    """

    id: int
    index: bytes
    refresh_id: bytes
    verify_key: bytes
    commitment: bytes
    head: SignedHead
    account: int
    size: int
    condemned: bool
    leases: tuple[int, ...]
    heads: int


def describe(connection: Connection, index: bytes) -> StoredDirectory:
    """Return the directory whose index begins with these bytes.

    Raises:
        NoSuchDirectoryError: there is none, or more than one.
    """
    end = index + b"\xff" * (32 - len(index))
    first = index + bytes(32 - len(index))
    rows = connection.execute(
        select(directories).where(directories.c.idx >= first, directories.c.idx <= end).limit(2)
    ).all()
    if len(rows) != 1:
        raise NoSuchDirectoryError(f"{'more than one directory' if rows else 'no directory'} has this index")
    return _stored(connection, rows[0])


def entries_of(connection: Connection, directory_id: int) -> Iterator[SealedEntry]:
    """Yield the entries that there are now, in the order of their slots."""
    after = b""
    query = (
        select(*ENTRY_COLUMNS)
        .where(entries.c.dir_id == directory_id, entries.c.v_to.is_(None))
        .order_by(entries.c.slot)
        .limit(ROWS_AT_ONCE)
    )
    while rows := connection.execute(query.where(entries.c.slot > after)).all():
        for row in rows:
            yield SealedEntry._make(row)
        after = rows[-1].slot


def _stored(connection: Connection, row: Any) -> StoredDirectory:
    head = connection.execute(
        select(heads.c.head, heads.c.sig).where(heads.c.dir_id == row.id, heads.c.version == row.version)
    ).one()
    ends = connection.execute(select(leases.c.expires_at).where(leases.c.dir_id == row.id)).scalars().all()
    kept = connection.execute(select(func.count()).where(heads.c.dir_id == row.id)).scalar_one()
    return StoredDirectory(
        row.id,
        row.idx,
        row.rid,
        row.vk,
        row.rc,
        SignedHead(head.head, head.sig),
        row.account_id,
        row.byte_count,
        row.state == CONDEMNED,
        tuple(sorted(ends)),
        kept,
    )
