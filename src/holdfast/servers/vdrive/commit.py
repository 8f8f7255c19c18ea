"""The transaction of a commit: everything it asks for, or nothing.

Source: docs/spec/vdrive.md, sections 8.4 and 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, Row, Select, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead, parse_head
from holdfast.formats.vdrive.operations import Add
from holdfast.formats.vdrive.tree import EMPTY
from holdfast.interfaces.vdrive import CLOCK_SKEW_S, CommitAnswer, Committed
from holdfast.interfaces.vdrive_errors import (
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    NoSuchDirectoryError,
    OperationsMismatchError,
    RefusedHeadError,
    RootMismatchError,
    VdriveTooLargeError,
)
from holdfast.servers.vdrive import accounts, leases, turns
from holdfast.servers.vdrive.enrol import enabler_matches
from holdfast.servers.vdrive.node_rows import Node
from holdfast.servers.vdrive.preparing import PreparedCommit, PreparedCreate, PreparedSection
from holdfast.servers.vdrive.reading import context_of, find
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.stored_tree import StoredTree
from holdfast.servers.vdrive.tables import CONDEMNED, LIVE, directories, entries, heads
from holdfast.servers.vdrive.tree_rows import TreeChange

LEASE_EXTENSION_S = 3600
"""So long after a commit, the owner's lease is not extended again."""

_Directories = Mapping[bytes, Row[Any]]  # rows of vd_dir, by index


class Outcome(NamedTuple):
    """What came of a commit.

    Attributes:
        changed: the directories that it changed now, and not when it was sent before.
    """

    answer: CommitAnswer
    changed: tuple[Committed, ...]


class _Charge(NamedTuple):
    dirs: int
    entries: int
    bytes: int


def commit(
    connection: Connection, request: PreparedCommit, settings: VdriveServerSettings, now: int
) -> Outcome:
    """Do what is asked for.

    Raises:
        HeadConflictError: with contexts from the same snapshot.
        VdriveRefusalError: the others of section 8.4.
    """
    account = accounts.account_of(connection, request.authority.account, settings) if request.creates else 0
    inserted = _insert_directories(connection, request, account, now)
    locked = _locked(connection, request)
    for create in request.creates:
        if create.new.index in inserted:
            _begin(connection, create, locked[create.new.index].id, now)
        elif locked[create.new.index].we_hash != create.enabler_hash:
            raise DirectoryExistsError("there is another directory under this index")
    applied = _look_at_heads(connection, request, locked, now)
    charges = [(locked[index].account_id, _Charge(1, 0, accounts.DIRECTORY_SIZE)) for index in inserted]
    if not applied:
        for section in request.sections:
            row = locked[section.head.index]
            charges.append((row.account_id, _apply(connection, section, row, settings, now)))
            if section.head.index in request.authority.turns:
                turns.release(connection, row.id, now)
    _charge(connection, charges)
    return _outcome(request, inserted, applied=applied, now=now)


def passed_by(connection: Connection, request: PreparedCommit, now: int) -> CommitAnswer | None:
    """Tell, without locking anything, whether other commits came before this one.

    Returns:
        The answer, if this commit has been made before; None if it should be tried.

    Raises:
        HeadConflictError: it would be refused.
        VdriveRefusalError: so it would.
    """
    if request.creates:
        return None
    found = _found(connection, _FIND, request)
    if _look_at_heads(connection, request, found, now):
        return _outcome(request, frozenset(), applied=True, now=now).answer
    return None


# -- directories


def _insert_directories(
    connection: Connection, request: PreparedCommit, account: int, now: int
) -> frozenset[bytes]:
    """Insert those that are new, in the order of their indices, so that no two wait for one another."""
    statement = _insert_new(connection)
    inserted = set()
    for create in sorted(request.creates, key=lambda create: create.new.index):
        new = create.new
        values = {
            "idx": new.index,
            "rid": new.refresh_id,
            "vk": new.verify_key,
            "rc": new.commitment,
            "we_hash": create.enabler_hash,
            "account_id": account,
            "version": 0,
            "head_hash": create.hash,
            "root": EMPTY,
            "entry_count": 0,
            "byte_count": accounts.DIRECTORY_SIZE,
            "pinned": False,
            "state": LIVE,
            "created_at": now,
            "modified_at": now,
        }
        if connection.execute(statement, values).one_or_none() is not None:
            inserted.add(new.index)
    return frozenset(inserted)


def _insert_new(connection: Connection) -> ReturningInsert[int]:
    """Return what inserts a directory unless there is one, and tells whether it did."""
    insert_here = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new: Insert = insert_here(directories).on_conflict_do_nothing(index_elements=["idx"])
    return new.returning(directories.c.id)


def _begin(connection: Connection, create: PreparedCreate, dir_id: int, now: int) -> None:
    _insert_head(connection, dir_id, 0, create.new.head, now)
    leases.grant(connection, dir_id, None, create.new.lease_s, now)


def _indices(request: PreparedCommit) -> list[bytes]:
    return [
        *{
            **{create.new.index: None for create in request.creates},
            **{section.head.index: None for section in request.sections},
        }
    ]


def _locked(connection: Connection, request: PreparedCommit) -> _Directories:
    """Return the directories, locked in ascending order of their numbers."""
    return _found(connection, _LOCK, request)


def _found(connection: Connection, query: Select[Any], request: PreparedCommit) -> _Directories:
    return {row.idx: row for row in connection.execute(query, {"indices": _indices(request)})}


# -- heads


def _look_at_heads(connection: Connection, request: PreparedCommit, found: _Directories, now: int) -> bool:
    """Check that every section may follow the current head of its directory.

    Returns:
        True if all sections have been applied before.
    """
    for section in request.sections:
        _check_gate(request, section, found)
    stored = [_stored_head(connection, section, found[section.head.index]) for section in request.sections]
    applied = [
        head == section.section.head.head for head, section in zip(stored, request.sections, strict=True)
    ]
    if all(applied):
        return bool(request.sections)
    for section in request.sections:
        row = found[section.head.index]
        turns.check(connection, row.id, request.authority.turns.get(section.head.index), now)
    if any(applied) or not all(
        section.head.version == row.version + 1 and section.head.previous == row.head_hash
        for section in request.sections
        if (row := found[section.head.index])
    ):
        raise _conflict(connection, request)
    for section, before in zip(request.sections, stored, strict=True):
        if before is not None and section.head.time < parse_head(before).time - CLOCK_SKEW_S:
            raise RefusedHeadError("a head is much older than the one before")
    return False


def _check_gate(request: PreparedCommit, section: PreparedSection, found: _Directories) -> None:
    row = found.get(section.head.index)
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    if not enabler_matches(row.we_hash, request.authority.enablers.get(section.head.index)):
        raise BadWriteEnablerError("the write enabler is not that of the directory")


def _stored_head(connection: Connection, section: PreparedSection, row: Row[Any]) -> bytes | None:
    """Return the stored head of the section's version or, if there is none yet, the current one."""
    which = {"dir_id": row.id, "version": min(section.head.version, row.version)}
    found: bytes | None = connection.execute(_HEAD, which).scalar_one_or_none()
    return found


def _conflict(connection: Connection, request: PreparedCommit) -> HeadConflictError:
    contexts = [
        context_of(connection, section.head.index, find(connection, section.head.index), section.slots)
        for section in request.sections
    ]
    return HeadConflictError("another commit came first", tuple(contexts))


# -- contents


def _apply(
    connection: Connection,
    section: PreparedSection,
    row: Row[Any],
    settings: VdriveServerSettings,
    now: int,
) -> _Charge:
    """Change one directory; return what that costs."""
    version = section.head.version
    now = max(now, row.modified_at)  # times of heads do not go back, whatever clocks do
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
    _insert_head(connection, row.id, version, section.section.head, now)
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
            "now": now,
        },
    )
    if row.state == CONDEMNED or row.version == 0 or row.modified_at + LEASE_EXTENSION_S <= now:
        leases.extend_owner(connection, row.id, now)
    return _Charge(0, grown, size)


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


def _insert_head(connection: Connection, dir_id: int, version: int, head: SignedHead, now: int) -> None:
    values = {
        "dir_id": dir_id,
        "version": version,
        "head": head.head,
        "sig": head.signature,
        "committed_at": now,
    }
    connection.execute(_INSERT_HEAD, values)


def _charge(connection: Connection, charges: Sequence[tuple[int, _Charge]]) -> None:
    """Charge accounts, last of all and in the order of their numbers, lest commits wait for one another."""
    for account in sorted({account for account, _ in charges}):
        dirs, more, size = map(sum, zip(*(charge for one, charge in charges if one == account), strict=True))
        accounts.charge(connection, account, dirs=dirs, entries=more, bytes=size)


def _outcome(request: PreparedCommit, inserted: frozenset[bytes], *, applied: bool, now: int) -> Outcome:
    """Return what is answered: each directory as this commit left it, whatever came later."""
    created = {one.new.index: Committed(one.new.index, 0, one.hash) for one in request.creates}
    written = {
        one.head.index: Committed(one.head.index, one.head.version, one.hash) for one in request.sections
    }
    changed = {**{index: created[index] for index in inserted}, **({} if applied else written)}
    return Outcome(CommitAnswer(tuple({**created, **written}.values()), now), tuple(changed.values()))


_FIND: Select[Any] = select(
    directories.c.id,
    directories.c.idx,
    directories.c.we_hash,
    directories.c.account_id,
    directories.c.version,
    directories.c.head_hash,
    directories.c.root,
    directories.c.entry_count,
    directories.c.byte_count,
    directories.c.state,
    directories.c.modified_at,
).where(directories.c.idx.in_(bindparam("indices", expanding=True)))
_LOCK = _FIND.order_by(directories.c.id).with_for_update()
_HEAD = select(heads.c.head).where(
    heads.c.dir_id == bindparam("dir_id"), heads.c.version == bindparam("version")
)
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
