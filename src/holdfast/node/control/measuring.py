"""Calls for who wants to know how fast a grid is.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from dataclasses import replace
from typing import BinaryIO, cast

from holdfast.errors import UnavailableError
from holdfast.grid.client import Grid
from holdfast.grid.known_server import KnownServer
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.targets import DiscardTarget
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.node.control.answers import json_answer
from holdfast.node.control.arguments import body_arguments
from holdfast.node.control.controlled import ControlledNode
from holdfast.node.control.long_calls import answer_to, cancel_when_gone
from holdfast.node.control.tokens import Grant
from holdfast.wire.http import Request, Response

COUNT_MAX = 20
PING_PATIENCE_S = 10.0
SERVERS_AT_ONCE = 50
SIZE_DEFAULT = 1 << 20  # bytes
SIZE_MAX = 1 << 30


class MeasuringCalls:
    """The measuring calls of one node."""

    def __init__(self, node: ControlledNode, grid: Grid) -> None:
        self._node = node
        self._grid = grid

    async def ping(self, request: Request, _: Grant) -> Response:
        """``POST ping-servers``: how long each server takes to say its version."""
        arguments = await body_arguments(request)
        count = arguments.number("count", 1, COUNT_MAX, 5)
        arguments.finish()
        servers = self._grid.known.all()
        cancel_when_gone(request)
        turn = asyncio.Semaphore(SERVERS_AT_ONCE)

        async def measured(server: KnownServer) -> dict[str, object]:
            async with turn:
                return await _pinged(server, count)

        results = await asyncio.gather(*(measured(server) for server in servers))
        ids = (server.id for server in servers)
        return json_answer({"servers": dict(zip(ids, results, strict=True))})

    async def speed_test(self, request: Request, _: Grant) -> Response:
        """``POST speed-test``: how long it takes to store a file of zeros, and to read it back."""
        arguments = await body_arguments(request)
        arguments.choice("kind", ("immutable",), "immutable")
        count = arguments.number("count", 1, COUNT_MAX, 1)
        size = arguments.number("size", 1, SIZE_MAX, SIZE_DEFAULT)
        arguments.finish()
        encoding = replace(self._node.encoding, convergence_secret=None)

        async def work(progress: ProgressCallback) -> dict[str, object]:
            uploads, downloads = [], []
            for _ in range(count):
                up, down = await _there_and_back(self._grid, size, encoding, progress)
                uploads.append(up)
                downloads.append(down)
            return {"kind": "immutable", "size": size, "upload_s": uploads, "download_s": downloads}

        return await answer_to(request, work)


async def _pinged(server: KnownServer, count: int) -> dict[str, object]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(PING_PATIENCE_S):
                await server.service.version()
        except (UnavailableError, StorageRefusalError, TimeoutError):
            continue
        times.append(time.perf_counter() - begin)
    return {
        "nickname": server.name,
        "minimum": min(times, default=None),
        "median": statistics.median(times) if times else None,
        "maximum": max(times, default=None),
        "failures": count - len(times),
    }


async def _there_and_back(
    grid: Grid, size: int, encoding: EncodingSettings, progress: ProgressCallback
) -> tuple[float, float]:
    begin = time.perf_counter()
    stored = await grid.upload(_Zeros(size), encoding, progress)
    middle = time.perf_counter()
    await grid.download(stored.uri, DiscardTarget(), progress=progress)
    return middle - begin, time.perf_counter() - middle


class _Zeros(io.RawIOBase):
    """A source of so many zeros. A random key makes every file of them another one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def get_filehandle(self) -> BinaryIO:
        return cast(BinaryIO, self)

    def close_filehandle(self, f: BinaryIO) -> None:
        pass

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (self._size if whence == io.SEEK_END else 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        count = min(size, self._size - self._at)
        self._at += count
        return bytes(count)
