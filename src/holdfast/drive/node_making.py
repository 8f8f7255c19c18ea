"""What a directory needs of its drive, and from nodes to what a directory stores of them.

Source: docs/spec/directories.md, sections 4 and 7.1; docs/spec/seed-map.md, S-107.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from holdfast.caps import ErroneousCap, parse_cap
from holdfast.caps.slots import ChildFaultError, ChildSlots, ListableCap, child_slots
from holdfast.drive.directory_contents import DirectoryContents
from holdfast.drive.known_node import KnownNode
from holdfast.drive.opaque_node import OpaqueNode, bytes_of
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.drive import FileNode, NewChild, Node, UnreadableEntry
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable

if TYPE_CHECKING:
    from holdfast.drive.stored_directory import StoredDirectoryNode
    from holdfast.grid.vdrive.guard import VersionBound

DirectoryKind = Literal["sdmf", "mdmf", "immutable", "vdrive"]


class NodeMaker(Protocol):
    """Makes the nodes that a directory gives out; ``holdfast.drive.nodes.Drive`` is one."""

    def now(self) -> float:
        """Return the Unix time."""
        ...

    def child(self, name: str, slots: ChildSlots) -> Node | UnreadableEntry:
        """Return what an entry leads to."""
        ...

    def directory(self, cap: ListableCap) -> StoredDirectoryNode:
        """Return the node of a directory."""
        ...

    def contents(self, cap: ListableCap, bound: VersionBound | None = None) -> DirectoryContents:
        """Return where the entries of a directory are.

        Args:
            bound: what the link to a directory at a virtual drive server says of it.
        """
        ...

    async def upload(
        self,
        source: Uploadable | AsyncUploadable,
        *,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> FileNode: ...

    async def create_directory(
        self, kind: DirectoryKind = "sdmf", children: Mapping[str, NewChild] | None = None
    ) -> StoredDirectoryNode: ...


def slots_of(node: Node) -> ChildSlots:
    """Return what a directory stores to link to ``node``, of whatever drive it is."""
    if isinstance(node, KnownNode | OpaqueNode):
        return node.slots
    uri, immutable_uri = node.get_uri(), node.get_immutable_uri()
    return child_slots(
        None if uri is None else bytes_of(uri), None if immutable_uri is None else bytes_of(immutable_uri)
    )


def given_child(uri: str, immutable_uri: str | None = None) -> ChildSlots:
    """Return what a directory stores to link to what somebody gave as a text.

    One that is not known here has a fault unless it says that it only reads, or comes with what readers get.

    Raises:
        BadCapabilityError: it is malformed.
    """
    rw, ro = bytes_of(uri), None if immutable_uri is None else bytes_of(immutable_uri)
    for text in (rw, ro or b""):
        cap = parse_cap(text)
        if isinstance(cap, ErroneousCap):
            raise ChildFaultError(cap.fault)
    return child_slots(rw, ro)


def linkable(uri: str) -> ChildSlots:
    """Return what a directory stores to link to what ``uri`` stands for.

    Raises:
        BadCapabilityError: it is malformed, or nobody knows whether it allows writing.
    """
    slots = given_child(uri)
    if slots.fault is not None:
        raise ChildFaultError(slots.fault)
    return slots
