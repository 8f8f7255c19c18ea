"""A real virtual drive server inside the test: an engine on a database, served over TLS.

``python -m holdfast.testing.vdrive_server DIRECTORY [DATABASE]`` serves in a process of its own until its
standard input ends: it prints the NURL.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.caps.vdrive import VdrivePlace
from holdfast.interfaces.vdrive import Counts
from holdfast.node.event_loop import loop_factory
from holdfast.node.identity import create_node_identity, load_node_identity
from holdfast.protocol.introducer_calls import authorization_value
from holdfast.servers.vdrive import accounts
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.handler import vdrive_handler
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.testing.tahoe_node import free_port
from holdfast.wire.server import ServerLimits, serve, server_ssl_context

SWISSNUM = "vdrivevdrivevdrivevdrive22"
CONNECTIONS_MAX = 3000
LOTS = Counts(10**6, 10**9, 1 << 45)


class ServedVdrive:
    """A virtual drive server that can be stopped, and started again on the same database, port and keys."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        clock: Callable[[], float] = time.time,
        listening: bool = True,
        disguise: Callable[[VdriveEngine], Any] = lambda engine: engine,
        **settings: Any,
    ) -> None:
        """``listening``: over TLS; else the engine alone is there.

        ``disguise`` returns what answers in the place of the engine.

        ``settings``: of ``VdriveServerSettings``, others than the usual ones.
        """
        self.directory = directory
        self.clock = clock
        self.listening = listening
        self.disguise = disguise
        self.swissnum = SWISSNUM
        private = directory / "private"
        self.identity = load_node_identity(private) if private.exists() else create_node_identity(private)
        self.port = free_port()
        self.settings = VdriveServerSettings(
            database=database_url or f"sqlite:///{private / 'vdrive.sqlite'}",
            sid=bytes(self.identity.node_id),
            private=private,
            swissnum=self.swissnum,
            hints=(f"127.0.0.1:{self.port}",),
            **settings,
        )
        self._stack = AsyncExitStack()
        self._engine: VdriveEngine | None = None

    @property
    def engine(self) -> VdriveEngine:
        assert self._engine is not None, "the server is not running"
        return self._engine

    @property
    def sid(self) -> bytes:
        return self.settings.sid

    @property
    def place(self) -> VdrivePlace:
        """What capabilities say of this server."""
        return VdrivePlace(self.sid, self.swissnum, self.settings.hints)

    def nurl(self) -> str:
        """Return the NURL of the server."""
        return f"pb://{self.identity.spki_hash}@127.0.0.1:{self.port}/{self.swissnum}#v=1"

    async def start(self) -> None:
        """Open the database and listen; again on the same port after a stop."""
        self._engine = await self._stack.enter_async_context(open_vdrive(self.settings, self.clock))
        if not self.listening:
            return
        tls = str(self.identity.tls_path)
        limits = ServerLimits(connections_max=CONNECTIONS_MAX)
        handler = vdrive_handler(self.disguise(self._engine), self.swissnum)
        await self._stack.enter_async_context(
            serve(handler, "127.0.0.1", self.port, server_ssl_context(tls, tls), limits)
        )
        self._stack.callback(self._engine.release_polls)

    async def stop(self) -> None:
        """Stop in order."""
        self._engine = None
        await self._stack.aclose()

    async def restart(self, **settings: Any) -> None:
        """Stop, and start with some settings changed."""
        await self.stop()
        self.settings = replace(self.settings, **settings)
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def new_account(self, allowed: Counts = LOTS, label: str = "test") -> str:
        """Make an account; return its token."""
        now = int(self.clock())
        made = await self.engine.database.write(lambda c: accounts.add(c, label, allowed, now))
        return made.token

    # -- requests by hand

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        swissnum: str | None = SWISSNUM,
        headers: Sequence[tuple[str, str | bytes]] = (),
    ) -> RawAnswer:
        """Send one request over a connection of its own, and return the answer."""
        connection = await RawConnection.open(self.port)
        try:
            return await connection.request(method, target, self.headers(swissnum, headers), body)
        finally:
            await connection.close()

    def headers(
        self, swissnum: str | None = SWISSNUM, headers: Sequence[tuple[str, str | bytes]] = ()
    ) -> list[tuple[str, str | bytes]]:
        """Return the header lines of a request."""
        shown = [] if swissnum is None else [("Authorization", authorization_value(swissnum))]
        return [*shown, *headers]


async def _serve(directory: Path, database_url: str | None) -> None:
    room: dict[str, Any] = {"open_directories": 10**6, "open_entries": 10**9, "open_bytes": 1 << 45}
    async with ServedVdrive(directory, database_url=database_url, accounts="open", **room) as server:
        sys.stdout.write(server.nurl() + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """See the module."""
    directory, *database = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Path(directory), database[0] if database else None))


if __name__ == "__main__":
    main()
