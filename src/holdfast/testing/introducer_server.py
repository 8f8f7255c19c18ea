"""A real introducer inside the test: an engine on a database, served over TLS.

``python -m holdfast.testing.introducer_server DIRECTORY`` serves in a process of its own until its
standard input ends: it prints the NURL with which one may publish.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.node.event_loop import loop_factory
from holdfast.node.identity import create_node_identity, load_node_identity
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol.invitation import Welcome
from holdfast.servers.introducer.engine import IntroducerEngine, open_introducer
from holdfast.servers.introducer.handler import introducer_handler
from holdfast.servers.introducer.invitations import StoredInvitation
from holdfast.servers.introducer.settings import IntroducerSettings
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.wire.server import ServerLimits, serve, server_ssl_context

PUBLISH = "publishpublishpublishpublish2222"
SUBSCRIBE = "subscribesubscribesubscribe22222"
UNLIMITED = IntroducerSettings(new_keys_per_hour=1e6, changes_burst=1000)
CONNECTIONS_MAX = 6000


class ServedIntroducer:
    """An introducer that can be stopped, and started again on the same database, port and keys."""

    def __init__(
        self,
        directory: Path,
        settings: IntroducerSettings = UNLIMITED,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.clock = clock
        self.publish_swissnum = PUBLISH
        self.subscribe_swissnum = SUBSCRIBE
        private = directory / "private"
        self.identity = load_node_identity(private) if private.exists() else create_node_identity(private)
        self.port = 0
        self._stack = AsyncExitStack()
        self._engine: IntroducerEngine | None = None

    @property
    def database(self) -> Path:
        return self.directory / "private" / "introducer.sqlite"

    @property
    def engine(self) -> IntroducerEngine:
        assert self._engine is not None, "the introducer is not running"
        return self._engine

    def nurl(self, *, publish: bool) -> str:
        """Return the NURL that allows to publish, or to subscribe alone."""
        swissnum = self.publish_swissnum if publish else self.subscribe_swissnum
        return f"pb://{self.identity.spki_hash}@127.0.0.1:{self.port}/{swissnum}#v=1"

    def welcome(self, invitation: StoredInvitation) -> Welcome:
        """Return what an invited node is told."""
        nurl = self.nurl(publish=invitation.role == "server")
        return Welcome(invitation.role, invitation.nickname, (nurl,), (1, 1, 1), "a grid for tests")

    async def start(self) -> None:
        """Open the database and listen; again on the same port after a stop."""
        engine = await self._stack.enter_async_context(
            open_introducer(self.database, self.settings, self.identity.verify_key, self.clock)
        )
        handler = introducer_handler(engine, self.publish_swissnum, self.subscribe_swissnum, self.welcome)
        tls = str(self.identity.tls_path)
        limits = ServerLimits(connections_max=CONNECTIONS_MAX)
        server = await self._stack.enter_async_context(
            serve(handler, "127.0.0.1", self.port, server_ssl_context(tls, tls), limits)
        )
        self._stack.callback(engine.release_polls)
        self._engine, self.port = engine, server.port

    async def stop(self) -> None:
        """Stop in order."""
        self._engine = None
        await self._stack.aclose()

    async def restart(self, settings: IntroducerSettings | None = None) -> None:
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

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        swissnum: str | None = PUBLISH,
        headers: Sequence[tuple[str, str]] = (),
    ) -> RawAnswer:
        """Send one request over a connection of its own, and return the answer."""
        connection = await RawConnection.open(self.port)
        try:
            return await connection.request(method, target, self.headers(swissnum, headers), body)
        finally:
            await connection.close()

    def headers(
        self, swissnum: str | None, headers: Sequence[tuple[str, str]] = ()
    ) -> list[tuple[str, str | bytes]]:
        """Return the header lines of a request."""
        shown = [] if swissnum is None else [("Authorization", calls.authorization_value(swissnum))]
        return [*shown, *headers]


async def _serve(directory: Path) -> None:
    async with ServedIntroducer(directory) as introducer:
        sys.stdout.write(introducer.nurl(publish=True) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """See the module."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
