"""Who wants a directory kept, and until when.

Whoever holds a refresh capability may have one lease of its own: it is kept under the hash of a
secret, and renewed and cancelled only by who shows the secret. The lease of the directory's owner
has no secret; it is renewed by commits.

Source: docs/spec/vdrive.md, section 12.1.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select, update

from holdfast.crypto.vdrive_keys import stored_lease_secret
from holdfast.interfaces.vdrive import LeaseInfo
from holdfast.interfaces.vdrive_errors import NoSuchDirectoryError, TooManyLeasesError
from holdfast.servers.vdrive.tables import CONDEMNED, LIVE, directories, leases

DAY_S = 24 * 3600
LEASE_DEFAULT_S = 31 * DAY_S
LEASE_MIN_S = DAY_S
LEASE_MAX_S = 366 * DAY_S
LEASES_MAX = 64  # of one directory
OWNER = bytes(32)  # stands for the hash of a secret, which no secret has


def grant(
    connection: Connection, dir_id: int, secret_hash: bytes | None, seconds: int | None, now: int
) -> int:
    """Renew a lease, or add it, and return when it expires. It never becomes shorter.

    Args:
        secret_hash: which lease; None for that of the owner.
        seconds: brought within the bounds of this server; None for what the server thinks right.

    Raises:
        TooManyLeasesError: there are too many, and none of them ends before this one would.
    """
    expires = now + _clipped(seconds)
    # The row of the directory is locked, so that leases can be counted.
    lock = select(directories.c.state).where(directories.c.id == dir_id).with_for_update()
    state: int | None = connection.scalar(lock)
    if state is None:
        raise _no_such_directory()
    lease_hash = OWNER if secret_hash is None else secret_hash
    known: int | None = connection.scalar(
        select(leases.c.expires_at).where(leases.c.dir_id == dir_id, leases.c.lease_hash == lease_hash)
    )
    if known is None:
        if secret_hash is not None:
            _make_room(connection, dir_id, expires, now)
        row = {"dir_id": dir_id, "lease_hash": lease_hash, "created_at": now, "expires_at": expires}
        connection.execute(insert(leases).values(row))
    elif known < expires:
        one = update(leases).where(leases.c.dir_id == dir_id, leases.c.lease_hash == lease_hash)
        connection.execute(one.values(expires_at=expires))
    else:
        expires = known
    if state == CONDEMNED:
        revive = update(directories).where(directories.c.id == dir_id)
        connection.execute(revive.values(state=LIVE, condemned_at=None))
    return expires


def extend_owner(connection: Connection, dir_id: int, now: int) -> None:
    """Renew the owner's lease, as a commit does."""
    grant(connection, dir_id, None, None, now)


def renew(connection: Connection, refresh_id: bytes, secret: bytes, seconds: int, now: int) -> int:
    """Renew or add the lease of ``secret``; see ``grant``."""
    return grant(connection, _directory(connection, refresh_id), stored_lease_secret(secret), seconds, now)


def cancel(connection: Connection, refresh_id: bytes, secret: bytes) -> None:
    """Cancel the lease of ``secret``, if there is one, and no other."""
    dir_id = _directory(connection, refresh_id)
    lease_hash = stored_lease_secret(secret)
    connection.execute(delete(leases).where(leases.c.dir_id == dir_id, leases.c.lease_hash == lease_hash))


def info(connection: Connection, refresh_id: bytes, now: int) -> LeaseInfo:
    """Return how long a directory is kept, and by how many."""
    dir_id = _directory(connection, refresh_id)
    query = select(func.max(leases.c.expires_at), func.count())
    row = connection.execute(query.where(leases.c.dir_id == dir_id, leases.c.expires_at > now)).one()
    return LeaseInfo(row[0], row[1])


def latest(connection: Connection, dir_id: int, now: int) -> int | None:
    """Return when the last lease of a directory expires; None if it has none."""
    found: int | None = connection.scalar(
        select(func.max(leases.c.expires_at)).where(leases.c.dir_id == dir_id, leases.c.expires_at > now)
    )
    return found


def delete_expired(connection: Connection, now: int) -> None:
    """Delete the leases that are over."""
    connection.execute(delete(leases).where(leases.c.expires_at <= now))


def _clipped(seconds: int | None) -> int:
    return LEASE_DEFAULT_S if seconds is None else min(max(seconds, LEASE_MIN_S), LEASE_MAX_S)


def _make_room(connection: Connection, dir_id: int, expires: int, now: int) -> None:
    """See that another lease may be added. That of the owner is none that could have to go."""
    others = (leases.c.dir_id == dir_id, leases.c.lease_hash != OWNER)
    connection.execute(delete(leases).where(*others, leases.c.expires_at <= now))
    query = select(leases.c.lease_hash, leases.c.expires_at).where(*others)
    held = connection.execute(query.order_by(leases.c.expires_at)).all()
    if len(held) < LEASES_MAX - 1:
        return
    first = held[0]
    if first.expires_at >= expires:
        raise TooManyLeasesError(f"the directory has {LEASES_MAX} leases, all of which are longer")
    connection.execute(delete(leases).where(*others, leases.c.lease_hash == first.lease_hash))


def _directory(connection: Connection, refresh_id: bytes) -> int:
    found: int | None = connection.scalar(select(directories.c.id).where(directories.c.rid == refresh_id))
    if found is None:
        raise _no_such_directory()
    return found


def _no_such_directory() -> NoSuchDirectoryError:
    return NoSuchDirectoryError("this server has no such directory")
