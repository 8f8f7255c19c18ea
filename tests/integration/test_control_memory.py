"""A node passes on files larger than the memory it uses for them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.node.control import calls
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.controlled_node import MEMORY_MAX
from holdfast.wire.local_client import LocalClient, NotRunningError

MIB = 1 << 20
SIZE = 100_000_000
GROWTH_MAX = MEMORY_MAX + 64 * MIB


class Generated(io.RawIOBase):
    """A stream of SIZE bytes, made as they are read."""

    def __init__(self) -> None:
        self.left = SIZE
        self.block = random.Random(1).randbytes(MIB)
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.block[: min(size, self.left)]
        self.left -= len(piece)
        self.hash.update(piece)
        return piece


class Hashed:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: memoryview) -> int:
        self.hash.update(data)
        return len(data)


async def running(client: LocalClient) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await asyncio.to_thread(calls.call, client, "GET", "status")
                return
            except NotRunningError:
                await asyncio.sleep(0.05)


@pytest.mark.seed("S-210", "S-212")
async def test_memory_is_bounded_when_a_large_file_goes_through(tmp_path: Path) -> None:
    local = LocalGrid(tmp_path / "grid", attached=True)
    await asyncio.to_thread(local.start, 3)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast.testing.controlled_node"),
        *(str(tmp_path / "node"), str(tmp_path / "grid" / "servers.yaml")),
        stdin=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    client = LocalClient(tmp_path / "node" / "private")

    def peak() -> int:
        memory: dict[str, Any] = calls.call(client, "GET", "memory")
        return int(memory["extra"]["VmHWM"])

    def through(length: int | None) -> tuple[str, str]:
        source, copy = Generated(), Hashed()
        stored = calls.upload(client, source, length)  # type: ignore[arg-type]
        assert calls.download(client, stored["uri"], copy) == SIZE
        return source.hash.hexdigest(), copy.hash.hexdigest()

    try:
        await running(client)
        # The first, small transfer loads what every transfer needs.
        await asyncio.to_thread(calls.upload, client, random.Random(2).randbytes(MIB))
        before = await asyncio.to_thread(peak)
        for length in (None, SIZE):
            sent, got = await asyncio.to_thread(through, length)
            assert sent == got
        grown = await asyncio.to_thread(peak) - before
        assert grown < GROWTH_MAX, grown
    finally:
        child.stdin.close()
        await child.wait()
        await asyncio.to_thread(local.stop)
