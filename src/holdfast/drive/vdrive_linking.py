"""What is one change at a virtual drive server though it concerns several directories: making one and
linking it, and moving a child from one to another.

Source: docs/spec/vdrive.md, sections 7.5, 8.4 and 9.3.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from holdfast.caps.slots import child_slots
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import KEY_SIZE
from holdfast.drive.node_making import slots_of
from holdfast.drive.vdrive_backing import VdriveClient
from holdfast.drive.vdrive_changes import changes_between, hidden_in, hidden_when_new, seen_at, table_of
from holdfast.drive.vdrive_contents import VdriveContents
from holdfast.errors import HoldfastError, InputError
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.operations import OperationsTooLargeError
from holdfast.grid.vdrive.views import CreatePlan, EntriesView, EntryChange, PutEntry
from holdfast.interfaces.drive import LinksIncompleteError, NewChild, Replace, VersionMismatchError
from holdfast.interfaces.vdrive import OPERATIONS_MAX
from holdfast.interfaces.vdrive_errors import VdriveTooLargeError
from holdfast.planning import directory_changes
from holdfast.planning.directory_changes import Link

T = TypeVar("T")


async def in_parts(items: Sequence[T], make: Callable[[Sequence[T]], Awaitable[None]]) -> int:
    """Call ``make`` with so many items at a time as one change can hold; return how often that was.

    Raises:
        LinksIncompleteError: an earlier call succeeded, another did not. What the first raises is raised.
    """
    waiting = [items[start : start + OPERATIONS_MAX] for start in range(0, len(items), OPERATIONS_MAX)]
    waiting.reverse()
    changes = made = 0
    while waiting:
        part = waiting.pop()
        try:
            await make(part)
        except (OperationsTooLargeError, VdriveTooLargeError) as error:
            if len(part) == 1:
                raise InputError("an entry is too large to be stored") from error
            middle = len(part) // 2
            waiting += part[middle:], part[:middle]
        except HoldfastError as error:
            if not made:
                raise
            raise LinksIncompleteError(made, len(items)) from error
        else:
            changes += 1
            made += len(part)
    return changes


def first_entries(children: Mapping[str, NewChild], *, uniform: bool = False) -> list[PutEntry]:
    """Return the entries that a new directory begins with. Metadata is stored as it is given.

    Raises:
        ChildFaultError: a child must not be there.
        BadChildNameError, BadMetadataError: what they say.
    """
    empty = table_of((), writable=True)
    table = empty.copy()
    for name, child in children.items():
        table.set(child_name(name), slots_of(child.node), child.metadata or {})
    changes = changes_between(empty, table, uniform=uniform)
    return [change for change in changes if isinstance(change, PutEntry)]


async def new_directory(
    client: VdriveClient, place: VdrivePlace, children: Mapping[str, NewChild]
) -> VdriveWriteCap:
    """Make a directory that is linked nowhere. Of two names that are equal once normalised, the later counts.

    Raises: as ``first_entries`` and ``VdriveClient.create``.
    """
    cap = VdriveWriteCap(place, secrets.token_bytes(KEY_SIZE))
    await _create(client, cap, first_entries(children))
    return cap


async def create_below(
    parent: VdriveContents,
    name: str,
    children: Mapping[str, NewChild],
    *,
    now: float,
    replace: Replace,
    metadata: Metadata | None,
    uniform: bool,
) -> VdriveWriteCap:
    """Make a directory where ``parent`` is, and link it there: all or nothing, if one change can hold it. One
    with more in it is made first, and linked when all of that is in it.

    Args:
        uniform: see ``VdriveContents``; of the new directory.

    Raises: as ``first_entries``, ``directory_changes.set_entries`` and ``VdriveClient.change``.
    """
    cap = VdriveWriteCap(parent.cap.place, secrets.token_bytes(KEY_SIZE))
    link = Link(child_name(name), child_slots(cap.to_text(), None), metadata)
    hidden = hidden_when_new(cap, uniform=uniform)
    entries = first_entries(children, uniform=uniform)
    plan = CreatePlan(cap.write_key, entries)

    def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        before = parent.table_in(views[0], [link.name])
        after = directory_changes.set_entries(before, [link], now, replace=replace)
        return [changes_between(before, after, hidden, uniform=parent.uniform)]

    parts = [(parent.directory, [link.name])]
    if len(entries) <= OPERATIONS_MAX:
        with suppress(OperationsTooLargeError, VdriveTooLargeError):
            await parent.client.change(parts, changes, creates=[plan])
            return cap
    await _create(parent.client, cap, entries)
    await parent.client.change(parts, changes)
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
        return [
            changes_between(here, unlinked, hidden, uniform=source.uniform),
            changes_between(there, linked, hidden, uniform=target.uniform),
        ]

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
    pinned = seen_at(head.version, head.head_hash)

    def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        before = parent.table_in(views[0], [name])
        entry = directory_changes.readable_entry(before, name)
        cap = entry.child.cap
        if not isinstance(cap, VdriveWriteCap | VdriveReadCap) or cap.index != child.cap.index:
            raise VersionMismatchError(name)
        after = before.copy()
        after.set(name, entry.child, entry.metadata)
        hidden = {cap.index: {**hidden_in(before).get(cap.index, {}), **pinned}}
        return [changes_between(before, after, hidden, uniform=parent.uniform)]

    await parent.client.change([(parent.directory, [name])], changes)


async def _create(client: VdriveClient, cap: VdriveWriteCap, entries: Sequence[PutEntry]) -> None:
    """Make a directory, and put entries into it, in as many changes as that takes."""
    is_there = False

    async def put(some: Sequence[PutEntry]) -> None:
        nonlocal is_there
        if is_there:
            names = [entry.name for entry in some]
            await client.change([(client.directory(cap), names)], lambda views: [some])
        else:
            await client.create(cap.place, cap.write_key, some)
            is_there = True

    if not await in_parts(entries, put):
        await put(())
