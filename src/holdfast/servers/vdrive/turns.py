"""Turns: for a few seconds only one writer may commit to a directory, so that slow ones get through.

Source: docs/spec/vdrive.md, section 8.8.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from holdfast.crypto.vdrive_keys import tagged
from holdfast.interfaces.vdrive import Turn
from holdfast.interfaces.vdrive_errors import TurnTakenError
from holdfast.servers.vdrive.enrol import directories_of_writer
from holdfast.servers.vdrive.tables import directories, turns

TURN_SIZE = 16  # bytes
TTL_S = 3
FREE_S = 1  # between a turn that expired and the next one
_TICK_S = 1  # times are whole seconds: so much longer, lest it be shorter than was said


def take(connection: Connection, enablers: Mapping[bytes, bytes], now: int) -> Turn:
    """Give out one turn of some directories to a writer of them all.

    Args:
        enablers: by index.

    Raises:
        NoSuchDirectoryError: there is no such directory.
        BadWriteEnablerError: the enabler is not that of the directory.
        TurnTakenError: somebody has the turn, or had it until just now.
    """
    turn = secrets.token_bytes(TURN_SIZE)
    for dir_id in directories_of_writer(connection, enablers):
        _take(connection, dir_id, _stored(turn), now)
    return Turn(turn, TTL_S)


def _take(connection: Connection, dir_id: int, turn_hash: bytes, now: int) -> None:
    current = connection.execute(select(turns).where(turns.c.dir_id == dir_id)).one_or_none()
    if current is not None and now < current.free_until:
        raise _taken((current.expires_at if now < current.expires_at else current.free_until) - now)
    expires = now + TTL_S + _TICK_S
    values = {"turn_hash": turn_hash, "expires_at": expires, "free_until": expires + FREE_S + _TICK_S}
    if current is None:
        connection.execute(insert(turns).values(dir_id=dir_id, **values))
    else:
        connection.execute(update(turns).where(turns.c.dir_id == dir_id).values(values))


def check(connection: Connection, dir_id: int, presented: bytes | None, now: int) -> None:
    """See that a commit which shows this turn, or none, is not in the turn of somebody else.

    Raises:
        TurnTakenError: it is.
    """
    current = connection.execute(_CURRENT, {"dir_id": dir_id}).one_or_none()
    if current is None or now >= current.expires_at:
        return
    if presented is None or not hmac.compare_digest(_stored(presented), current.turn_hash):
        raise _taken(current.expires_at - now)


def release(connection: Connection, presented: Mapping[bytes, bytes], now: int) -> None:
    """End the turns, by index, in which a commit was made, whether it changed their directories or not."""
    if presented:
        values = {"indices": list(presented), "hashes": list(map(_stored, presented.values())), "now": now}
        connection.execute(_RELEASE, values)


def delete_expired(connection: Connection, now: int) -> None:
    """Delete the turns that are over."""
    connection.execute(delete(turns).where(turns.c.free_until <= now))


_RELEASE = delete(turns).where(
    turns.c.dir_id.in_(
        select(directories.c.id).where(directories.c.idx.in_(bindparam("indices", expanding=True)))
    ),
    turns.c.turn_hash.in_(bindparam("hashes", expanding=True)),
    turns.c.expires_at > bindparam("now"),
)
_CURRENT = select(turns.c.turn_hash, turns.c.expires_at).where(turns.c.dir_id == bindparam("dir_id"))


def _stored(turn: bytes) -> bytes:
    return tagged("turn-store", turn)


def _taken(wait_s: int) -> TurnTakenError:
    return TurnTakenError("it is somebody else's turn to commit", retry_after_s=wait_s)
