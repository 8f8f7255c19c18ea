"""Invitations: secrets that an operator hands out, each good for joining the grid once.

Only their hashes are kept. All functions run inside a transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from holdfast.protocol.invitation import SECRET_SIZE
from holdfast.servers.introducer.refusals import FullError
from holdfast.servers.introducer.settings import DAY_S
from holdfast.servers.introducer.tables import invitations_table

KEEP_USED_S = 7 * DAY_S  # redeemed and expired ones, for whoever wonders

_columns = invitations_table.c


@dataclass(frozen=True, slots=True)
class StoredInvitation:
    """What an invitation is for: a ``client`` or a ``server``, and the nickname it shall have."""

    role: str
    nickname: str


def create(
    connection: Connection, role: str, nickname: str, *, now: float, life_s: float, outstanding_max: int
) -> bytes:
    """Return the secret of a new invitation, 10 bytes.

    Raises:
        FullError: too many are outstanding.
    """
    outstanding = connection.scalar(
        select(func.count()).where(_columns.redeemed.is_(None), _columns.expires > now)
    )
    if (outstanding or 0) >= outstanding_max:
        raise FullError(f"{outstanding} invitations have not been redeemed yet")
    secret = os.urandom(SECRET_SIZE)
    row = {
        "hash": _hash(secret),
        "role": role,
        "nickname": nickname,
        "created": int(now),
        "expires": int(now + life_s),
        "redeemed": None,
    }
    connection.execute(insert(invitations_table).values(row))
    return secret


def redeem(connection: Connection, secret: bytes, now: float) -> StoredInvitation | None:
    """Return what ``secret`` invites to and make it worthless; None if it is worth nothing.

    How long this takes says nothing of a secret: what is looked for is its hash.
    """
    hashed = _hash(secret)
    row = connection.execute(
        select(_columns.hash, _columns.role, _columns.nickname).where(
            _columns.hash == hashed, _columns.redeemed.is_(None), _columns.expires > now
        )
    ).one_or_none()
    if row is None or not hmac.compare_digest(row[0], hashed):
        return None
    connection.execute(invitations_table.update().where(_columns.hash == hashed).values(redeemed=int(now)))
    return StoredInvitation(row[1], row[2])


def sweep(connection: Connection, now: float) -> None:
    """Forget invitations that have long been worthless."""
    before = now - KEEP_USED_S
    connection.execute(
        delete(invitations_table).where((_columns.expires < before) | (_columns.redeemed < before))
    )


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(b"holdfast invitation:" + secret).digest()
