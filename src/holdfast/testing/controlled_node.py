"""A node with a control interface, and nothing else of a node: over a grid in memory, or

``python -m holdfast.testing.controlled_node DIRECTORY SERVERS`` in a process of its own over the servers of
a list, with little memory, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from holdfast.grid.client import Grid, open_grid
from holdfast.grid.server_list import load_server_list
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.node.config import ControlConfig
from holdfast.node.control.handler import control_handler
from holdfast.node.control.listener import serve_control
from holdfast.node.control.paths import PathRules
from holdfast.node.control.tokens import Tokens
from holdfast.node.event_loop import loop_factory
from holdfast.node.metrics import Figure
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

MEMORY_MAX = 16 << 20  # bytes for the transfers of a process of its own


class MemoryNode:
    """Implements ``node.control.controlled.ControlledNode``.

    Attributes:
        directory: of the node.
        connected: how many servers it says are connected; set by ``connect``.
        stopped: true once it was told to stop.
    """

    def __init__(self, directory: Path, memory: MemoryGrid | None, grid: Grid | None = None) -> None:
        self.directory = directory
        self.memory = memory
        self.grid = grid if memory is None else memory.grid
        self.encoding = EncodingSettings(convergence_secret=CONVERGENCE)
        self.connected = 0
        self.stopped = False
        self._changed = asyncio.Condition()

    @property
    def private(self) -> Path:
        return self.directory / "private"

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
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.connected >= count)
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
    if servers is None:
        async with _serving(MemoryNode(directory, None), read_roots, write_roots, config) as node:
            yield node
        return
    async with (
        memory_grid(servers) as memory,
        _serving(MemoryNode(directory, memory), read_roots, write_roots, config) as node,
    ):
        yield node


@asynccontextmanager
async def _serving(
    node: MemoryNode,
    read_roots: Sequence[str] = (),
    write_roots: Sequence[str] = (),
    config: ControlConfig | None = None,
) -> AsyncIterator[MemoryNode]:
    _make_private(node.private)
    handler = control_handler(node, Tokens(node.private), PathRules(read_roots, write_roots, node.directory))
    async with serve_control(node.private, handler, config or ControlConfig()):
        yield node


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


async def _serve(directory: Path, servers: Path) -> None:
    records, _ = load_server_list(servers)
    encoding = EncodingSettings(shares_needed=2, happiness=2, shares_total=3, convergence_secret=CONVERGENCE)
    settings = ClientSettings(lease_secret=b"l" * 32, encoding=encoding, memory_max=MEMORY_MAX)
    async with open_grid(records, settings) as grid:
        node = MemoryNode(directory, None, grid)
        node.encoding = encoding
        async with _serving(node):
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """See the module."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
