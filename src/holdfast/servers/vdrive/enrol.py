"""Write enablers: the first gate before a directory, and how one is registered at this server.

A server keeps an enabler as its hash, and accepts a new one only with a signature by the directory's
own key over that hash and the server's id. So a copy of the database lets nobody write, an enabler
seen at one server is worth nothing at another, and no reader can put one of its own in place.

Source: docs/spec/vdrive.md, sections 4.1, 8.4 and 8.9.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from holdfast.crypto.vdrive_keys import enabler_proof_holds, stored_enabler
from holdfast.interfaces.vdrive_errors import BadProofError, BadWriteEnablerError, NoSuchDirectoryError
from holdfast.servers.vdrive.tables import directories

ENABLER_SIZE = 32  # bytes


class WritersDirectory(NamedTuple):
    """A directory whose enabler was shown."""

    id: int
    verify_key: bytes


def directory_of_writer(connection: Connection, index: bytes, enabler: bytes) -> WritersDirectory:
    """Return the directory of an index, locked, to whoever has its enabler.

    Raises:
        NoSuchDirectoryError: there is no such directory.
        BadWriteEnablerError: the enabler is another one.
    """
    columns = directories.c
    query = select(columns.id, columns.vk, columns.we_hash).where(columns.idx == index).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    if not enabler_matches(row.we_hash, enabler):
        raise BadWriteEnablerError("the write enabler is not that of the directory")
    return WritersDirectory(row.id, row.vk)


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
