"""A client with all it can do: files of the grid, directories of both kinds, and its virtual drive.

Source: docs/spec/vdrive.md, sections 7.1 and 10; docs/spec/seed-map.md, S-193 and S-194.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.virtual_drive import VirtualDrive
from holdfast.grid.client import Grid
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.settings import ClientSettings
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.interfaces.drive import NewChild
from holdfast.interfaces.node import NoSuchServiceError
from holdfast.node.aliases import Aliases
from holdfast.node.announced_vdrives import AnnouncedVdrives
from holdfast.node.config import VdriveConfig
from holdfast.node.default_vdrive import DefaultVdrive
from holdfast.node.private_root import PUBLIC_ROOT_FILE, private_root
from holdfast.node.public_root import FoundPublicRoot
from holdfast.node.vdrive_places import load_vdrive_places

MEMORY_FILE = "vdrive-memory.sqlite"
VDRIVE = "vdrive"


@dataclass(frozen=True, slots=True)
class DriveClient:
    """Attributes:
    grid: the storage servers, and the files there.
    drive: nodes of all kinds, from capabilities.
    vdrive: paths and roots; None if the settings of the client say nothing of virtual drives.
    vdrive_client: what speaks to virtual drive servers.
    vdrive_servers: where they are.
    announced: those that introducers tell of.
    default: the one where this client makes directories.
    """

    grid: Grid
    drive: Drive
    vdrive: VirtualDrive | None
    vdrive_client: VdriveClient
    vdrive_servers: VdriveServers
    announced: AnnouncedVdrives
    default: DefaultVdrive

    def get_service_named(self, name: str) -> VirtualDrive:
        """Return the service ``vdrive`` of this client (S-194).

        Raises:
            NoSuchServiceError: the client has none of this name.
        """
        if name != VDRIVE or self.vdrive is None:
            raise NoSuchServiceError("the client has no service of this name")
        return self.vdrive

    async def create_directory(
        self, kind: DirectoryKind | None = None, children: Mapping[str, NewChild] | None = None
    ) -> StoredDirectoryNode:
        """Make a directory that is linked nowhere; see ``Drive.create_directory``.

        Args:
            kind: None: at a virtual drive server if there is one that lets this client, else in the grid.

        Raises:
            NoVdriveServiceError: it is to be at a virtual drive server, and there is none.
        """
        kind = kind or ("vdrive" if await self.default.may_create() else "sdmf")
        place = await self.default.needed() if kind == "vdrive" else None
        return await self.drive.create_directory(kind, children, vdrive_place=place)


@asynccontextmanager
async def open_drive_client(
    private: Path,
    grid: Grid,
    settings: ClientSettings,
    config: VdriveConfig,
    meeting: tuple[IntroducerClient, IntroducerClientSettings] | None,
) -> AsyncIterator[DriveClient]:
    """Give the client of a node; nobody is asked before the first use.

    Args:
        private: private directory of the node.
        meeting: the running client of its introducers; None if it lists none.

    Raises:
        ConfigError: what the node says of its virtual drive servers, or of its roots, is wrong.
    """
    places = load_vdrive_places(private)
    announced = AnnouncedVdrives(*(meeting or (None, None)))
    servers = VdriveServers(moved=places.moved, announced=announced.places)
    default = DefaultVdrive(private, places, announced, servers, enabled=config.enabled)
    memory = VdriveMemory(private / MEMORY_FILE)
    client = VdriveClient(
        servers,
        memory,
        VdriveSettings(
            lease_seed=settings.lease_secret,
            require_fresh=config.require_fresh,
            chain_limit=config.chain_limit,
            auto_heal=config.auto_heal,
        ),
    )
    drive = Drive(grid, grid.mutable, client)
    try:
        vdrive = None
        if config.enabled:
            vdrive = VirtualDrive(
                drive,
                public=FoundPublicRoot(private / PUBLIC_ROOT_FILE, default, announced, servers),
                private=private_root(private, config, client, default, drive),
                alias=_named(Aliases(private)),
            )
        yield DriveClient(grid, drive, vdrive, client, servers, announced, default)
    finally:
        await client.close()
        servers.close()
        memory.close()


def _named(aliases: Aliases) -> Callable[[str], str]:
    return lambda name: aliases.directory(name).to_text()
