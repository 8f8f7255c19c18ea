"""A running node as its control interface sees it: what there is to say of it, for people
and for programs that watch over it, and how it is stopped.

Source: docs/spec/control-and-introducer.md, section 2.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import __version__
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import NodeConfig
from holdfast.node.control.handler import control_handler
from holdfast.node.control.listener import serve_control
from holdfast.node.control.paths import PathRules
from holdfast.node.control.tokens import Tokens
from holdfast.node.metrics import Figure
from holdfast.node.vdrive_status import roots_of, vdrives_of
from holdfast.protocol.versions import OLDEST_SUPPORTED

if TYPE_CHECKING:
    from holdfast.grid.client import Grid
    from holdfast.grid.introducer_client import IntroducerClient
    from holdfast.grid.server_state import ServerState
    from holdfast.node.client_side import ClientSide
    from holdfast.node.services import Services


@dataclass(kw_only=True)
class ControlledProcess:
    """Implements ``control.controlled.ControlledNode`` for the node of this process."""

    config: NodeConfig
    services: Services
    meeting: IntroducerClient
    client: ClientSide | None
    port: int
    stop_event: asyncio.Event
    started: float = field(default_factory=time.time)

    @property
    def grid(self) -> Grid | None:
        return None if self.client is None else self.client.grid

    @property
    def encoding(self) -> EncodingSettings:
        return self.config.client.encoding if self.client is None else self.client.encoding

    def stop(self) -> None:
        """Let the node end in an orderly way."""
        self.stop_event.set()

    @asynccontextmanager
    async def serving(self, private: Path) -> AsyncIterator[None]:
        """Let programs of this user control the node until the block ends.

        Raises: as ``serve_control``.
        """
        control = self.config.control
        paths = PathRules(control.read_roots, control.write_roots, private.parent)
        handler = control_handler(self, Tokens(private), paths)
        async with serve_control(private, handler, control):
            yield

    def status(self) -> Mapping[str, object]:
        """Return a JSON object. It holds no secrets."""
        return {
            "nickname": self.config.node.nickname,
            "node_id": self.services.identity.server_id,
            "version": __version__,
            "oldest": OLDEST_SUPPORTED,
            "pid": os.getpid(),
            "uptime_s": round(time.time() - self.started, 1),
            "services": [*self.services.names, *(["client"] if self.client is not None else [])],
            "port": self.port,
            "introducers": [asdict(state) for state in self.meeting.introducer_status()],
            "servers": [] if self.grid is None else [_server(state) for state in self.grid.servers],
            "transfers": [] if self.grid is None else [asdict(one) for one in self.grid.transfers],
            "storage": self._storage(),
            "introducer": None if self.services.introducer is None else self.services.introducer.counts(),
            "vdrive": self._vdrive(),
            "vdrives": [] if self.client is None else vdrives_of(self.client.drive),
            "roots": {} if self.client is None else roots_of(self.client.drive),
        }

    def figures(self) -> Iterable[Figure]:
        """Return what is measured of the services."""
        storage = self._storage()
        if storage is not None:
            for name, what in (
                ("shares", "Complete shares."),
                ("bytes", "Bytes of data in complete shares."),
            ):
                yield Figure(name=f"holdfast_storage_{name}", help=what, samples=[({}, float(storage[name]))])
        if self.services.introducer is not None:
            counts = self.services.introducer.counts()
            yield _gauge(
                "holdfast_introducer_announcements",
                "Announcements that are handed out.",
                counts["announcements"],
            )
            yield _gauge(
                "holdfast_introducer_waiting_polls", "Clients that wait for news.", counts["waiting_polls"]
            )

    async def wait_for_connections(self, count: int, timeout_s: float) -> int:
        """Return how many storage servers are connected: once ``count`` are, or after ``timeout_s``."""
        return 0 if self.client is None else await self.client.watch.wait_for_connections(count, timeout_s)

    def _vdrive(self) -> dict[str, str] | None:
        engine = self.services.vdrive
        if engine is None:
            return None
        return {"accounts": engine.settings.accounts, "public_root": engine.settings.public_root}

    def _storage(self) -> dict[str, int] | None:
        engine = self.services.storage
        if engine is None:
            return None
        return {"shares": engine.stored_shares, "bytes": engine.stored_bytes}


def _gauge(name: str, what: str, value: int) -> Figure:
    return Figure(name=name, help=what, samples=[({}, float(value))])


def _server(state: ServerState) -> dict[str, object]:
    values: dict[str, object] = asdict(state)
    values["id"] = values.pop("server_id")
    return values
