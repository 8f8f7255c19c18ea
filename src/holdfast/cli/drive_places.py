"""From places on the grid, as arguments name them, to the nodes of a drive.

Source: docs/spec/cli.md, sections 3.3 and 4.1; docs/spec/directories.md, sections 7.4 and 7.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from holdfast.cli.messages import note
from holdfast.cli.node_aliases import aliases_of
from holdfast.cli.path_arguments import PRIVATE_ROOT, GridPath
from holdfast.drive.node_making import DirectoryKind, slots_of
from holdfast.drive.nodes import Drive
from holdfast.drive.traversal import TreeWalk
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import InputError
from holdfast.formats.directory_metadata import Metadata, updated_metadata
from holdfast.grid.client import Grid
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    DirectoryNode,
    NewChild,
    Node,
    NoSuchChildError,
    NotADirectoryNodeError,
    UnreadableEntry,
)
from holdfast.interfaces.virtual_drive import NoPrivateVirtualDriveError
from holdfast.node.aliases import DEFAULT_ALIAS, Aliases, UnknownAliasError
from holdfast.node.drive_client import DriveClient
from holdfast.node.wiring import open_drive as open_client


class NothingThereError(NoSuchChildError):
    """A place named in an argument does not exist."""

    def __init__(self, place: GridPath, name: str) -> None:
        super().__init__(name)
        self._place = place

    def __str__(self) -> str:
        return f"{self._place}: there is no {self.name!r}"


class NeedsPathError(InputError):
    """An argument names an alias or a capability alone, where the name of an entry is needed."""

    def __init__(self, place: GridPath) -> None:
        super().__init__(f"{place}: give the path of an entry, such as ALIAS:NAME")


class Link(NamedTuple):
    """A name in a directory, be there something or not."""

    directory: DirectoryNode
    name: str


class DrivePlaces:
    """The places of one client."""

    def __init__(self, client: DriveClient, aliases: Aliases) -> None:
        self.drive = client.drive
        self._client = client
        self._aliases = aliases

    async def root(self, place: GridPath) -> Node:
        """Return where the path of ``place`` begins. Nobody is asked, unless that is a root yet to be made.

        Raises:
            UnknownAliasError: there is no such alias.
            BadCapabilityError: the capability is malformed.
            NoPrivateVirtualDriveError: there is no private root.
        """
        if place.cap is not None:
            return self.drive.node(place.cap)
        if place.alias == PRIVATE_ROOT:
            if self._client.vdrive is None:
                raise NoPrivateVirtualDriveError("this client is configured to have no virtual drive")
            return await self._client.vdrive.get_private_root()
        if place.alias is not None:
            return self.drive.node(self._aliases.directory(place.alias))
        try:
            return self.drive.node(self._aliases.directory(DEFAULT_ALIAS))
        except UnknownAliasError:
            raise UnknownAliasError(
                "this is not a capability; and as a path it needs an alias: ALIAS:PATH,"
                f" or an alias {DEFAULT_ALIAS} that counts if none is written (see create-alias)"
            ) from None

    async def node(self, place: GridPath) -> Node:
        """Return what is at ``place``.

        Raises: as ``root``, and
            NothingThereError: nothing is.
            NotADirectoryNodeError: the path goes on behind something that is not a directory.
        """
        return await self._walk(place, await self.root(place), place.names)

    async def listed(self, place: GridPath) -> tuple[Node | UnreadableEntry, Metadata | None]:
        """Return what is at ``place``, readable or not, with the metadata of the link; None without a path.

        Raises: as ``node``.
        """
        if not place.names:
            return await self.root(place), None
        directory, name = await self.link(place)
        try:
            child = await directory.get_listed(name)
        except NoSuchChildError:
            raise NothingThereError(place, name) from None
        return child.node, child.metadata

    async def directory(self, place: GridPath) -> DirectoryNode:
        """Return the directory at ``place``. Raises as ``node``; NotADirectoryNodeError if it is none."""
        node = await self.node(place)
        if node.kind != "directory":
            raise NotADirectoryNodeError(str(place))
        return node

    async def link(self, place: GridPath) -> Link:
        """Return the name at ``place``, in its directory, which must be there.

        Raises: as ``directory``, and
            NeedsPathError: there is no path.
        """
        *above, name = place.names or [""]
        if not name:
            raise NeedsPathError(place)
        parent = await self._walk(place, await self.root(place), above)
        if parent.kind != "directory":
            raise NotADirectoryNodeError(above[-1] if above else str(place), len(above))
        return Link(parent, name)

    async def new_link(self, place: GridPath) -> Link:
        """Do the same; make the directories on the way that are missing."""
        *above, name = place.names or [""]
        if not name:
            raise NeedsPathError(place)
        return Link(await self.made_directory(place, above), name)

    async def made_directory(
        self, place: GridPath, names: Sequence[str], kind: DirectoryKind | None = None
    ) -> DirectoryNode:
        """Return the directory that ``names`` lead to from the root of ``place``; make what is missing.

        All that is missing appears in one step.

        Args:
            kind: of what is made; None: that of the directory above.

        Raises:
            NotADirectoryNodeError: there is something else of that name.
        """
        node = await self.root(place)
        if node.kind != "directory":
            raise NotADirectoryNodeError(str(place._replace(path="")))
        for depth, name in enumerate(names):
            try:
                child = await node.get(name)
            except NoSuchChildError:
                try:
                    return await self._make_chain(node, names[depth:], kind)
                except ChildAlreadyPresentError:  # somebody else was quicker
                    child = await node.get(name)
            if child.kind != "directory":
                raise NotADirectoryNodeError(name, depth)
            node = child
        return node

    async def directories_on_the_way(self, place: GridPath) -> AsyncIterator[DirectoryNode]:
        """Yield the directories that lead to ``place``, as far as there are any, from the root down."""
        node = await self.root(place)
        for name in place.names:
            if node.kind != "directory":
                return
            yield node
            try:
                node = await node.get(name)
            except NoSuchChildError:
                return

    async def new_directory(
        self,
        beside: DirectoryNode | None,
        children: Mapping[str, NewChild] | None = None,
        kind: DirectoryKind | None = None,
    ) -> DirectoryNode:
        """Make a directory that is linked nowhere yet.

        Args:
            beside: the directory that it is for, or one like it: at the same server, and of the same kind if
                no other is given. None: where this client makes directories.
        """
        if isinstance(beside, VdriveDirectoryNode) and kind in (None, "vdrive"):
            place = beside.contents.cap.place
            return await self.drive.create_directory("vdrive", children, vdrive_place=place)
        if beside is not None and kind is None:
            kind = "sdmf"
        return await self._client.create_directory(kind, children)

    async def _make_chain(
        self, parent: DirectoryNode, names: Sequence[str], kind: DirectoryKind | None
    ) -> DirectoryNode:
        """Make a directory in a directory in a directory..., and link the outermost."""
        innermost = await self.new_directory(parent, None, kind)
        outermost = innermost
        for name in reversed(names[1:]):
            metadata = updated_metadata(None, None, self.drive.now())
            outermost = await self.new_directory(parent, {name: NewChild(outermost, metadata)}, kind)
        await parent.set_node(names[0], outermost)
        return innermost

    async def _walk(self, place: GridPath, node: Node, names: Sequence[str]) -> Node:
        for depth, name in enumerate(names):
            if node.kind != "directory":
                raise NotADirectoryNodeError(
                    names[depth - 1] if depth else str(place._replace(path="")), depth
                )
            try:
                node = await node.get(name)
            except NoSuchChildError:
                raise NothingThereError(place, name) from None
        return node


class OpenDrive(NamedTuple):
    """What a command works with."""

    places: DrivePlaces
    client: DriveClient

    @property
    def drive(self) -> Drive:
        return self.client.drive

    @property
    def grid(self) -> Grid:
        return self.client.grid


@asynccontextmanager
async def open_drive(node: Path | None) -> AsyncIterator[OpenDrive]:
    """Give the drive of the grid of ``node``. Nothing is sent before the first use.

    Raises:
        ConfigError: no node was named, or it is not as it must be.
    """
    aliases = aliases_of(node)
    assert node is not None, "aliases_of has looked"
    async with open_client(node, on_problem=note, brief=True) as client:
        yield OpenDrive(DrivePlaces(client, aliases), client)


async def walk_below(opened: OpenDrive, place: GridPath) -> TreeWalk:
    """Return the walk of everything that can be reached from the directory at ``place``.

    Raises: as ``DrivePlaces.directory``.
    """
    return TreeWalk(slots_of(await opened.places.directory(place)), opened.drive)
