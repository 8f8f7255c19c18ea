"""What becomes of a directory's table when something is linked, unlinked or moved.

Each change is a function from table to table, made for being applied again when another
writer came first: it leaves the table it is given alone, and returns that very table if there
is nothing to change. On a later attempt the earlier one may have got through in spite of all;
then the change is found done, which is no error.

An entry that cannot be read counts as a child of unknown kind: it can be deleted, and is
replaced only where replacing is asked for.

Source: docs/spec/directories.md, sections 6 and 7; docs/spec/vdrive.md, section 9.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.caps.slots import ChildKind, ChildSlots
from holdfast.formats.directory_entry import DirectoryEntry
from holdfast.formats.directory_metadata import Metadata, forbids_writing, updated_metadata
from holdfast.formats.directory_names import normalised
from holdfast.formats.directory_table import DirectoryTable
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    ChildOfWrongTypeError,
    Expected,
    NoSuchChildError,
    NotMutableError,
    NotWriteableError,
    Replace,
    UnreadableChildError,
    VersionMismatchError,
)


@dataclass(frozen=True, slots=True)
class Link:
    """A child to be linked.

    Attributes:
        metadata: None leaves that of a child which is replaced; an empty object clears it.
        expect: link only if the name leads to this. It takes the place of the rule for taken names.
    """

    name: str
    child: ChildSlots
    metadata: Metadata | None = None
    expect: Expected | None = None


def check_writable(table: DirectoryTable) -> None:
    """Raise what any change of a table that cannot be changed would raise.

    Raises:
        NotMutableError: the directory is immutable.
        NotWriteableError: it is held read-only.
    """
    if table.immutable:
        raise NotMutableError("this directory is immutable")
    if not table.writable:
        raise NotWriteableError("this capability of the directory is for reading only")


def existing_entry(table: DirectoryTable, name: str) -> DirectoryEntry:
    """Return the entry of this name, readable or not.

    Raises:
        NoSuchChildError: there is none.
    """
    entry = table.get(name)
    if entry is None:
        raise NoSuchChildError(normalised(name))
    return entry


def readable_entry(table: DirectoryTable, name: str) -> DirectoryEntry:
    """Return the entry of this name.

    Raises:
        NoSuchChildError: there is none.
        UnreadableChildError: it cannot be read.
    """
    entry = existing_entry(table, name)
    if entry.reason is not None:
        raise UnreadableChildError(entry.name, entry.reason)
    return entry


def set_entries(
    table: DirectoryTable,
    links: Iterable[Link],
    now: float,
    *,
    replace: Replace = False,
    first_attempt: bool = True,
) -> DirectoryTable:
    """Return the table with all links made, in order, each seeing those before it.

    Args:
        now: Unix time; the same at every attempt, since the entries of an earlier one are known by it.
        replace: what may be replaced.

    Raises:
        NotMutableError: the table cannot be changed.
        ChildFaultError: a child cannot be stored.
        ChildAlreadyPresentError: a name is taken.
        VersionMismatchError: a name does not lead to what a link expects there.
        BadChildNameError, BadMetadataError: what they say.
    """
    check_writable(table)
    changed = table.copy()
    for link in links:
        _make(changed, link, now, replace, first_attempt)
    return table if changed.to_bytes() == table.to_bytes() else changed


def set_metadata(table: DirectoryTable, name: str, metadata: Metadata, now: float) -> DirectoryTable:
    """Return the table with other metadata for a link.

    Raises:
        NotMutableError: the table cannot be changed.
        NoSuchChildError: there is no such link.
        UnreadableChildError: its entry cannot be read.
        BadMetadataError: what it says.
    """
    check_writable(table)
    child = readable_entry(table, name).child
    return set_entries(table, [Link(name, child, metadata)], now, replace=True)


def delete_entry(
    table: DirectoryTable,
    name: str,
    *,
    must_exist: bool = True,
    must_be_directory: bool = False,
    must_be_file: bool = False,
    first_attempt: bool = True,
) -> tuple[DirectoryTable, DirectoryEntry | None]:
    """Return the table without a link, and what was removed; on a later attempt that may be nothing.

    Raises:
        NotMutableError: the table cannot be changed.
        NoSuchChildError: there is no such link at the first attempt, and it had to exist.
        ChildOfWrongTypeError: the child is known to be of the other kind.
    """
    check_writable(table)
    entry = table.get(name)
    if entry is None:
        if must_exist and first_attempt:
            raise NoSuchChildError(normalised(name))
        return table, None
    if (entry.child.kind == "file" and must_be_directory) or (
        entry.child.kind == "directory" and must_be_file
    ):
        raise ChildOfWrongTypeError(entry.name)
    changed = table.copy()
    changed.delete(entry.name)
    return changed, entry


def moved_link(table: DirectoryTable, name: str, new_name: str | None = None) -> Link:
    """Return the link to make in another directory, before ``name`` is deleted here.

    Raises:
        NoSuchChildError: there is nothing to be moved.
        UnreadableChildError: its entry cannot be read.
    """
    entry = readable_entry(table, name)
    return Link(entry.name if new_name is None else new_name, entry.child, entry.metadata)


def rename_entry(
    table: DirectoryTable,
    name: str,
    new_name: str,
    now: float,
    *,
    replace: Replace = False,
    first_attempt: bool = True,
) -> DirectoryTable:
    """Return the table with a link under another name: a move within one directory, as one change.

    To its own name a child moves without being looked for.

    Raises:
        NotMutableError: the table cannot be changed.
        NoSuchChildError: there is nothing to be moved.
        UnreadableChildError: its entry cannot be read.
        ChildAlreadyPresentError: the new name is taken.
        BadChildNameError: what it says.
    """
    check_writable(table)
    if normalised(name) == normalised(new_name):
        return table
    if not first_attempt and name not in table and _made_at(table.get(new_name), now):
        return table
    changed = set_entries(
        table, [moved_link(table, name, new_name)], now, replace=replace, first_attempt=first_attempt
    )
    return delete_entry(changed, name)[0]


def _make(table: DirectoryTable, link: Link, now: float, replace: Replace, first_attempt: bool) -> None:
    entry = table.get(link.name)
    readable = entry is not None and entry.readable
    metadata = updated_metadata(entry.metadata if entry and readable else None, link.metadata, now)
    child = link.child.read_only if forbids_writing(metadata) else link.child
    made = table.set(link.name, child, metadata)
    if entry is not None and not first_attempt and made.raw == entry.raw:
        return  # an earlier attempt got through
    _check_place(made.name, entry, link.expect, replace)


def _check_place(name: str, entry: DirectoryEntry | None, expect: Expected | None, replace: Replace) -> None:
    """Raise unless a child may be linked where ``entry`` is now."""
    if expect is not None:
        if expect != ("absent" if entry is None else entry.version):
            raise VersionMismatchError(name)
    elif entry is not None and not _replaceable(entry.child.kind, replace):
        raise ChildAlreadyPresentError(name)


def _replaceable(kind: ChildKind, replace: Replace) -> bool:
    return kind != "directory" if replace == "only-files" else replace


def _made_at(entry: DirectoryEntry | None, now: float) -> bool:
    maintained = entry.metadata.get("tahoe") if entry is not None else None
    return isinstance(maintained, dict) and maintained.get("linkmotime") == now
