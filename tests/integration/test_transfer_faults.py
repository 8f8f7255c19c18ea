"""Transfers over real processes and real TLS while servers are killed, stopped, damaged
and impersonated.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

import holdfast
from holdfast.caps import parse_cap
from holdfast.crypto import base32
from holdfast.errors import HoldfastError, NotEnoughSharesError, UnhappyError
from holdfast.grid.client import Grid
from holdfast.grid.progress import Progress
from holdfast.grid.results import UploadResult
from holdfast.grid.server_list import load_server_list
from holdfast.grid.sources import DataSource, FileNameSource
from holdfast.grid.targets import DataTarget, FileTarget
from holdfast.node.client_node import load_client_settings
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.warm_grid import WarmGrid

SIZE = 24_000_000
CHILD = """
import asyncio, sys, holdfast
from holdfast.grid.settings import EncodingSettings
async def main():
    async with holdfast.connect(sys.argv[1]) as grid:
        encoding = EncodingSettings(convergence_secret=None if sys.argv[3] == "random" else b"s" * 32)
        def show(progress):
            if progress.stage == "uploading" and progress.done > 35_000_000:
                print("under way", flush=True)
        await grid.upload(holdfast.FileNameSource(sys.argv[2]), encoding, progress=show)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalGrid]:  # type: ignore[misc]
    local = WarmGrid(tmp_path_factory.mktemp("faults") / "grid")
    try:
        local.start(10)
        yield local  # type: ignore[misc]
    finally:
        local.stop()


@pytest.fixture(autouse=True)
def all_run_again(local: LocalGrid) -> AsyncIterator[None]:  # type: ignore[misc]
    yield  # type: ignore[misc]
    for server in local.status():
        if server.pid is not None:
            os.kill(server.pid, signal.SIGCONT)
    local.start()


@pytest.fixture
async def grid(local: LocalGrid) -> AsyncIterator[Grid]:
    async with holdfast.connect(local.directory) as grid:
        yield grid


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(SIZE)


def name_of(local: LocalGrid, server_id: str) -> str:
    return next(name for name, known in local.server_ids().items() if known == server_id)


def pid_of(local: LocalGrid, name: str) -> int:
    return next(s.pid for s in local.status() if s.name == name and s.pid is not None)


def unfinished(local: LocalGrid, name: str) -> list[str]:
    """Return the files of uploads in progress on a server."""
    return os.listdir(local.directory / name / "storage/shares/incoming")


def all_unfinished(local: LocalGrid) -> set[tuple[str, str]]:
    """Return the uploads in progress on all servers. One that hung keeps what it had for a while."""
    return {(name, file) for name in local.names for file in unfinished(local, name)}


def once(threshold: int, action: Callable[[], None]) -> Callable[[Progress], None]:
    done = False

    def show(progress: Progress) -> None:
        nonlocal done
        if not done and progress.stage != "hashing" and progress.done >= threshold:
            done = True
            action()

    return show


def holders(local: LocalGrid, result: UploadResult, numbers: range) -> list[str]:
    return [name_of(local, result.shares[number][0]) for number in numbers]


@pytest.mark.parametrize("moment", [0, 5_000_000, 13_000_000, 23_000_000])
async def test_seven_servers_killed_at_any_moment_of_a_download(
    local: LocalGrid, grid: Grid, data: bytes, moment: int
) -> None:
    result = await grid.upload(DataSource(data))
    victims = holders(local, result, range(7))
    progress = once(moment, lambda: [local.kill(name) for name in victims] and None)
    download = await grid.download(result.uri, DataTarget(), progress=progress)
    assert download.value == data
    again = await grid.download(result.uri, DataTarget())
    assert again.value == data
    assert set(again.used) == {7, 8, 9}


@pytest.mark.parametrize("moment", [4_000_000, 12_000_000, 23_000_000])
async def test_three_servers_killed_at_any_moment_of_an_upload(
    local: LocalGrid, grid: Grid, moment: int
) -> None:
    victims = ["amber", "basil", "cedar"]
    progress = once(moment, lambda: [local.kill(name) for name in victims] and None)
    content = os.urandom(SIZE)
    result = await grid.upload(DataSource(content), progress=progress)
    assert result.happiness >= 7
    assert {problem.nickname for problem in result.problems} <= set(victims)
    assert (await grid.download(result.uri, DataTarget())).value == content


async def test_four_servers_killed_inside_an_upload_are_an_error_and_nothing_stays_reserved(
    local: LocalGrid, grid: Grid
) -> None:
    progress = once(
        8_000_000, lambda: [local.kill(name) for name in ("amber", "basil", "cedar", "dahlia")] and None
    )
    with pytest.raises(UnhappyError) as error:
        await grid.upload(DataSource(os.urandom(SIZE)), progress=progress)
    assert error.value.happiness == 6
    killed = ("amber", "basil", "cedar", "dahlia")
    assert [name for name in local.names if name not in killed and unfinished(local, name)] == []


async def test_stopped_servers_delay_a_download_by_seconds_only(
    local: LocalGrid, grid: Grid, data: bytes
) -> None:
    result = await grid.upload(DataSource(data))
    for name in holders(local, result, range(7)):
        os.kill(pid_of(local, name), signal.SIGSTOP)
    began = time.monotonic()
    download = await grid.download(result.uri, DataTarget())
    assert download.value == data
    assert time.monotonic() - began < 30


async def test_stopped_servers_delay_an_upload_by_seconds_only(local: LocalGrid, grid: Grid) -> None:
    content = os.urandom(SIZE)
    os.kill(pid_of(local, "amber"), signal.SIGSTOP)
    stop_one = once(8_000_000, lambda: os.kill(pid_of(local, "basil"), signal.SIGSTOP))
    began = time.monotonic()
    result = await grid.upload(DataSource(content), progress=stop_one)
    assert time.monotonic() - began < 40
    assert result.happiness >= 7
    assert any("amber" in str(problem) and "hung" in str(problem) for problem in result.problems)


async def test_damaged_share_files_are_found_named_and_reported_to_their_servers(
    local: LocalGrid, grid: Grid, data: bytes
) -> None:
    content = data[:3_000_000]
    result = await grid.upload(DataSource(content))
    damaged = {}
    index = base32.encode(parse_cap(result.uri).storage_index)  # type: ignore[union-attr]
    for number, harm in ((0, "flip"), (1, "cut"), (2, "swap")):
        name = name_of(local, result.shares[number][0])
        path = local.directory / name / "storage/shares" / index[:2] / index / str(number)
        raw = path.read_bytes()
        if harm == "flip":
            raw = raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:]
        elif harm == "cut":
            raw = raw[:400_000]
        else:
            other = name_of(local, result.shares[9][0])
            raw = (local.directory / other / "storage/shares" / index[:2] / index / "9").read_bytes()
        path.write_bytes(raw)
        damaged[number] = name
    download = await grid.download(result.uri, DataTarget())
    assert download.value == content
    assert {problem.share for problem in download.problems} <= {0, 1, 2}
    verified = await grid.verify(result.uri)
    assert {problem.share for problem in verified.corrupt} | {
        problem.share for problem in verified.problems
    } == {0, 1, 2}
    assert sorted(verified.shares) == [3, 4, 5, 6, 7, 8, 9]
    advised = [
        name
        for name in damaged.values()
        if list((local.directory / name / "storage/corruption-advisories").glob("*"))
    ]
    assert name_of(local, result.shares[0][0]) in advised


async def test_a_server_with_another_key_is_refused_and_named(
    local: LocalGrid, grid: Grid, data: bytes
) -> None:
    records, _ = load_server_list(local.server_list)
    first, second = records[0], records[1]
    swapped = replace(first, nurls=tuple(replace(nurl, port=second.nurls[0].port) for nurl in first.nurls))
    settings = load_client_settings(local.directory)
    async with holdfast.connect(servers=[swapped, *records[1:]], settings=settings) as wrong:
        result = await wrong.upload(DataSource(data[:100_000]))
        assert first.server_id not in {s for ids in result.shares.values() for s in ids}
        assert any("another TLS key" in str(problem) for problem in result.problems)


async def upload_in_child(local: LocalGrid, path: Path, kind: str) -> None:
    """Start an upload in a process of its own and kill that in the middle."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(local.directory), str(path), kind],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert await asyncio.to_thread(child.stdout.readline) == "under way\n"
    child.kill()
    await asyncio.to_thread(child.wait)


def bytes_written(local: LocalGrid) -> int:
    """Bytes that the processes of all servers have read from sockets and such, as Linux counts them."""
    total = 0
    for server in local.status():
        lines = Path(f"/proc/{server.pid}/io").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("wchar")).split()[1])
    return total


async def test_a_killed_client_resumes_and_sends_only_what_is_missing(
    local: LocalGrid, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(60_000_000))
    from holdfast.grid.settings import EncodingSettings

    encoding = EncodingSettings(convergence_secret=b"s" * 32)
    await upload_in_child(local, path, "convergent")
    async with holdfast.connect(local.directory) as grid:
        before = bytes_written(local)
        result = await grid.upload(FileNameSource(path), encoding)
        sent = bytes_written(local) - before
        assert result.happiness == 10
        assert sent < 60_000_000 * 10 / 3 - 60_000_000
        download = await grid.download(result.uri, FileTarget(tmp_path / "copy"))
        assert download.value.read_bytes() == path.read_bytes()


@pytest.mark.seed("S-061")
async def test_a_killed_client_with_a_random_key_leaves_nothing_behind(
    local: LocalGrid, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(60_000_000))
    before = all_unfinished(local)
    await upload_in_child(local, path, "random")

    assert all_unfinished(local) > before
    async with asyncio.timeout(45):
        while all_unfinished(local) > before:
            await asyncio.sleep(0.5)


async def test_a_cancelled_upload_leaves_nothing_on_the_servers(local: LocalGrid, grid: Grid) -> None:
    before = all_unfinished(local)
    started = asyncio.Event()

    def show(progress: Progress) -> None:
        if progress.stage == "uploading":
            started.set()

    task = asyncio.create_task(grid.upload(DataSource(os.urandom(SIZE)), progress=show))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all_unfinished(local) == before


async def test_servers_that_come_back_are_used_again(local: LocalGrid, grid: Grid, data: bytes) -> None:
    result = await grid.upload(DataSource(data[:200_000]))
    victims = holders(local, result, range(8))
    for name in victims:
        local.kill(name)
    with pytest.raises(NotEnoughSharesError, match="needs 3 shares"):
        await grid.download(result.uri, DataTarget())
    for name in victims:
        local.revive(name)
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await grid.download(result.uri, DataTarget())).value == data[:200_000]
                break
            except HoldfastError:
                await asyncio.sleep(0.2)
