"""A node with a control interface whose grid is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from holdfast.grid.client import Grid
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import ControlConfig
from holdfast.node.control.handler import control_handler
from holdfast.node.control.listener import serve_control
from holdfast.node.control.paths import PathRules
from holdfast.node.control.tokens import Tokens
from holdfast.node.metrics import Figure
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid


class MemoryNode:
    """Implements ``node.control.controlled.ControlledNode``.

    Attributes:
        directory: of the node.
        connected: how many servers it says are connected; set by ``connect``.
        stopped: true once it was told to stop.
    """

    def __init__(self, directory: Path, memory: MemoryGrid | None) -> None:
        self.directory = directory
        self.memory = memory
        self.encoding = EncodingSettings(convergence_secret=CONVERGENCE)
        self.connected = 0
        self.stopped = False
        self._changed = asyncio.Condition()

    @property
    def private(self) -> Path:
        return self.directory / "private"

    @property
    def grid(self) -> Grid | None:
        return None if self.memory is None else self.memory.grid

    def status(self) -> Mapping[str, object]:
        return {"nickname": "memory"}

    def figures(self) -> Iterable[Figure]:
        return [Figure(name="holdfast_test", help="A test.", samples=[({"kind": "memory"}, 7.0)])]

    async def connect(self, count: int) -> None:
        """Say that so many servers are connected."""
        async with self._changed:
            self.connected = count
            self._changed.notify_all()

    async def wait_for_connections(self, count: int, timeout_s: float) -> int:
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.connected >= count)
        except TimeoutError:
            pass
        return self.connected

    def stop(self) -> None:
        self.stopped = True


@asynccontextmanager
async def memory_node(
    directory: Path,
    *,
    servers: int | None = 10,
    read_roots: Sequence[str] = (),
    write_roots: Sequence[str] = (),
    config: ControlConfig | None = None,
) -> AsyncIterator[MemoryNode]:
    """Give a node that listens in ``directory``; ``servers`` None: one without a client side."""
    private = directory / "private"
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens, paths = Tokens(private), PathRules(read_roots, write_roots, directory)
    if servers is None:
        node = MemoryNode(directory, None)
        async with serve_control(private, control_handler(node, tokens, paths), config or ControlConfig()):
            yield node
        return
    async with memory_grid(servers) as memory:
        node = MemoryNode(directory, memory)
        async with serve_control(private, control_handler(node, tokens, paths), config or ControlConfig()):
            yield node
