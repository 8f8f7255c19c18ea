"""A drive: from capabilities to nodes, and new files and directories.

Source: docs/spec/seed-map.md, S-205; docs/spec/directories.md, sections 4.2 and 8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from holdfast.caps import (
    DirectoryCap,
    LiteralCap,
    MutableReadCap,
    MutableWriteCap,
    VdriveReadCap,
    VdriveWriteCap,
)
from holdfast.caps.slots import ChildFaultError, ChildSlots, ListableCap, NodeCap
from holdfast.caps.vdrive import VdrivePlace
from holdfast.drive.backing import Contents, ImmutableFiles, MutableFiles, MutableFormat
from holdfast.drive.directory_contents import (
    DirectoryContents,
    ImmutableContents,
    MutableContents,
    check_size,
)
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import ImmutableFileNode, LiteralFileNode, MutableFileNode
from holdfast.drive.node_making import DirectoryKind, given_child, slots_of
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_backing import VdriveClient
from holdfast.drive.vdrive_contents import NoVdriveClientError, VdriveContents
from holdfast.drive.vdrive_linking import new_directory
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.directory_table import pack_directory
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.interfaces.drive import NewChild, UnreadableEntry
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable

PACK_HERE_MAX = 200  # children; more are packed in a thread, to hold nobody up

_FORMATS: Mapping[DirectoryKind, MutableFormat] = {"sdmf": "SDMF", "mdmf": "MDMF"}

DriveNode = ImmutableFileNode | MutableFileNode | GridDirectoryNode | VdriveDirectoryNode
"""What this drive makes of a capability it knows."""


class Drive:
    """The files and directories of one grid, and directories at virtual drive servers.

    As long as a node is held, its capability gives that very node.
    """

    def __init__(
        self,
        grid: ImmutableFiles,
        mutable: MutableFiles,
        vdrive: VdriveClient | None = None,
        *,
        vdrive_place: VdrivePlace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            vdrive: without it, directories at virtual drive servers can be linked, not looked into.
            vdrive_place: where such directories are made that are linked in none.
            clock: gives the Unix time for new links.
        """
        self._grid = grid
        self._mutable = mutable
        self._vdrive = vdrive
        self._vdrive_place = vdrive_place
        self._clock = clock
        self._nodes: WeakValueDictionary[NodeCap, DriveNode] = WeakValueDictionary()

    def now(self) -> float:
        """Return the Unix time."""
        return self._clock()

    def node(self, cap: str | NodeCap, ro: str | None = None) -> DriveNode | OpaqueNode:
        """Return the node of a capability; nothing is asked of the grid.

        Args:
            cap: of any kind; white space around a text does not count. One that is not known here gives
                a node that can only be linked, and not even that if nobody knows whether it allows writing.
            ro: for an unknown ``cap``, what its readers get.

        Raises:
            BadCapabilityError: it is malformed.
        """
        if not isinstance(cap, str):
            return self._known(cap)
        slots = given_child(cap, ro)
        return OpaqueNode(slots) if slots.cap is None else self._known(slots.cap)

    def child(self, name: str, slots: ChildSlots) -> DriveNode | OpaqueNode | UnreadableEntry:
        """Return what an entry of a directory leads to."""
        if slots.fault is not None:
            return UnreadableEntry(name, str(ChildFaultError(slots.fault)))
        return OpaqueNode(slots) if slots.cap is None else self._known(slots.cap)

    def directory(self, cap: ListableCap) -> StoredDirectoryNode:
        """Return the node of a directory."""
        node = self._known(cap)
        assert isinstance(node, StoredDirectoryNode)
        return node

    def contents(self, cap: ListableCap, bound: VersionBound | None = None) -> DirectoryContents:
        """Return where the entries of a directory are; see ``NodeMaker.contents``."""
        if isinstance(cap, VdriveWriteCap | VdriveReadCap):
            return VdriveContents(cap, self._vdrive, bound)
        match cap.file_cap:
            case MutableReadCap() | MutableWriteCap() as file_cap:
                return MutableContents(file_cap, self._mutable.open(file_cap))
            case file_cap:
                return ImmutableContents(file_cap, self._grid)

    async def upload(
        self,
        source: Uploadable | AsyncUploadable,
        *,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> ImmutableFileNode:
        """Store an immutable file; see ``Uploader.upload``."""
        result = await self._grid.upload(source, encoding, progress)
        node = self.node(result.uri)
        assert isinstance(node, ImmutableFileNode)
        return node

    async def create_mutable_file(
        self,
        data: Contents = b"",
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (the word of the specification)
        progress: ProgressCallback | None = None,
    ) -> MutableFileNode:
        """Store a file that can be changed."""
        file = await self._mutable.create(data, format=format, progress=progress)
        node = self._known(_write_cap(file.cap))
        assert isinstance(node, MutableFileNode)
        return node

    async def create_directory(
        self,
        kind: DirectoryKind = "sdmf",
        children: Mapping[str, NewChild] | None = None,
        *,
        vdrive_place: VdrivePlace | None = None,
    ) -> StoredDirectoryNode:
        """Store a directory, linked nowhere.

        Args:
            vdrive_place: where one of kind ``vdrive`` is made; None: where this drive makes them.
            children: their metadata is stored as it is given, without time stamps. Of two names that are
                equal once normalised, the later one counts.

        Raises:
            ChildFaultError: a child must not be in such a directory.
            BadChildNameError, BadMetadataError: what they say.
            InputError: they are too many.
            NoVdriveClientError: it is not known at which server to make it.
        """
        children = children or {}
        if kind == "vdrive":
            place = vdrive_place or self._vdrive_place
            if self._vdrive is None or place is None:
                raise NoVdriveClientError("no virtual drive server is configured to make directories at")
            return self.directory(await new_directory(self._vdrive, place, children))
        entries = [(name, slots_of(child.node), child.metadata or {}) for name, child in children.items()]
        if kind == "immutable":
            data = await _packed(entries)
            file_cap = (await self.upload(DataSource(data))).cap
        else:
            file = await self._mutable.create_with(lambda key: _pack(entries, key), format=_FORMATS[kind])
            file_cap = _write_cap(file.cap)
        assert not isinstance(file_cap, ListableCap)
        return self.directory(DirectoryCap(file_cap))

    def _known(self, cap: NodeCap) -> DriveNode:
        node = self._nodes.get(cap)
        if node is None:
            node = self._nodes[cap] = self._made(cap)
        return node

    def _made(self, cap: NodeCap) -> DriveNode:
        match cap:
            case DirectoryCap():
                return GridDirectoryNode(cap, self.contents(cap), self)
            case VdriveWriteCap() | VdriveReadCap():
                return VdriveDirectoryNode(VdriveContents(cap, self._vdrive), self)
            case LiteralCap():
                return LiteralFileNode(cap, self._grid)
            case MutableReadCap() | MutableWriteCap():
                return MutableFileNode(cap, self._mutable.open(cap))
            case _:
                return ImmutableFileNode(cap, self._grid)


def _write_cap(cap: object) -> MutableWriteCap:
    assert isinstance(cap, MutableWriteCap), "whoever makes a mutable file may write to it"
    return cap


async def _packed(entries: list[tuple[str, ChildSlots, Metadata]]) -> bytes:
    if len(entries) <= PACK_HERE_MAX:
        return _pack(entries, None)
    return await asyncio.to_thread(_pack, entries, None)


def _pack(entries: list[tuple[str, ChildSlots, Metadata]], write_key: bytes | None) -> bytes:
    contents = pack_directory(entries, write_key, immutable=write_key is None)
    check_size(len(contents))
    return contents
