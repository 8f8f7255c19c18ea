"""What went wrong with servers during one operation: noted for the result, logged,
and told to servers whose shares are corrupt.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from holdfast.errors import IntegrityError, ServerError
from holdfast.grid.known_server import KnownServer
from holdfast.grid.results import ServerProblem
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex

log = structlog.get_logger(__name__)

ADVICE_TIMEOUT_S = 5.0
PROBLEMS_MAX = 1000
SUMMARY_MAX = 5


class Problems:
    """Collects the problems of one operation. Use ``deliver`` before the operation ends."""

    def __init__(self, index: StorageIndex, *, mutable: bool = False) -> None:
        """``mutable``: the kind of shares that servers are told of."""
        self._index = index
        self._mutable = mutable
        self._advice: set[asyncio.Task[None]] = set()
        self._seen: dict[tuple[str, int | None, str], ServerProblem] = {}

    def note(self, server: KnownServer, error: Exception, number: int | None = None) -> None:
        """Take note of ``error``. The same of the same share is noted once."""
        what = str(error) or type(error).__name__
        key = (server.id, number, what)
        if key in self._seen or len(self._seen) >= PROBLEMS_MAX:
            return
        self._seen[key] = ServerProblem(server.id, server.name, what, number)
        log.warning("server failed", server=server.name, share=number, reason=what)
        if isinstance(error, IntegrityError) and number is not None:
            task = asyncio.create_task(self._advise(server, number, what))
            self._advice.add(task)
            task.add_done_callback(self._advice.discard)

    def all(self) -> tuple[ServerProblem, ...]:
        """Return what was noted, in order."""
        return tuple(self._seen.values())

    def summary(self) -> str:
        """Return what was noted as the end of a sentence, or nothing; servers with one problem together."""
        names: dict[str, list[str]] = {}
        for problem in self._seen.values():
            share = "" if problem.share is None else f" (share {problem.share})"
            names.setdefault(problem.what, []).append(f"{problem.nickname}{share}")
        parts = [f"{', '.join(servers)}: {what}" for what, servers in list(names.items())[:SUMMARY_MAX]]
        more = ["and other problems"] if len(names) > SUMMARY_MAX else []
        return "".join(f"; {part}" for part in parts + more)

    async def deliver(self) -> None:
        """Wait until the servers have been told, for a few seconds at most."""
        if self._advice:
            _, late = await asyncio.wait(set(self._advice), timeout=ADVICE_TIMEOUT_S)
            for task in late:
                task.cancel()

    async def _advise(self, server: KnownServer, number: int, reason: str) -> None:
        with suppress(ServerError, StorageRefusalError):
            service = server.service
            advise = service.advise_corrupt_mutable if self._mutable else service.advise_corrupt_immutable
            await advise(self._index, number, reason)
