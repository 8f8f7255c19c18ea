"""Export: a directory at one version as a stream, and as a file of the archive.

Source: docs/spec/vdrive.md, sections 12.4 and 14.4.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from holdfast.crypto import base32
from holdfast.formats.vdrive.bundle import TAIL_MAX, BundleHeader, encode_end, encode_entry, encode_header
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.servers.vdrive.database import Database
from holdfast.servers.vdrive.history import snapshot
from holdfast.servers.vdrive.reading import ENTRY_COLUMNS
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.stored_tree import visible_at
from holdfast.servers.vdrive.tables import directories, entries, heads

ENTRIES_STEP = 500


class _Start(NamedTuple):
    version: int
    entries: int
    header: bytes


class _Step(NamedTuple):
    last: bytes
    data: bytes


async def export(
    database: Database, settings: VdriveServerSettings, clock: Callable[[], float], index: bytes
) -> AsyncIterator[bytes]:
    """Yield the bundle of the current version of a directory.

    Raises:
        NoSuchDirectoryError: there is none. This comes before anything else.
        SnapshotExpiredError: it took longer than this version is kept.
    """
    start = await database.read(lambda c: _start(c, settings, int(clock()), index))
    yield start.header
    after = b""
    while True:
        next_step = partial(_step, settings=settings, now=int(clock()), index=index, version=start.version)
        step = await database.read(partial(next_step, after=after))
        if step is None:
            break
        after = step.last
        yield step.data
    yield encode_end(start.entries)


async def archive(
    database: Database,
    settings: VdriveServerSettings,
    clock: Callable[[], float],
    index: bytes,
    directory: Path,
) -> Path:
    """Keep the bundle of a directory as a file, whole and on stable storage; return its path.

    Raises:
        OSError: it cannot be written.
    """
    descriptor, temporary = await asyncio.to_thread(tempfile.mkstemp, ".new", ".bundle-", directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for piece in export(database, settings, clock, index):
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(_flush, file.fileno(), file.flush)
        path = directory / f"{base32.encode(index)}.bundle"
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    await asyncio.to_thread(_synchronise_directory, directory)
    return path


def _flush(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _synchronise_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _start(connection: Connection, settings: VdriveServerSettings, now: int, index: bytes) -> _Start:
    shown = snapshot(connection, index, None, settings, now)
    row = connection.execute(_KEYS, {"dir_id": shown.id}).one()
    tail = _tail(connection, shown.id, shown.version)
    header = BundleHeader(index, row.rid, row.vk, row.rc, shown.head, tail, now)
    return _Start(shown.version, shown.root.total, encode_header(header))


def _tail(connection: Connection, dir_id: int, version: int) -> tuple[SignedHead, ...]:
    """Return the heads before ``version``, oldest first, as far back as none is missing."""
    first = max(0, version - TAIL_MAX)
    found: list[SignedHead] = []
    for row in connection.execute(_HEADS, {"dir_id": dir_id, "first": first, "last": version - 1}):
        if row.version != version - 1 - len(found):
            break
        found.append(SignedHead(row.head, row.sig))
    return tuple(reversed(found))


def _step(
    connection: Connection,
    *,
    settings: VdriveServerSettings,
    now: int,
    index: bytes,
    version: int,
    after: bytes,
) -> _Step | None:
    """Return the next entries of a version, which has to be still kept; None if there are no more."""
    shown = snapshot(connection, index, version, settings, now)
    found = connection.execute(_ENTRIES, {"dir_id": shown.id, "after": after, "version": version}).all()
    if not found:
        return None
    return _Step(found[-1].slot, b"".join([encode_entry(SealedEntry(*row)) for row in found]))


_KEYS = select(directories.c.rid, directories.c.vk, directories.c.rc).where(
    directories.c.id == bindparam("dir_id")
)
_HEADS = (
    select(heads.c.version, heads.c.head, heads.c.sig)
    .where(
        heads.c.dir_id == bindparam("dir_id"), heads.c.version.between(bindparam("first"), bindparam("last"))
    )
    .order_by(heads.c.version.desc())
)
_ENTRIES = (
    select(*ENTRY_COLUMNS)
    .where(
        entries.c.dir_id == bindparam("dir_id"),
        entries.c.slot > bindparam("after"),
        visible_at(bindparam("version")),
    )
    .order_by(entries.c.slot)
    .limit(ENTRIES_STEP)
)
