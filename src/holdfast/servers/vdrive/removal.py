"""How a directory goes: out of sight at once, its rows in small batches afterwards, so that nobody
has to wait while a million of them are deleted.

Out of sight means that its index and refresh id, by which alone it is found, become random ones. Then
another directory may take its place at once.

Source: docs/spec/vdrive.md, sections 11.6 and 12.4.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Column, Connection, Table, delete, select, update

from holdfast.servers.vdrive import accounts
from holdfast.servers.vdrive.tables import (
    REMOVED,
    STAGED,
    directories,
    entries,
    heads,
    leases,
    nodes,
    turns,
)

STAGED_MAX_S = 3600  # without progress, before a directory that is being loaded is given up


def remove(connection: Connection, dir_id: int) -> None:
    """Take a directory out of sight, and give back what its account was charged. It is locked already."""
    columns = directories.c
    row = connection.execute(
        select(columns.account_id, columns.entry_count, columns.byte_count).where(columns.id == dir_id)
    ).one()
    accounts.charge(connection, row.account_id, dirs=-1, entries=-row.entry_count, bytes=-row.byte_count)
    connection.execute(delete(leases).where(leases.c.dir_id == dir_id))
    connection.execute(delete(turns).where(turns.c.dir_id == dir_id))
    unknown = {"idx": secrets.token_bytes(32), "rid": secrets.token_bytes(32)}
    gone = {"state": REMOVED, "pinned": False, "condemned_at": None, "entry_count": 0, "byte_count": 0}
    connection.execute(update(directories).where(columns.id == dir_id).values(**unknown, **gone))


def give_up_staged(connection: Connection, now: int) -> None:
    """Remove what somebody began to load and did not finish."""
    columns = directories.c
    query = select(columns.id).where(columns.state == STAGED, columns.modified_at < now - STAGED_MAX_S)
    for dir_id in connection.scalars(query.with_for_update()).all():
        remove(connection, dir_id)


def delete_rows(connection: Connection, rows_max: int) -> bool:
    """Delete about so many rows of what was removed; False if there were none."""
    columns = directories.c
    query = select(columns.id).where(columns.state == REMOVED).limit(1).with_for_update(skip_locked=True)
    dir_id: int | None = connection.scalar(query)
    if dir_id is None:
        return False
    for table, key in ((entries, entries.c.slot), (nodes, nodes.c.prefix), (heads, heads.c.version)):
        if _delete_some(connection, table, key, dir_id, rows_max):
            return True
    connection.execute(delete(directories).where(columns.id == dir_id))
    return True


def _delete_some(
    connection: Connection, table: Table, key: Column[object], dir_id: int, rows_max: int
) -> bool:
    """Delete the first rows of a directory; False if there were none."""
    of_directory = table.c.dir_id == dir_id
    some = select(key).where(of_directory).order_by(key).limit(rows_max).subquery()
    last = connection.scalar(select(some.c[0]).order_by(some.c[0].desc()).limit(1))
    if last is None:
        return False
    connection.execute(delete(table).where(of_directory, key <= last))
    return True
