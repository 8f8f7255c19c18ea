"""Drives over a grid and virtual drive servers, by default in memory; the servers' calls are counted, and can
be made to fail.

Source: docs/spec/vdrive.md, sections 9 and 10.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from holdfast.caps.vdrive import VdrivePlace
from holdfast.drive.nodes import Drive
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.servers.vdrive.engine import open_vdrive
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles, MemoryMutableStore
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_server import ServedVdrive

PAUSE_S = 0.001  # writers that collide wait for milliseconds

Before = Callable[[str], Awaitable[None]]
"""Called with the name of each call before it is made. It may wait, or raise."""


class CountedServer:
    """A virtual drive server, each call to which is noted.

    Attributes:
        calls: names of the calls made so far.
        before: see ``Before``.
        after: the same, after the call, before its answer is given; what it raises is a lost answer.
    """

    def __init__(self, server: VirtualDriveServer) -> None:
        self._server = server
        self.calls: list[str] = []
        self.before: Before | None = None
        self.after: Before | None = None

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._server, name)

        async def counted(*args: object, **options: object) -> object:
            self.calls.append(name)
            if self.before is not None:
                await self.before(name)
            answer = await call(*args, **options)
            if self.after is not None:
                await self.after(name)
            return answer

        return counted


class Service(NamedTuple):
    """A server, and what capabilities say of it."""

    server: VirtualDriveServer
    place: VdrivePlace


OpenService = Callable[[int], AbstractAsyncContextManager[Service]]
"""Starts a server by its number."""


@asynccontextmanager
async def service_in_memory(number: int) -> AsyncIterator[Service]:
    """Give a server without disk or socket."""
    server = MemoryVdriveServer(bytes([number]) * 32)
    yield Service(server, server.place)


def services_on_disk(directory: Path) -> OpenService:
    """Return what starts servers without sockets, on databases in files."""

    @asynccontextmanager
    async def opened(number: int) -> AsyncIterator[Service]:
        private = directory / f"service{number}"
        private.mkdir()
        sid = bytes([number]) * 32
        settings = VdriveServerSettings(
            database=f"sqlite:///{private / 'vdrive.sqlite'}", sid=sid, private=private, accounts="open"
        )
        async with open_vdrive(settings) as engine:
            place = VdrivePlace(sid, "a" * 16, (f"service{number}.example:1",))
            yield Service(cast(VirtualDriveServer, engine), place)

    return opened


def services_over_https(directory: Path) -> OpenService:
    """Return what starts servers that are reached over TLS."""

    @asynccontextmanager
    async def opened(number: int) -> AsyncIterator[Service]:
        async with ServedVdrive(directory / f"service{number}", accounts="open") as served:
            servers = VdriveServers()
            try:
                yield Service(servers.server(served.place), served.place)
            finally:
                servers.close()

    return opened


class VdriveRig:
    """Services, and any number of clients.

    Attributes:
        grid: where files are.
        store: what mutable files of the grid are kept in.
        server: of the first service; new directories are made there.
        time: what the clocks of all drives show.
    """

    def __init__(self, grid: MemoryGrid, open_service: OpenService, stack: AsyncExitStack) -> None:
        self.grid = grid
        self.store = MemoryMutableStore()
        self.time = 1000.0
        self.server: CountedServer
        self._open_service = open_service
        self._stack = stack
        self._services: dict[bytes, tuple[CountedServer, VdrivePlace]] = {}

    @property
    def place(self) -> VdrivePlace:
        """What capabilities say of the first service."""
        return next(iter(self._services.values()))[1]

    @property
    def calls(self) -> list[str]:
        """What was asked of the first service so far."""
        return self.server.calls

    async def add_service(self) -> VdrivePlace:
        """Start another service; return what capabilities say of it."""
        service = await self._stack.enter_async_context(self._open_service(len(self._services) + 1))
        counted = CountedServer(service.server)
        if not self._services:
            self.server = counted
        self._services[service.place.sid] = counted, service.place
        return service.place

    def put_in_place(self, server: object) -> None:
        """Let another server answer for the first service; it need not be a real one."""
        self._services[self.place.sid] = cast(CountedServer, server), self.place

    def client(self, memory: VdriveMemory | None = None, **settings: Any) -> VdriveClient:
        """Return a client that remembers nothing, unless ``memory`` is given."""
        values = {"lease_seed": b"l" * 32, "pause_s": PAUSE_S, **settings}
        client = VdriveClient(
            _KnownServices(self._services), memory or VdriveMemory(), VdriveSettings(**values)
        )
        self._stack.push_async_callback(client.close)
        return client

    def drive(self, client: VdriveClient | None = None) -> Drive:
        """Return the drive of a client, a new one unless it is given."""
        return Drive(
            self.grid.grid,
            MemoryMutableFiles(self.store),
            client or self.client(),
            vdrive_place=self.place,
            clock=self.tick,
        )

    def tick(self) -> float:
        """Return a time that never was before."""
        self.time += 1.0
        return self.time


class _KnownServices:
    def __init__(self, services: dict[bytes, tuple[CountedServer, VdrivePlace]]) -> None:
        self._services = services

    def server(self, place: VdrivePlace) -> VirtualDriveServer:
        return cast(VirtualDriveServer, self._services[place.sid][0])

    def service_id(self, place: VdrivePlace) -> bytes:
        return place.sid

    def account(self, sid: bytes) -> str | None:
        return None


@asynccontextmanager
async def vdrive_rig(open_service: OpenService = service_in_memory) -> AsyncIterator[VdriveRig]:
    """Give a rig with one service."""
    encoding = EncodingSettings(shares_total=4, happiness=1, convergence_secret=b"")
    async with memory_grid(4, encoding) as grid, AsyncExitStack() as stack:
        rig = VdriveRig(grid, open_service, stack)
        await rig.add_service()
        yield rig
