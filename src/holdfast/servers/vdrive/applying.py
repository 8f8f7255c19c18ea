"""What a section of a commit does to its directory, once it is known to follow the current head.

Source: docs/spec/vdrive.md, sections 8.4 (checks 8 and 9), 11.3 and 11.4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, insert, update

from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.operations import Add
from holdfast.interfaces.vdrive_errors import (
    OperationsMismatchError,
    RootMismatchError,
    VdriveTooLargeError,
)
from holdfast.servers.vdrive import accounts, leases
from holdfast.servers.vdrive.node_rows import Node
from holdfast.servers.vdrive.preparing import PreparedSection
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.stored_tree import StoredTree
from holdfast.servers.vdrive.tables import CONDEMNED, directories, entries, heads
from holdfast.servers.vdrive.tree_rows import TreeChange

LEASE_EXTENSION_S = 3600
"""So long after a commit, the owner's lease is not extended again."""


class Charge(NamedTuple):
    """What an account is charged; less than nothing is given back."""

    dirs: int
    entries: int
    bytes: int


def apply(
    connection: Connection,
    section: PreparedSection,
    row: Row[Any],
    settings: VdriveServerSettings,
    now: int,
) -> Charge:
    """Change one directory; return what that costs."""
    version = section.head.version
    committed_at = max(now, row.modified_at)  # it does not go back, whatever clocks do
    tree = StoredTree(connection, row.id, Node(row.root, row.entry_count))
    change = TreeChange(tree, section.slots)
    freed = _check_conditions(section, change)
    root = change.apply(section.digests, section.deleted)
    if root != (section.head.root, section.head.count):
        raise RootMismatchError("a head names another content than its operations lead to")
    grown = root.total - row.entry_count
    if grown > 0 and root.total > settings.max_children:
        raise VdriveTooLargeError(f"a directory has at most {settings.max_children} entries")
    _write_entries(connection, row.id, section)
    change.store(version)
    insert_head(connection, row.id, version, section.section.head, committed_at)
    size = sum(accounts.entry_size(entry[2:]) for entry in section.entries) - freed
    connection.execute(
        _ADVANCE,
        {
            "dir": row.id,
            "new_version": version,
            "hash": section.hash,
            "new_root": root.value,
            "count": root.total,
            "size": row.byte_count + size,
            "now": committed_at,
        },
    )
    if row.state == CONDEMNED or row.version == 0 or abs(now - row.modified_at) >= LEASE_EXTENSION_S:
        leases.extend_owner(connection, row.id, now)
    return Charge(0, grown, size)


def _check_conditions(section: PreparedSection, change: TreeChange) -> int:
    """See that each operation fits what is there; return the bytes of what it removes."""
    freed = 0
    for operation in section.operations:
        child = change.child(operation.slot)
        if (child and child.version) != (None if isinstance(operation, Add) else operation.old):
            raise OperationsMismatchError("an operation does not fit what is there")
        if child is not None:
            freed += accounts.ENTRY_SIZE + child.size
    return freed


def _write_entries(connection: Connection, dir_id: int, section: PreparedSection) -> None:
    version = section.head.version
    closed = [
        {"dir": dir_id, "name": operation.slot, "since": operation.old, "until": version}
        for operation in section.operations
        if not isinstance(operation, Add)
    ]
    if closed:
        connection.execute(_CLOSE, closed)
    if section.entries:
        rows = [_row_of(dir_id, entry, section.digests[entry.slot]) for entry in section.entries]
        connection.execute(_INSERT_ENTRY, rows)


def _row_of(dir_id: int, entry: SealedEntry, digest: bytes) -> dict[str, object]:
    return {
        "dir_id": dir_id,
        "slot": entry.slot,
        "v_from": entry.version,
        "n": entry.name,
        "w": entry.write,
        "r": entry.read,
        "m": entry.metadata,
        "digest": digest,
    }


def insert_head(connection: Connection, dir_id: int, version: int, head: SignedHead, now: int) -> None:
    """Store a head, current from now on."""
    values = {
        "dir_id": dir_id,
        "version": version,
        "head": head.head,
        "sig": head.signature,
        "committed_at": now,
    }
    connection.execute(_INSERT_HEAD, values)


_INSERT_HEAD = insert(heads)
_INSERT_ENTRY = insert(entries)
_CLOSE = (
    update(entries)
    .where(
        entries.c.dir_id == bindparam("dir"),
        entries.c.slot == bindparam("name"),
        entries.c.v_from == bindparam("since"),
    )
    .values(v_to=bindparam("until"))
)
_ADVANCE = (
    update(directories)
    .where(directories.c.id == bindparam("dir"))
    .values(
        version=bindparam("new_version"),
        head_hash=bindparam("hash"),
        root=bindparam("new_root"),
        entry_count=bindparam("count"),
        byte_count=bindparam("size"),
        modified_at=bindparam("now"),
    )
)
