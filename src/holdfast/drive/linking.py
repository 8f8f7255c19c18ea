"""Changes of a drive in several steps, in such an order that nothing is lost wherever they end.

Source: docs/spec/directories.md, sections 7.4 to 7.6; docs/spec/seed-map.md, S-111, S-113, S-114.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.caps.slots import child_slots
from holdfast.errors import HoldfastError
from holdfast.formats.directory_names import normalised
from holdfast.formats.directory_table import DirectoryTable
from holdfast.interfaces.drive import (
    DirectoryNode,
    Expected,
    MoveIncompleteError,
    NotWriteableError,
    Replace,
    UnreadableChildError,
    UnreadableEntry,
    VersionMismatchError,
)
from holdfast.planning import directory_changes
from holdfast.planning.directory_changes import Link

if TYPE_CHECKING:
    from holdfast.drive.stored_directory import StoredDirectoryNode

_ANY_FILE = child_slots(b"URI:LIT:", None)


async def check_place(
    directory: StoredDirectoryNode, name: str, replace: Replace, expect: Expected | None
) -> None:
    """Raise now what linking a child would raise later, before the child is made."""
    directory.contents.check_writable()
    normalised(name)
    if replace is not True or expect is not None:
        table = await directory.contents.read_entry(name)
        directory_changes.set_entries(table, [Link(name, _ANY_FILE, None, expect)], 0, replace=replace)


async def move(
    source: StoredDirectoryNode, name: str, target: DirectoryNode, new_name: str, replace: Replace
) -> None:
    """Link a child in ``target``, then remove the link in ``source``, unless that leads elsewhere by then.

    Raises: as ``DirectoryNode.move_child_to``.
    """
    source.contents.check_writable()
    if not target.is_mutable():
        raise NotWriteableError(
            "the directory to move to cannot be changed with the capability it is held by"
        )
    moved = await source.get_listed(name)
    if isinstance(moved.node, UnreadableEntry):
        raise UnreadableChildError(moved.name, moved.node.reason)
    await target.set_node(new_name, moved.node, replace=replace, metadata=moved.metadata)

    def without_link(table: DirectoryTable, first_attempt: bool) -> DirectoryTable:
        entry = table.get(name)
        if entry is not None and entry.version != moved.version:
            raise VersionMismatchError(entry.name)
        return directory_changes.delete_entry(table, name, must_exist=False)[0]

    try:
        await source.contents.change([name], without_link)
    except HoldfastError as error:
        raise MoveIncompleteError(moved.name, normalised(new_name)) from error
