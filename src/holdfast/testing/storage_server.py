"""A real storage server inside the test: an engine on a directory, served over TLS.

``python -m holdfast.testing.storage_server DIRECTORY [DURABILITY]`` serves in a process of its own: it
prints its port, and, when its standard input ends, the most memory it has used, in KiB.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.grid.http_storage import HttpStorageServer
from holdfast.node.event_loop import loop_factory
from holdfast.node.storage_identity import create_storage_identity, load_storage_identity
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.server_record import ServerRecord
from holdfast.protocol.storage_calls import authorization_value, secret_header
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.handler import storage_handler
from holdfast.servers.storage.settings import Durability, StorageSettings
from holdfast.testing.peak_memory import peak_memory
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.http import Handler
from holdfast.wire.pinning import pinning_ssl_context
from holdfast.wire.server import serve, server_ssl_context


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1_800_000_000.5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ServedStorage:
    """A storage server that can be stopped, and started with other settings on the same directory."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: StorageSettings | None = None,
        disk: Disk | None = None,
        wrap: Callable[[Handler], Handler] = lambda handler: handler,
    ) -> None:
        """``wrap``: makes of the server's handler the one that answers."""
        self._wrap = wrap
        self.directory = directory
        self.settings = settings or StorageSettings()
        self.disk = disk
        self.clock = FakeClock()
        private = directory / "private"
        self.identity = (
            load_storage_identity(private) if private.exists() else create_storage_identity(private)
        )
        self.port = 0
        self._stack = AsyncExitStack()
        self._engine: StorageEngine | None = None

    @property
    def storage(self) -> Path:
        """The storage directory."""
        return self.directory / "storage"

    @property
    def engine(self) -> StorageEngine:
        assert self._engine is not None, "the server is not running"
        return self._engine

    @property
    def record(self) -> ServerRecord:
        """What clients have to know of this server, while it runs."""
        nurl = Nurl("pb", self.identity.spki_hash, "127.0.0.1", self.port, self.identity.swissnum)
        name = self.identity.spki_hash
        return ServerRecord(name, (nurl,), self.identity.server_seed, name.encode())

    def client(self) -> HttpStorageServer:
        """Return a client of this server, while it runs; the caller closes it."""
        connections = ServerConnections(
            [Address("127.0.0.1", self.port)], self.identity.spki_hash, pinning_ssl_context()
        )
        return HttpStorageServer(connections, self.identity.swissnum, lambda _: None)

    async def start(self) -> None:
        """Open the directory and listen."""
        seed, tls = self.identity.server_seed, str(self.identity.tls_path)
        self._engine = await self._stack.enter_async_context(
            open_storage(self.storage, self.settings, seed, self.clock, self.disk)
        )
        handler = self._wrap(storage_handler(self._engine, self.identity.swissnum))
        server = await self._stack.enter_async_context(
            serve(handler, "127.0.0.1", 0, server_ssl_context(tls, tls))
        )
        self.port = server.port

    async def stop(self) -> None:
        """Stop in order."""
        await self._stack.aclose()

    async def restart(self, settings: StorageSettings | None = None) -> None:
        """Stop, and start with ``settings``, if given."""
        await self.stop()
        self.settings = settings or self.settings
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- requests by hand

    @property
    def authorization(self) -> tuple[str, str]:
        """The header that opens this server."""
        return "Authorization", authorization_value(self.identity.swissnum)

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str | bytes]] = (),
        body: bytes = b"",
        *,
        secrets: Sequence[tuple[str, bytes]] = (),
        authorized: bool = True,
    ) -> RawAnswer:
        """Send one request over a connection of its own, and return the answer."""
        connection = await RawConnection.open(self.port)
        try:
            return await connection.request(method, path, self.headers(headers, secrets, authorized), body)
        finally:
            await connection.close()

    def headers(
        self,
        headers: Sequence[tuple[str, str | bytes]] = (),
        secrets: Sequence[tuple[str, bytes]] = (),
        authorized: bool = True,
    ) -> list[tuple[str, str | bytes]]:
        """Return the header lines of a request."""
        lines = [("X-Tahoe-Authorization", secret_header(kind, secret)) for kind, secret in secrets]
        return [*([self.authorization] if authorized else []), *lines, *headers]


async def _serve(directory: Path, durability: Durability) -> None:
    async with ServedStorage(directory, settings=StorageSettings(durability=durability)) as server:
        _tell(server.port)
        await asyncio.to_thread(sys.stdin.read)
        _tell(peak_memory())


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """See the module."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Path(sys.argv[1]), "fsync" if sys.argv[2:] == ["fsync"] else "os"))


if __name__ == "__main__":
    main()
