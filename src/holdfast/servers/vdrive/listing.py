"""Pages: of a listing, and of what changed since a version.

Source: docs/spec/vdrive.md, sections 8.6 and 8.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, exists, select

from holdfast.formats.vdrive.entry import NameEntry, SealedEntry, body_digests_of
from holdfast.formats.vdrive.opening import witness_of
from holdfast.formats.vdrive.page import page_witness
from holdfast.interfaces.vdrive import PAGE_MAX, Changes, Page
from holdfast.interfaces.vdrive_errors import MalformedVdriveRequestError, VdriveTooLargeError
from holdfast.servers.vdrive.history import Snapshot, check_kept, snapshot
from holdfast.servers.vdrive.live_rows import LIVE_INDEX
from holdfast.servers.vdrive.reading import ENTRY_COLUMNS, find
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.stored_tree import StoredTree, visible_at
from holdfast.servers.vdrive.tables import entries

ENTRIES_SIZE_MAX = 7 << 20  # bytes in a page of at most 8 MiB; the rest is for its proof
ENTRY_OVERHEAD = 64  # bytes of an entry beside its boxes: slot, version, framing
ROWS_AT_ONCE = 500

E = TypeVar("E", SealedEntry, NameEntry)


@dataclass(frozen=True, slots=True)
class Place:
    """Which page is wanted.

    Attributes:
        at: version; None for the current one.
        after: the last slot of the page before.
        limit: entries.
    """

    at: int | None
    after: bytes | None
    limit: int

    def check(self) -> None:
        """See that there can be such a page."""
        if self.limit < 1 or (self.after is not None and len(self.after) != 32):
            raise MalformedVdriveRequestError("a page has at least one entry, and begins after a slot")
        if self.limit > PAGE_MAX:
            raise VdriveTooLargeError(f"a page has at most {PAGE_MAX} entries")


def page(
    connection: Connection,
    index: bytes,
    place: Place,
    settings: VdriveServerSettings,
    now: int,
    *,
    names_only: bool,
) -> Page:
    """Return part of a listing.

    Raises:
        SnapshotExpiredError: the version is no longer kept.
    """
    place.check()
    shown = snapshot(connection, index, place.at, settings, now)
    rows = _listed(connection, shown, place)
    found: tuple[SealedEntry, ...] | tuple[NameEntry, ...]
    if names_only:
        found, next_ = _filled(map(_names, rows), place.limit)
    else:
        found, next_ = _filled(rows, place.limit)
    tree = _tree(connection, shown)
    tree.load_paths([slot for slot in (place.after, next_) if slot is not None])
    return Page(shown.head, page_witness(tree, place.after, next_), found, next_)


def changes(
    connection: Connection, index: bytes, since: int, place: Place, settings: VdriveServerSettings, now: int
) -> Changes:
    """Return part of what differs between the version ``since`` and another.

    Raises:
        SnapshotExpiredError: one of them is no longer kept.
    """
    place.check()
    check_kept(connection, find(connection, index), since, settings, now)
    shown = snapshot(connection, index, place.at, settings, now)
    if since > shown.version:
        raise MalformedVdriveRequestError("changes are those since an earlier version")
    written: list[SealedEntry] = []
    deleted: list[bytes] = []
    size = 0
    next_: bytes | None = None
    last: bytes | None = None
    for slot, entry in _differences(connection, since, shown, place):
        size += ENTRY_OVERHEAD if entry is None else _size(entry)
        told = len(written) + len(deleted)
        if told == place.limit or (told and size > ENTRIES_SIZE_MAX):
            next_ = last
            break
        last = slot
        if entry is None:
            deleted.append(slot)
        else:
            written.append(entry)
    tree = _tree(connection, shown)
    slots = [*(entry.slot for entry in written), *deleted]
    tree.load_paths(slots)
    return Changes(shown.head, witness_of(tree, slots), tuple(written), tuple(deleted), next_)


def _tree(connection: Connection, shown: Snapshot) -> StoredTree:
    return StoredTree(connection, shown.id, shown.root, shown.version if shown.past else None)


def _filled(chunks: Iterable[Sequence[E]], limit: int) -> tuple[tuple[E, ...], bytes | None]:
    """Return as many entries as fit into a page, and the last slot if there are more."""
    found: list[E] = []
    size = 0
    for entry in chain.from_iterable(chunks):
        size += _size(entry)
        if len(found) == limit or (found and size > ENTRIES_SIZE_MAX):
            return tuple(found), found[-1].slot
        found.append(entry)
    return tuple(found), None


def _size(entry: SealedEntry | NameEntry) -> int:
    return ENTRY_OVERHEAD + sum(map(len, entry[2:]))


def _names(sealed: Sequence[SealedEntry]) -> list[NameEntry]:
    return [
        NameEntry(entry.slot, entry.version, entry.name, body)
        for entry, body in zip(sealed, body_digests_of(sealed), strict=True)
    ]


# -- rows, some hundred at once, in the order of slots


def _listed(connection: Connection, shown: Snapshot, place: Place) -> Iterator[list[SealedEntry]]:
    bounds = {"dir_id": shown.id}
    if shown.past:
        bounds["version"] = shown.version
    for rows in _chunks(connection, _PAST_PAGE if shown.past else _LIVE_PAGE, bounds, place):
        yield [SealedEntry._make(row) for row in rows]


def _differences(
    connection: Connection, since: int, shown: Snapshot, place: Place
) -> Iterator[tuple[bytes, SealedEntry | None]]:
    """Yield each slot that differs with its entry, or None if it was freed."""
    bounds = {"dir_id": shown.id, "since": since, "version": shown.version}
    written = chain.from_iterable(_chunks(connection, _WRITTEN, bounds, place))
    deleted = chain.from_iterable(_chunks(connection, _DELETED, bounds, place))
    changed: Iterator[tuple[bytes, SealedEntry | None]] = (
        (row.slot, SealedEntry._make(row)) for row in written
    )
    return merge(changed, ((row.slot, None) for row in deleted), key=itemgetter(0))


def _chunks(
    connection: Connection, query: Select[Any], bounds: Mapping[str, object], place: Place
) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows of ``query`` after a slot. Its page is the first to know when there are enough."""
    after = place.after or b""
    enough = min(ROWS_AT_ONCE, place.limit + 1)
    while True:
        rows = connection.execute(query, {**bounds, "after": after, "enough": enough}).all()
        yield rows
        if len(rows) < enough:
            return
        after = rows[-1].slot


_PAGE = (
    select(*ENTRY_COLUMNS)
    .where(entries.c.dir_id == bindparam("dir_id"), entries.c.slot > bindparam("after"))
    .order_by(entries.c.slot)
    .limit(bindparam("enough"))
)
_LIVE_PAGE = _PAGE.where(entries.c.v_to.is_(None)).with_hint(entries, LIVE_INDEX, "sqlite")
_PAST_PAGE = _PAGE.where(visible_at(bindparam("version")))
_WRITTEN = _PAST_PAGE.where(entries.c.v_from > bindparam("since")).with_hint(
    entries, "INDEXED BY vd_entry_from", "sqlite"
)

_there = entries.alias("there")
_DELETED = (
    select(entries.c.slot)
    .where(
        entries.c.dir_id == bindparam("dir_id"),
        entries.c.v_from <= bindparam("since"),
        entries.c.v_to > bindparam("since"),
        entries.c.slot > bindparam("after"),
        ~exists().where(
            _there.c.dir_id == entries.c.dir_id,
            _there.c.slot == entries.c.slot,
            visible_at(bindparam("version"), _there),
        ),
    )
    .order_by(entries.c.slot)
    .limit(bindparam("enough"))
    .with_hint(entries, "INDEXED BY vd_entry_to", "sqlite")
)
