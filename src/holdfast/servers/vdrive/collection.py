"""Collection of directories that nobody wants any more: condemned when their last lease is over,
deleted after a time of grace, kept as a bundle if there is an archive. Off unless it was asked for,
since with a directory the capabilities in it are lost.

Source: docs/spec/vdrive.md, section 12.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, select, update

from holdfast.servers.vdrive.removal import remove
from holdfast.servers.vdrive.tables import CONDEMNED, LIVE, directories, leases


@dataclass(frozen=True, slots=True)
class Due:
    """A directory whose time of grace is over, at the version it had."""

    dir_id: int
    index: bytes
    version: int
    size: int
    modified_at: int


def condemn(connection: Connection, now: int, batch_max: int) -> Sequence[bytes]:
    """Condemn directories without a lease, so many at most; return their indices."""
    columns = directories.c
    query = select(columns.id, columns.idx).where(columns.state == LIVE, *_unwanted(now))
    rows = connection.execute(query.limit(batch_max).with_for_update()).all()
    if rows:
        these = update(directories).where(columns.id.in_([row.id for row in rows]))
        connection.execute(these.values(state=CONDEMNED, condemned_at=now))
    return [row.idx for row in rows]


def due(connection: Connection, now: int, grace_s: int, batch_max: int) -> Sequence[Due]:
    """Return directories that are to be deleted now, so many at most."""
    query = select(*_DUE).where(*_condemned(now, grace_s)).order_by(directories.c.condemned_at)
    return [Due(*row) for row in connection.execute(query.limit(batch_max)).all()]


def delete_due(connection: Connection, one: Due, now: int, grace_s: int) -> bool:
    """Delete a directory, if it still is as it was found; return whether it was."""
    columns = directories.c
    query = select(columns.id).where(
        columns.id == one.dir_id, columns.version == one.version, *_condemned(now, grace_s)
    )
    if connection.scalar(query.with_for_update()) is None:
        return False
    remove(connection, one.dir_id)
    return True


_DUE = (
    directories.c.id,
    directories.c.idx,
    directories.c.version,
    directories.c.byte_count,
    directories.c.modified_at,
)


def _condemned(now: int, grace_s: int) -> tuple[ColumnElement[bool], ...]:
    columns = directories.c
    return columns.state == CONDEMNED, columns.condemned_at <= now - grace_s, *_unwanted(now)


def _unwanted(now: int) -> tuple[ColumnElement[bool], ...]:
    lease = exists().where(leases.c.dir_id == directories.c.id, leases.c.expires_at > now)
    return directories.c.pinned.is_(False), ~lease
