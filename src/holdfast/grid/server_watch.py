"""Keeps an eye on all servers of a long-lived client: contacts each that becomes known,
asks those that are up now and then whether they still are, tries those that are down
again when it is time, and keeps few connections open that nobody uses.

Source: docs/spec/grid.md, section 5.2; docs/spec/control-and-introducer.md, sections 2.4 and 3.9.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from holdfast.grid.attempt_queue import AttemptQueue
from holdfast.grid.known_server import KnownServer
from holdfast.grid.servers import Servers
from holdfast.grid.structured import first_error


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """How closely servers are watched.

    A server that hangs is seen to be down after at most ``period_s + probe_timeout_s``, or a little
    later if there are more of them than ``probes_per_s`` allows to ask in that time.

    Attributes:
        period_s: between probes of a server that is up.
        probe_timeout_s: after which a server that does not answer counts as down.
        suspicion_s: least time between probes of a server that keeps ending connections.
        probes_per_s: at most, of servers that are up.
        attempts_per_s: at most, to reach servers that are not.
        attempts_at_once: at most, of these.
        idle_max: connections kept open without a request, to all servers together.
        idle_check_s: how often they are counted.
    """

    period_s: float = 10.0
    probe_timeout_s: float = 5.0
    suspicion_s: float = 1.0
    probes_per_s: int = 50
    attempts_per_s: int = 20
    attempts_at_once: int = 10
    idle_max: int = 64
    idle_check_s: float = 1.0


class ServerWatch:
    """Watches servers as long as ``running`` is entered."""

    def __init__(self, servers: Servers, settings: WatchSettings | None = None) -> None:
        self._servers = servers
        self._settings = settings or WatchSettings()
        self._nudges: dict[KnownServer, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._probe_pace = _Pace(self._settings.probes_per_s)
        pace = _Pace(self._settings.attempts_per_s)
        self._attempts = AttemptQueue(self._settings.attempts_at_once, pace.turn)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the servers, also those that become known meanwhile, as long as the block runs."""
        with first_error():
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._run())
                try:
                    yield
                finally:
                    watching.cancel()

    async def wait_for_connections(self, count: int, timeout_s: float | None = None) -> int:
        """Return how many servers are up and can be used: once they are ``count``, or at the time-out.

        Servers that are down are tried again at once. Nobody tries any unless the watch is running.
        """
        if self._servers.connected < count:
            for server in self._servers.all():
                if server.down:
                    server.retry_now()
                    self._on_change(server)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._servers.connected < count:
                    self._changed.clear()
                    await self._changed.wait()
        return self._servers.connected

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._attempts.run())

            def changed(server: KnownServer) -> None:
                if server not in self._nudges and not server.retired:
                    self._nudges[server] = asyncio.Event()
                    group.create_task(self._watch(server))
                self._on_change(server)

            end = self._servers.on_change(changed)
            try:
                for server in self._servers.all():
                    changed(server)
                await self._close_surplus()
            finally:
                end()
                self._nudges.clear()

    def _on_change(self, server: KnownServer) -> None:
        self._changed.set()
        nudge = self._nudges.get(server)
        if nudge is not None:
            nudge.set()

    # -- one server

    async def _watch(self, server: KnownServer) -> None:
        nudge = self._nudges[server]
        while not server.retired:
            nudge.clear()
            pause_s = self._due(server) - time.monotonic()
            if pause_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s if pause_s < math.inf else None):
                        await nudge.wait()
                continue
            if server.up:
                await self._probe_pace.turn()
                await server.probe(self._settings.probe_timeout_s)
            else:
                async with self._attempts.turn(server):
                    if server.available and not server.up and not server.retired:
                        await server.probe(self._settings.probe_timeout_s)
        self._nudges.pop(server, None)

    def _due(self, server: KnownServer) -> float:
        """Return when to probe a server next, on the monotonic clock."""
        if server.incompatible is not None:
            return math.inf
        if not server.up:
            return server.retry_at
        if server.suspected:
            return server.probed_at + self._settings.suspicion_s
        period_s = max(self._settings.period_s, self._servers.connected / self._settings.probes_per_s)
        return server.probed_at + period_s

    # -- connections

    async def _close_surplus(self) -> None:
        """Close idle connections beyond the limit, first of servers not used for long."""
        while True:
            await asyncio.sleep(self._settings.idle_check_s)
            servers = [server for server in self._servers.all() if server.service.idle]
            idle = sum(server.service.idle for server in servers)
            servers.sort(key=lambda server: (server.used_at, server.probed_at), reverse=True)
            while idle > self._settings.idle_max:
                service = servers.pop().service
                idle -= service.idle
                service.close_idle()


class _Pace:
    """At most so many turns in any second."""

    def __init__(self, per_s: int) -> None:
        self._turns: deque[float] = deque(maxlen=per_s)

    async def turn(self) -> None:
        """Return when it is time."""
        now = time.monotonic()
        full = len(self._turns) == self._turns.maxlen
        at = max(now, self._turns[0] + 1) if full else now
        self._turns.append(at)
        if at > now:
            await asyncio.sleep(at - now)
