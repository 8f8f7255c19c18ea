"""The transaction of a commit: everything it asks for, or nothing.

Source: docs/spec/vdrive.md, sections 8.4 and 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, Row, Select, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from holdfast.formats.vdrive.head import parse_head
from holdfast.formats.vdrive.tree import EMPTY
from holdfast.interfaces.vdrive import CLOCK_SKEW_S, CommitAnswer, Committed, Context
from holdfast.interfaces.vdrive_errors import (
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    NoSuchDirectoryError,
    RefusedHeadError,
)
from holdfast.servers.vdrive import accounts, leases, turns
from holdfast.servers.vdrive.applying import Charge, apply, insert_head
from holdfast.servers.vdrive.enrol import enabler_matches
from holdfast.servers.vdrive.preparing import PreparedCommit, PreparedCreate, PreparedSection
from holdfast.servers.vdrive.reading import context_of, find
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import LIVE, directories, heads

CONTEXTS_SIZE_MAX = 16 << 20  # bytes, with a conflict

_Directories = Mapping[bytes, Row[Any]]  # rows of vd_dir, by index


class Outcome(NamedTuple):
    """What came of a commit.

    Attributes:
        changed: the directories that it changed now, and not when it was sent before.
    """

    answer: CommitAnswer
    changed: tuple[Committed, ...]


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
    charges = [(locked[index].account_id, Charge(1, 0, accounts.DIRECTORY_SIZE)) for index in inserted]
    if not applied:
        for section in request.sections:
            row = locked[section.head.index]
            charges.append((row.account_id, apply(connection, section, row, settings, now)))
        turns.release(connection, request.authority.turns, now)
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
    insert_head(connection, dir_id, 0, create.new.head, now)
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
    # One that was applied before is no next version either.
    if not all(_follows(section, found[section.head.index]) for section in request.sections):
        raise _conflict(connection, request)
    for section, before in zip(request.sections, stored, strict=True):
        _check_time(section.head.time, 0 if before is None else parse_head(before).time, now)
    return False


def _check_time(time: int, before: int, now: int) -> None:
    """Keep times sensible; one that a wrong clock has brought in keeps nobody from writing."""
    if time > max(now + CLOCK_SKEW_S, before):
        raise RefusedHeadError(
            "a head is of a time to come: is the clock of this server, or of its writer, wrong?"
        )
    if time < before - CLOCK_SKEW_S:
        raise RefusedHeadError("a head is much older than the one before")


def _check_gate(request: PreparedCommit, section: PreparedSection, found: _Directories) -> None:
    row = found.get(section.head.index)
    if row is None:
        raise NoSuchDirectoryError("this server has no such directory")
    if not enabler_matches(row.we_hash, request.authority.enablers.get(section.head.index)):
        raise BadWriteEnablerError("the write enabler is not that of the directory")


def _follows(section: PreparedSection, row: Row[Any]) -> bool:
    return (section.head.version, section.head.previous) == (row.version + 1, row.head_hash)


def _stored_head(connection: Connection, section: PreparedSection, row: Row[Any]) -> bytes | None:
    """Return the stored head of the section's version or, if there is none yet, the current one."""
    which = {"dir_id": row.id, "version": min(section.head.version, row.version)}
    found: bytes | None = connection.execute(_HEAD, which).scalar_one_or_none()
    return found


def _conflict(connection: Connection, request: PreparedCommit) -> HeadConflictError:
    contexts: list[Context] = []
    size = 0
    for section in request.sections:
        index = section.head.index
        context = context_of(connection, index, find(connection, index), section.slots)
        size += sum(accounts.entry_size(entry[2:]) for entry in context.entries)
        if size > CONTEXTS_SIZE_MAX:  # then whoever wants them asks for them one by one
            return HeadConflictError("another commit came first")
        contexts.append(context)
    return HeadConflictError("another commit came first", tuple(contexts))


# -- accounts and answers


def _charge(connection: Connection, charges: Sequence[tuple[int, Charge]]) -> None:
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
