"""Reads of one directory: its head, some entries with their proof. All within one snapshot.

Source: docs/spec/vdrive.md, sections 8.5 and 11.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.opening import witness_of
from holdfast.interfaces.vdrive import SLOTS_MAX, Context, DirectoryInfo
from holdfast.interfaces.vdrive_errors import (
    MalformedVdriveRequestError,
    NoSuchDirectoryError,
    VdriveTooLargeError,
)
from holdfast.servers.vdrive import leases
from holdfast.servers.vdrive.live_rows import LIVE_INDEX, LiveKeys
from holdfast.servers.vdrive.node_rows import Node
from holdfast.servers.vdrive.stored_tree import StoredTree
from holdfast.servers.vdrive.tables import CONDEMNED, directories, entries, heads

SLOT_SIZE = 32


class StoredDirectory(NamedTuple):
    """A directory at its current version.

    Attributes:
        root: of its tree.
        head: the current one.
    """

    id: int
    version: int
    root: Node
    head: SignedHead


def find(connection: Connection, index: bytes) -> StoredDirectory:
    """Return the directory of an index.

    Raises:
        NoSuchDirectoryError: there is none.
    """
    row = connection.execute(_FIND, {"index": index}).one_or_none()
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    return StoredDirectory(
        row.id, row.version, Node(row.root, row.entry_count), SignedHead(row.head, row.sig)
    )


def describe(connection: Connection, index: bytes, now: int) -> DirectoryInfo:
    """Return what is known of a directory."""
    row = connection.execute(_DESCRIBE, {"index": index}).one_or_none()
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    return DirectoryInfo(
        SignedHead(row.head, row.sig),
        row.vk,
        row.rc,
        row.state == CONDEMNED,
        row.byte_count,
        leases.latest(connection, row.id, now),
    )


def context(connection: Connection, index: bytes, slots: Sequence[bytes]) -> Context:
    """Return the entries of these slots, as they are now, with one proof for all."""
    if not slots or any(len(slot) != SLOT_SIZE for slot in slots):
        raise MalformedVdriveRequestError("slots have 32 bytes, and there is at least one")
    if len(slots) > SLOTS_MAX:
        raise VdriveTooLargeError(f"at most {SLOTS_MAX} slots can be asked for at once")
    return context_of(connection, index, find(connection, index), slots)


def context_of(
    connection: Connection, index: bytes, directory: StoredDirectory, slots: Sequence[bytes]
) -> Context:
    """Return the context of a directory that was found; without slots, the proof is its root alone."""
    wanted = sorted(set(slots))
    tree = StoredTree(connection, directory.id, directory.root)
    tree.load_paths(wanted)
    found = _ENTRIES.find(connection, directory.id, wanted)
    return Context(
        index, directory.head, witness_of(tree, wanted), tuple([SealedEntry._make(row) for row in found])
    )


ENTRY_COLUMNS = (
    entries.c.slot,
    entries.c.v_from,
    entries.c.n,
    entries.c.w,
    entries.c.r,
    entries.c.m,
)
"""In the order of ``SealedEntry``."""

_WITH_HEAD = directories.join(
    heads, (heads.c.dir_id == directories.c.id) & (heads.c.version == directories.c.version)
)
_FIND = (
    select(
        directories.c.id,
        directories.c.version,
        directories.c.root,
        directories.c.entry_count,
        heads.c.head,
        heads.c.sig,
    )
    .select_from(_WITH_HEAD)
    .where(directories.c.idx == bindparam("index"))
)
_DESCRIBE = (
    select(
        directories.c.id,
        directories.c.vk,
        directories.c.rc,
        directories.c.state,
        directories.c.byte_count,
        heads.c.head,
        heads.c.sig,
    )
    .select_from(_WITH_HEAD)
    .where(directories.c.idx == bindparam("index"))
)
_ENTRIES = LiveKeys(entries, entries.c.slot, LIVE_INDEX, *ENTRY_COLUMNS)
