"""What is one change at a virtual drive server though it concerns several directories: making one and
linking it, and moving a child from one to another.

Source: docs/spec/vdrive.md, sections 7.5, 8.4 and 9.3.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from holdfast.caps.slots import child_slots
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import KEY_SIZE
from holdfast.drive.node_making import slots_of
from holdfast.drive.vdrive_backing import VdriveClient
from holdfast.drive.vdrive_changes import changes_between, first_seen, hidden_in, seen, table_of
from holdfast.drive.vdrive_contents import VdriveContents
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.vdrive.names import child_name
from holdfast.grid.vdrive.views import CreatePlan, EntriesView, EntryChange, PutEntry
from holdfast.interfaces.drive import NewChild, Replace, VersionMismatchError
from holdfast.interfaces.vdrive import OPERATIONS_MAX
from holdfast.planning import directory_changes
from holdfast.planning.directory_changes import Link

T = TypeVar("T")


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut ``items`` into what one change can hold."""
    for start in range(0, len(items), OPERATIONS_MAX):
        yield items[start : start + OPERATIONS_MAX]


def first_entries(children: Mapping[str, NewChild]) -> list[PutEntry]:
    """Return the entries that a new directory begins with. Metadata is stored as it is given.

    Raises:
        ChildFaultError: a child must not be there.
        BadChildNameError, BadMetadataError: what they say.
    """
    empty = table_of((), writable=True)
    table = empty.copy()
    for name, child in children.items():
        table.set(child_name(name), slots_of(child.node), child.metadata or {})
    return [change for change in changes_between(empty, table) if isinstance(change, PutEntry)]


async def new_directory(
    client: VdriveClient, place: VdrivePlace, children: Mapping[str, NewChild]
) -> VdriveWriteCap:
    """Make a directory that is linked nowhere. Of two names that are equal once normalised, the later counts.

    Raises: as ``first_entries`` and ``VdriveClient.create``.
    """
    first, *others = list(batches(first_entries(children))) or [()]
    cap = await client.create(place, entries=first)
    for entries in others:
        await _put(client, cap, entries)
    return cap


async def create_below(
    parent: VdriveContents,
    name: str,
    children: Mapping[str, NewChild],
    *,
    now: float,
    replace: Replace,
    metadata: Metadata | None,
) -> VdriveWriteCap:
    """Make a directory where ``parent`` is, with up to 1000 children, and link it there: all or nothing.

    Raises: as ``first_entries``, ``directory_changes.set_entries`` and ``VdriveClient.change``.
    """
    cap = VdriveWriteCap(parent.cap.place, secrets.token_bytes(KEY_SIZE))
    link = Link(child_name(name), child_slots(cap.to_text(), None), metadata)
    plan = CreatePlan(cap.write_key, first_entries(children))

    def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        before = parent.table_in(views[0], [link.name])
        after = directory_changes.set_entries(before, [link], now, replace=replace)
        return [changes_between(before, after, first_seen(cap))]

    await parent.client.change([(parent.directory, [link.name])], changes, creates=[plan])
    return cap


async def move(
    source: VdriveContents,
    name: str,
    target: VdriveContents,
    new_name: str,
    *,
    now: float,
    replace: Replace,
) -> None:
    """Move a child to another directory at the same server; nobody ever sees it in none or in both.

    Raises: as ``DirectoryNode.move_child_to``.
    """
    name, new_name = child_name(name), child_name(new_name)

    def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        here, there = source.table_in(views[0], [name]), target.table_in(views[1], [new_name])
        link = directory_changes.moved_link(here, name, new_name)
        linked = directory_changes.set_entries(there, [link], now, replace=replace)
        unlinked, _ = directory_changes.delete_entry(here, name)
        hidden = hidden_in(here)
        return [changes_between(here, unlinked, hidden), changes_between(there, linked, hidden)]

    await source.client.change([(source.directory, [name]), (target.directory, [new_name])], changes)


async def pin(parent: VdriveContents, name: str, child: VdriveContents) -> None:
    """Note with the link ``name`` in ``parent`` which version of ``child`` is seen now.

    Whoever comes to the child through this link believes in nothing older from then on.

    Raises:
        NoSuchChildError, UnreadableChildError: there is no such link any more.
        VersionMismatchError: it leads elsewhere.
    """
    name = child_name(name)
    head = await child.directory.head()
    hidden = seen(child.cap.index, head.version, head.head_hash)

    def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        before = parent.table_in(views[0], [name])
        entry = directory_changes.readable_entry(before, name)
        cap = entry.child.cap
        if not isinstance(cap, VdriveWriteCap | VdriveReadCap) or cap.index != child.cap.index:
            raise VersionMismatchError(name)
        after = before.copy()
        after.set(name, entry.child, entry.metadata)
        return [changes_between(before, after, hidden)]

    await parent.client.change([(parent.directory, [name])], changes)


async def _put(client: VdriveClient, cap: VdriveWriteCap, entries: Sequence[PutEntry]) -> None:
    names = [entry.name for entry in entries]
    await client.change([(client.directory(cap), names)], lambda views: [entries])
