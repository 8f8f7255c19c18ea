"""The roots directory of a client: one directory that leads to everything the client can reach, so that its
capability alone brings all of it back.

    ~              the private root
    alias:NAME     each alias
    convergence    the convergence secret, in base32
    settings       what of the settings is needed elsewhere

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from holdfast.caps.slots import ListableCap
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.roots import CapFile
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import ConfigError
from holdfast.grid.dry_run import capability_of
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import NewChild, Node, NoSuchChildError, UnreadableEntry
from holdfast.node.aliases import Aliases
from holdfast.node.client_secrets import CONVERGENCE_FILE
from holdfast.node.config import NodeConfig
from holdfast.node.drive_client import DriveClient
from holdfast.node.introducer_list import load_introducers
from holdfast.node.kept_settings import settings_of
from holdfast.node.private_files import read_private_file
from holdfast.node.private_root import PRIVATE_ROOT_FILE
from holdfast.protocol.recovery_line import RecoveryLine

ROOTS_FILE = "roots.uri"
PRIVATE_ROOT = "~"
ALIAS_PREFIX = "alias:"
OTHER_ROOT = f"{ALIAS_PREFIX}private-root"  # that of a client which found another one at its place
CONVERGENCE = "convergence"
SETTINGS = "settings"


class RootsDirectory:
    """The roots directory of one node. It is there once somebody has asked for the recovery line."""

    def __init__(
        self, private: Path, config: NodeConfig, client: DriveClient, encoding: EncodingSettings
    ) -> None:
        """``encoding``: with the convergence secret of the client."""
        self._private = private
        self._config = config
        self._client = client
        self._encoding = encoding
        self._file = CapFile(private / ROOTS_FILE)

    @property
    def exists(self) -> bool:
        return self._file.read() is not None

    async def line(self) -> RecoveryLine:
        """Return the recovery line. The directory is made if there is none yet, and brought up to date.

        Raises:
            ConfigError: the node lists no introducers, by which the grid is found again.
            HoldfastError: it could not be made, or changed.
        """
        introducers = tuple(nurl.to_text() for nurl in load_introducers(self._private).values())
        if not introducers:
            raise ConfigError(
                "a recovery line names introducers, and this node lists none: back up its directory instead"
            )
        if self._file.read() is None:
            if self._client.vdrive is not None and self._config.vdrive.private_root != "none":
                await self._client.vdrive.get_private_root()
            kind: DirectoryKind | None = "sdmf" if self._config.vdrive.private_root == "grid" else None
            await self._file.keep((await self._client.create_directory(kind)).get_uri())
        await self.update()
        cap = self._file.read()
        assert cap is not None
        return RecoveryLine(introducers, cap)

    async def update(self, gone: Mapping[str, str] | None = None) -> int:
        """Bring the directory up to date; return how many of its entries changed.

        What another client of the same user has added stays, under its name; what is called the same here
        gets a number behind it.

        Args:
            gone: aliases that were removed, and the capabilities that they stood for.

        Raises:
            HoldfastError: it could not be changed.
        """
        directory = self._directory()
        there = await directory.list()
        changed = {
            name: NewChild(node)
            for name, node in (await self._wanted(there)).items()
            if node != there.get(name)
        }
        if changed:
            await directory.set_children(changed, replace=True)
        for name, cap in (gone or {}).items():
            node = self._client.drive.node(cap)
            place = _place(f"{ALIAS_PREFIX}{name}", node, there)
            if place in there:
                with suppress(NoSuchChildError):
                    await directory.delete(place)
        if isinstance(directory, VdriveDirectoryNode):
            for name, child in changed.items():
                if isinstance(child.node, VdriveDirectoryNode):
                    await directory.pin(name)
        return len(changed)

    def _directory(self) -> StoredDirectoryNode:
        cap = self._file.read()
        node = None if cap is None else self._client.drive.node(cap)
        if not isinstance(node, StoredDirectoryNode):
            raise ConfigError(f"{self._file.path} does not hold the capability of a directory")
        return node

    async def _wanted(self, there: Mapping[str, Node | UnreadableEntry]) -> dict[str, Node]:
        """Return what the directory shall lead to."""
        drive = self._client.drive
        aliases = Aliases(self._private)
        wanted: dict[str, Node] = {}
        node: Node
        for name, alias in aliases.read().items():
            cap: ListableCap = aliases.directory_of(alias)
            node = drive.directory(cap)
            wanted[_place(f"{ALIAS_PREFIX}{name}", node, {**there, **wanted})] = node
        root = CapFile(self._private / PRIVATE_ROOT_FILE).read()
        if root is not None:
            node = drive.node(root)
            own = PRIVATE_ROOT if _place(PRIVATE_ROOT, node, there) == PRIVATE_ROOT else OTHER_ROOT
            wanted[_place(own, node, {**there, **wanted})] = node
        secret = read_private_file(self._private / CONVERGENCE_FILE).encode()
        settings = settings_of(self._private, self._config).to_bytes()
        for name, data in ((CONVERGENCE, secret), (SETTINGS, settings)):
            wanted[name] = await self._file_node(data, there.get(name))
        return wanted

    async def _file_node(self, data: bytes, there: Node | UnreadableEntry | None) -> Node:
        """Return an immutable file; one that is there already is not stored again."""
        if there is not None and not isinstance(there, UnreadableEntry):
            cap = await capability_of(DataSource(data), self._encoding)
            if there.get_uri() == cap:
                return there
        return await self._client.drive.upload(DataSource(data), encoding=self._encoding)


def _place(name: str, node: Node, taken: Mapping[str, Node | UnreadableEntry]) -> str:
    """Return ``name``, or with a number behind it the first under which nothing else is."""
    place, number = name, 2
    while place in taken and not _is_same(taken[place], node):
        place, number = f"{name}.{number}", number + 1
    return place


def _is_same(one: Node | UnreadableEntry, other: Node) -> bool:
    """Tell whether two nodes are one directory, held in the same strength, wherever it is said to be."""
    if isinstance(one, VdriveDirectoryNode) and isinstance(other, VdriveDirectoryNode):
        return (one.contents.cap.index, one.is_mutable()) == (other.contents.cap.index, other.is_mutable())
    return one == other
