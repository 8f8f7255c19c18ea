"""Directories over real virtual drive servers: on a database, and over TLS; and their roots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from holdfast.caps import VdriveReadCap, VdriveWriteCap
from holdfast.drive.nodes import Drive
from holdfast.drive.roots import PrivateRoot, PublicRoot, VdriveRootMaker
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.drive.virtual_drive import VirtualDrive, looking_for_roots
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.interfaces.drive import NewChild, NoSuchChildError, NotMutableError
from holdfast.interfaces.vdrive_errors import NoSuchDirectoryError
from holdfast.interfaces.virtual_drive import NoGlobalVirtualDriveError, PublicRootChanged
from holdfast.testing.directory_suite import Place, ReadOnlyDirectorySuite, WritableDirectorySuite
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.vdrive_directories import VdriveDirectories, crowd_writes
from holdfast.testing.vdrive_rig import services_on_disk, services_over_https, vdrive_rig
from holdfast.testing.vdrive_server import ServedVdrive

LITERAL = "URI:LIT:ba"


class TestVdriveDirectoryOnDisk(WritableDirectorySuite):
    any_name = False

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place]:
        async with vdrive_rig(services_on_disk(tmp_path)) as rig:
            yield VdriveDirectories(rig)


class TestVdriveDirectoryOverHttps(WritableDirectorySuite):
    any_name = False

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place]:
        async with vdrive_rig(services_over_https(tmp_path)) as rig:
            yield VdriveDirectories(rig)


class TestVdriveDirectoryHeldReadOnlyOverHttps(ReadOnlyDirectorySuite):
    any_name = False

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place]:
        async with vdrive_rig(services_over_https(tmp_path)) as rig:
            yield VdriveDirectories(rig, read_only=True)


class Clients:
    """Clients of one served service, each with a private directory of its own."""

    def __init__(self, served: ServedVdrive, directory: Path, grid: object) -> None:
        self.served = served
        self.directory = directory
        self._grid = grid

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[VirtualDrive]:
        """Give the virtual drive of a client that starts, again or for the first time."""
        private = self.directory / name
        private.mkdir(exist_ok=True)
        servers = VdriveServers()
        memory = VdriveMemory(private / "vdrive-memory.sqlite")
        client = VdriveClient(servers, memory, VdriveSettings(lease_seed=b"l" * 32))
        place = self.served.place
        try:
            yield VirtualDrive(
                Drive(self._grid, MemoryMutableFiles(), client),  # type: ignore[arg-type]
                public=PublicRoot(
                    private / "global_root.uri", servers.server(place).public_root, self.served.sid
                ),
                private=PrivateRoot(private / "my_vdrive.uri", VdriveRootMaker(client, place)),
            )
        finally:
            await client.close()
            servers.close()
            memory.close()


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    served = ServedVdrive(tmp_path / "server", accounts="open", public_root="read-write")
    async with memory_grid(1) as grid:
        yield Clients(served, tmp_path, grid.grid)


@pytest.mark.seed("S-195", "S-196", "S-197", "S-198")
async def test_roots_are_there_for_all_and_for_each(clients: Clients) -> None:
    async with clients.served, clients.client("one") as one, clients.client("two") as two:
        await (await one.get_public_root()).set_uri("shared", LITERAL)
        assert await (await two.get_public_root()).has_child("shared")
        await (await one.get_private_root()).set_uri("own", LITERAL)
        assert await (await two.get_private_root()).list() == {}
        assert (await one.get_node_at_path("~/own")).get_uri() == LITERAL
        assert (await two.get_node_at_path("/shared")).get_uri() == LITERAL
        with pytest.raises(NoSuchChildError):
            await two.get_node_at_path("~/own")
        uri = (await one.get_private_root()).get_uri()
    async with clients.client("one") as one:  # the server is down now
        assert one.have_public_root()
        assert one.have_private_root()
        assert (await one.get_private_root()).get_uri() == uri


@pytest.mark.seed("S-198", "X-10")
async def test_a_client_that_starts_before_its_server_gets_its_roots(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.drive.virtual_drive.RETRY_FIRST_S", 0.05)
    async with clients.client("one") as one:
        with pytest.raises(NoGlobalVirtualDriveError):
            await one.get_public_root()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await one.get_private_root()
        begun = (clients.directory / "one" / "my_vdrive.uri.pending").read_text()
        async with looking_for_roots(one, lambda problem: None), clients.served:
            assert await one.wait_public_root(20)
            async with asyncio.timeout(20):
                while not one.have_private_root():
                    await asyncio.sleep(0.05)
            assert (await one.get_private_root()).get_uri() + "\n" == begun


async def test_the_public_root_is_as_strong_as_the_operator_wants(clients: Clients) -> None:
    served = clients.served
    async with served:
        async with clients.client("one") as one:
            root = await one.get_public_root()
            assert isinstance(root, VdriveDirectoryNode)
            assert isinstance(root.cap, VdriveWriteCap)
            await root.set_uri("x", LITERAL)
        await served.restart(public_root="read-only")
        async with clients.client("two") as two:
            reading = await two.get_public_root()
            assert isinstance(reading, VdriveDirectoryNode)
            assert isinstance(reading.cap, VdriveReadCap)
            assert list(await reading.list()) == ["x"]
            with pytest.raises(NotMutableError):
                await reading.set_uri("y", LITERAL)
        reported: list[object] = []
        async with clients.client("one") as one:
            await one.look_for_roots(reported.append)
            assert reported == [PublicRootChanged(root.get_uri(), reading.get_uri())]
            assert await one.get_public_root() == root
        await served.restart(public_root="none")
        async with clients.client("three") as three:
            with pytest.raises(NoGlobalVirtualDriveError):
                await three.get_public_root()


@pytest.mark.seed("S-100")
async def test_a_refresh_capability_is_the_same_for_all_and_fetches_nothing(tmp_path: Path) -> None:
    async with vdrive_rig(services_over_https(tmp_path)) as rig:
        drive = rig.drive()
        node = await drive.create_directory("vdrive", {"x": NewChild(drive.node(LITERAL))})
        reading = drive.node(node.get_immutable_uri())
        assert isinstance(node, VdriveDirectoryNode)
        assert isinstance(reading, VdriveDirectoryNode)
        assert node.get_refresh_capability() == reading.get_refresh_capability()
        refresh = node.contents.cap.refresh_cap
        assert refresh.to_text() == node.get_refresh_capability()

        assert await rig.client().renew_lease(refresh) > 0
        for ask in (rig.server.describe, rig.server.page):
            with pytest.raises(NoSuchDirectoryError):
                await ask(refresh.refresh_id)


async def test_writers_at_once_lose_nothing_over_https(tmp_path: Path) -> None:
    async with vdrive_rig(services_over_https(tmp_path)) as rig:
        await crowd_writes(rig, 3)


async def test_changes_are_told_within_a_second(tmp_path: Path) -> None:
    async with vdrive_rig(services_over_https(tmp_path)) as rig:
        node = await rig.drive().create_directory("vdrive")
        watching = rig.drive().node(node.get_immutable_uri())
        assert isinstance(watching, VdriveDirectoryNode)
        async with aclosing(watching.watch()) as changes, asyncio.timeout(30):
            following = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.5)
            began = asyncio.get_running_loop().time()
            await node.set_uri("x", LITERAL)
            assert (await following).put == ("x",)
            assert asyncio.get_running_loop().time() - began < 1
