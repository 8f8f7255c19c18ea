"""MDMF files of any size: neither the client nor a server holds them in memory, on real servers."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from holdfast.grid.server_list import toml_list_text
from holdfast.node.storage_identity import load_storage_identity
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.server_record import ServerRecord

MB = 1_000_000
SERVER_MEMORY_MAX = 150 * 1024  # KiB
CLIENT_MEMORY_MAX = 200 * 1024


class Process:
    """A program of ``holdfast.testing`` that prints lines of numbers."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Process:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", f"holdfast.testing.{module}", *arguments)
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def number(self) -> int:
        assert self.child.stdout is not None
        return int(await self.child.stdout.readline())


@asynccontextmanager
async def server(directory: Path, durability: str, peaks: list[int]) -> AsyncIterator[ServerRecord]:
    process = await Process.start("storage_server", str(directory), durability)
    port = await process.number()
    identity = load_storage_identity(directory / "private")
    nurl = Nurl("pb", identity.spki_hash, "127.0.0.1", port, identity.swissnum)
    name = identity.spki_hash
    try:
        yield ServerRecord(name, (nurl,), identity.server_seed, name.encode())
    finally:
        assert process.child.stdin is not None
        process.child.stdin.close()
        peaks.append(await process.number())
        await process.child.wait()


def write_file(path: Path, size: int, seed: int) -> Path:
    rest = random.Random(seed).randbytes(MB - 8)
    with path.open("wb") as file:
        for i in range(size // MB):
            file.write(i.to_bytes(8, "big") + rest)
        file.write(rest[: size % MB])
    return path


async def use_large_files(
    directory: Path, size: int, other_size: int, needed: int, total: int, durability: str
) -> tuple[int, list[int]]:
    """Return the most memory of the client and of each server, in KiB."""
    one = write_file(directory / "one", size, 1)
    other = write_file(directory / "other", other_size, 2)
    peaks: list[int] = []
    async with AsyncExitStack() as stack:
        records = [
            await stack.enter_async_context(server(directory / f"server{i}", durability, peaks))
            for i in range(total)
        ]
        servers = directory / "servers.toml"
        servers.write_text(toml_list_text(records))
        client = await Process.start(
            "large_mutable", str(servers), str(one), str(other), str(needed), str(total)
        )
        try:
            peak = await client.number()
        finally:
            if client.child.returncode is None:
                client.child.kill()
            await client.child.wait()
    return peak, peaks


async def test_a_file_of_150_mb_whose_shares_have_75(tmp_path: Path) -> None:
    client, servers = await use_large_files(tmp_path, 150 * MB, 33 * MB + 1, 2, 3, "os")
    assert client < CLIENT_MEMORY_MAX
    assert max(servers) < SERVER_MEMORY_MAX


@pytest.mark.soak
async def test_a_file_of_1_gb_on_ten_servers(tmp_path: Path) -> None:
    client, servers = await use_large_files(tmp_path, 1000 * MB, 1100 * MB + 1, 3, 10, "fsync")
    assert client < CLIENT_MEMORY_MAX
    assert max(servers) < SERVER_MEMORY_MAX
