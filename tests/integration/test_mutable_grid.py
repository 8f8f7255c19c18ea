"""Mutable files on a grid of real processes: writers that are killed at every step, servers that are
killed and come back, and what a node remembers of versions.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import holdfast
from holdfast.caps import MutableWriteCap, parse_cap
from holdfast.crypto import base32
from holdfast.errors import RolledBackError
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.client import Grid
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.settings import EncodingSettings
from holdfast.node.client_node import load_client_settings
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.stored_shares import StoredShare, stored_shares
from holdfast.testing.warm_grid import WarmGrid

FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")
SERVERS = 4
ENCODING = EncodingSettings(shares_needed=2, happiness=1, shares_total=4)
SEGMENT = 131_072  # bytes, of MDMF, 2 of 4

WRITER = """
import asyncio, os, signal, sys
import holdfast
from holdfast.caps import parse_cap
from holdfast.grid import http_storage

place, cap, what, step = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
steps = 0

def reach():
    global steps
    if steps == step:
        os.kill(os.getpid(), signal.SIGKILL)
    steps += 1

def counted(original):
    async def call(*args):
        reach()
        answer = await original(*args)
        reach()
        return answer
    return call

for name in ("read_test_write", "write_share"):
    original = getattr(http_storage.HttpStorageServer, name)
    setattr(http_storage.HttpStorageServer, name, counted(original))

async def main():
    async with holdfast.connect(node=place) as grid:
        file = grid.mutable.open(parse_cap(cap))
        if what == "modify":
            await file.modify(lambda old, first: b"new" + old[3:])
        else:
            await file.update(0, b"new")
    print("stored", steps)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    grid = WarmGrid(tmp_path_factory.mktemp("mutable") / "grid")
    try:
        grid.start(SERVERS, ENCODING)
        yield grid
    finally:
        if grid.exists:
            grid.stop()


@pytest.fixture
async def grid(running: LocalGrid) -> AsyncIterator[Grid]:
    settings = replace(load_client_settings(running.client_directory), mutable_retry_scale=0.02)
    async with holdfast.connect(node=running.client_directory, settings=settings) as grid:
        yield grid


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def shares(running: LocalGrid, file: MutableFile) -> list[StoredShare]:
    nodes = [running.directory / name for name in running.names]
    return stored_shares(nodes, base32.encode(file.cap.storage_index))


@pytest.mark.parametrize(("file_format", "what"), [("SDMF", "modify"), ("MDMF", "update")])
async def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(
    running: LocalGrid, grid: Grid, file_format: MutableFormat, what: str
) -> None:
    old = b"old" + bytes(SEGMENT + 10)
    new = b"new" + old[3:]
    file = await grid.mutable.create(old, format=file_format)
    seen: list[bytes] = []
    for step in range(2 * SERVERS + 1):
        command = [
            sys.executable,
            "-P",
            "-c",
            WRITER,
            str(running.client_directory),
            file.cap.to_text(),
            what,
            str(step),
        ]
        done = await asyncio.to_thread(run, command)
        if step < 2 * SERVERS:
            assert done.returncode == -signal.SIGKILL, done.stderr
        else:
            assert done.stdout == f"stored {2 * SERVERS}\n", done.stderr
        found = await file.read()
        assert found in (old, new)
        seen.append(found)
        assert await file.modify(lambda found, first: old) == old
        assert (await file.check(verify=True)).healthy
        assert await file.read() == old
    assert (seen[0], seen[-1]) == (old, new)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_servers_killed_while_others_write_come_back_to_a_healthy_file(
    running: LocalGrid, grid: Grid, file_format: MutableFormat
) -> None:
    file = await grid.mutable.create(b"first", format=file_format)
    names = sorted({share.node.name for share in shares(running, file)})[:2]
    for name in names:
        await asyncio.to_thread(running.kill, name)
    try:
        assert await file.modify(lambda old, first: old + b", second") == b"first, second"
        assert await file.read() == b"first, second"
    finally:
        for name in names:
            await asyncio.to_thread(running.revive, name)
    for server in grid.known.all():
        server.retry_now()
    assert await file.read() == b"first, second"
    assert (await file.repair()).successful
    check = await file.check(verify=True)
    assert (check.healthy, check.recoverable_versions, check.unrecoverable_versions) == (True, 1, 0)


async def test_two_processes_change_one_file_without_losing_anything(running: LocalGrid, grid: Grid) -> None:
    file = await grid.mutable.create(b"")
    async with holdfast.connect(node=running.client_directory) as other:
        cap = parse_cap(file.cap.to_text())
        assert isinstance(cap, MutableWriteCap)
        theirs = other.mutable.open(cap)

        async def append(of: MutableFile, value: int) -> None:
            await of.modify(lambda old, first: old if bytes([value]) in old else old + bytes([value]))

        await asyncio.gather(append(file, 1), append(theirs, 2))
        assert sorted(await file.read()) == [1, 2]


async def test_a_node_remembers_versions(running: LocalGrid, grid: Grid, tmp_path: Path) -> None:
    file = await grid.mutable.create(b"old")
    before = {share.path: share.path.read_bytes() for share in shares(running, file)}
    await file.overwrite(b"new")
    assert {share.path: share.path.read_bytes() for share in shares(running, file)} != before
    for path, content in before.items():
        path.write_bytes(content)
    async with holdfast.connect(node=running.client_directory) as again:
        cap = parse_cap(file.cap.to_text())
        assert isinstance(cap, MutableWriteCap)
        with pytest.raises(RolledBackError, match="version 1"):
            await again.mutable.open(cap).read()
        assert (await again.mutable.open(cap).repair(force=True)).successful
        assert await again.mutable.open(cap).read() == b"old"
    private = running.client_directory / "private" / "versions.sqlite"
    assert private.stat().st_mode & 0o077 == 0


async def test_a_large_file_of_many_segments(running: LocalGrid, grid: Grid) -> None:
    data = bytes(range(256)) * (20 << 12)  # 20 MiB
    file = await grid.mutable.create(data, format="MDMF")
    assert await file.read() == data
    await file.update(10 << 20, b"changed")
    assert (
        await file.read((10 << 20) - 1, 9)
        == data[(10 << 20) - 1 :][:1] + b"changed" + data[(10 << 20) + 7 :][:1]
    )
    assert (await file.check(verify=True)).healthy
