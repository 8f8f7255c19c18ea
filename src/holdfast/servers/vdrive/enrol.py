"""Write enablers: the first gate before a directory, and how one is registered at this server.

A server keeps an enabler as its hash, and accepts a new one only with a signature by the directory's
own key over that hash and the server's id. So a copy of the database lets nobody write, an enabler
seen at one server is worth nothing at another, and no reader can put one of its own in place.

Source: docs/spec/vdrive.md, sections 4.1, 8.4 and 8.9.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, update

from holdfast.crypto.vdrive_keys import enabler_proof_holds, stored_enabler
from holdfast.interfaces.vdrive_errors import BadProofError, BadWriteEnablerError, NoSuchDirectoryError
from holdfast.servers.vdrive.tables import directories

ENABLER_SIZE = 32  # bytes


def directories_of_writer(connection: Connection, enablers: Mapping[bytes, bytes]) -> list[int]:
    """Return the numbers of directories to whoever has their enablers, by index.

    They are locked in the order in which commits lock.

    Raises:
        NoSuchDirectoryError: there is no such directory.
        BadWriteEnablerError: an enabler is another one.
    """
    rows = connection.execute(_LOCK, {"indices": list(enablers)}).all()
    if len(rows) < len(enablers):
        raise NoSuchDirectoryError("this server has no such directory")
    if not all(enabler_matches(row.we_hash, enablers[row.idx]) for row in rows):
        raise BadWriteEnablerError("the write enabler is not that of the directory")
    return [row.id for row in rows]


def enabler_matches(stored: bytes, enabler: bytes | None) -> bool:
    """Tell, in constant time, whether ``stored`` was made from this enabler."""
    return enabler is not None and hmac.compare_digest(stored_enabler(enabler), stored)


def enrol(connection: Connection, sid: bytes, index: bytes, enabler: bytes, proof: bytes) -> None:
    """Register the enabler that the writers of a directory have for the server ``sid``.

    Raises:
        NoSuchDirectoryError: there is no such directory.
        BadProofError: the proof is none of a writer of the directory for this enabler and server.
    """
    columns = directories.c
    row = connection.execute(select(columns.id, columns.vk).where(columns.idx == index)).one_or_none()
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    stored = stored_enabler(enabler)
    if not enabler_proof_holds(row.vk, index, sid, stored, proof):
        raise BadProofError("the proof does not hold for this enabler at this server")
    connection.execute(update(directories).where(columns.id == row.id).values(we_hash=stored))


_LOCK = (
    select(directories.c.id, directories.c.idx, directories.c.we_hash)
    .where(directories.c.idx.in_(bindparam("indices", expanding=True)))
    .order_by(directories.c.id)
    .with_for_update()
)
