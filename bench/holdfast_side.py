"""Measure Holdfast: ten storage servers as ten processes over TLS, and one client process that uses the
library; fsync on, 3-of-10, happy with 7, convergent, as it comes.

The same jobs as `opponent.py`: each upload has new random content, each download is hashed and compared
with what was uploaded. `measure_holdfast` returns the figures; run as a program it prints them as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.testing.peak_memory import peak_memory

MB = 1_000_000
SERVERS = 10
SMALL_FILES = 200
SMALL_SIZE = 20_000
AT_A_TIME = 8
HEAD_SIZE = 4096
HEAD_READS = 5
GRID_TIMEOUT_S = 120
ROUNDS = 3  # of each comparison


class HashTarget:
    """A download target that hashes what it gets; the value is the digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        pass

    async def write(self, data: memoryview) -> None:
        await asyncio.to_thread(self._hash.update, data)

    def close(self) -> None:
        pass

    def fail(self, why: BaseException) -> None:
        pass

    def finish(self) -> bytes:
        return self._hash.digest()


def settle() -> None:
    """Wait until the disk has all that was written before: no job pays for what another one left."""
    os.sync()


def median_of_rounds(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return figures that are the medians of all rounds that have them; ``rounds`` holds each one's value."""
    figures: dict[str, Any] = {}
    for name, last in rounds[-1].items():
        found = [each[name] for each in rounds if name in each]
        values = [one["value"] for one in found]
        seconds = [second for one in found for second in one["seconds"]]
        figures[name] = {**last, "value": statistics.median(values), "seconds": seconds, "rounds": values}
    return figures


def figure(value: float, unit: str, seconds: list[float], **more: float) -> dict[str, Any]:
    return {"value": value, "unit": unit, "seconds": seconds, **more}


def random_file(directory: Path, size: int) -> tuple[Path, bytes]:
    digest = hashlib.sha256()
    path = directory / f"random-{size}"
    with path.open("wb") as file:
        for offset in range(0, size, MB):
            piece = os.urandom(min(MB, size - offset))
            digest.update(piece)
            file.write(piece)
    return path, digest.digest()


async def measure_large(
    grid: Any, directory: Path, size: int, repeats: int
) -> tuple[dict[str, Any], dict[str, Any], str]:
    from holdfast.grid.sources import FileNameSource

    puts, gets, uri = [], [], ""
    for _ in range(repeats):
        path, expected = random_file(directory, size)
        settle()
        began = time.perf_counter()
        uri = str(await grid.upload(FileNameSource(path)))
        puts.append(time.perf_counter() - began)
        path.unlink()
        settle()
        began = time.perf_counter()
        download = await grid.download(uri, HashTarget())
        gets.append(time.perf_counter() - began)
        if download.value != expected:
            raise RuntimeError("the download differs from the upload")
    rate = size / MB
    return (
        figure(rate / statistics.median(puts), "MB/s", puts),
        figure(rate / statistics.median(gets), "MB/s", gets),
        uri,
    )


async def measure_small(grid: Any, at_a_time: int) -> tuple[dict[str, Any], dict[str, Any]]:
    from holdfast.grid.sources import DataSource
    from holdfast.grid.targets import DataTarget

    contents = [os.urandom(SMALL_SIZE) for _ in range(SMALL_FILES)]
    turn = asyncio.Semaphore(at_a_time)

    async def put(content: bytes) -> str:
        async with turn:
            return str(await grid.upload(DataSource(content)))

    async def get(uri: str) -> bytes:
        async with turn:
            value: bytes = (await grid.download(uri, DataTarget())).value
            return value

    settle()
    began = time.perf_counter()
    uris = await asyncio.gather(*(put(content) for content in contents))
    put_s = time.perf_counter() - began
    settle()
    began = time.perf_counter()
    got = await asyncio.gather(*(get(uri) for uri in uris))
    get_s = time.perf_counter() - began
    if got != contents:
        raise RuntimeError("a small file differs from what was uploaded")
    return figure(SMALL_FILES / put_s, "files/s", [put_s]), figure(SMALL_FILES / get_s, "files/s", [get_s])


async def measure_heads(grid: Any, uri: str) -> dict[str, Any]:
    from holdfast.grid.targets import DataTarget

    seconds = []
    for _ in range(HEAD_READS):
        began = time.perf_counter()
        download = await grid.download(uri, DataTarget(), offset=0, size=HEAD_SIZE)
        seconds.append(time.perf_counter() - began)
        if len(download.value) != HEAD_SIZE:
            raise RuntimeError("the first bytes did not come")
    return figure(statistics.median(seconds) * 1000, "ms", seconds)


async def measure(node: Path, directory: Path, repeats: int, gigabyte: bool) -> dict[str, Any]:
    """Run all jobs over the running grid of ``node``."""
    import holdfast

    figures: dict[str, Any] = {}
    async with holdfast.connect(node) as grid:
        await measure_large(grid, directory, 100 * MB, 1)  # connections and memory are warm afterwards
        figures["put_100MB"], figures["get_100MB"], _ = await measure_large(
            grid, directory, 100 * MB, repeats
        )
        for at_a_time in (1, AT_A_TIME):
            put, get = await measure_small(grid, at_a_time)
            figures[f"put_small_{at_a_time}"], figures[f"get_small_{at_a_time}"] = put, get
        if gigabyte:
            figures["put_1GB"], figures["get_1GB"], uri = await measure_large(grid, directory, 1000 * MB, 1)
            figures["first_4KiB"] = await measure_heads(grid, uri)
    figures["client_memory"] = figure(peak_memory() / 1024, "MiB", [])
    return figures


async def measure_sparse(node: Path, directory: Path, size: int) -> dict[str, Any]:
    """Store and read back a sparse file; the figure is this process's greatest resident size in MiB."""
    import holdfast
    from holdfast.grid.sources import FileNameSource
    from holdfast.grid.targets import DiscardTarget

    path = directory / "sparse"
    with path.open("wb") as file:
        file.truncate(size)
    async with holdfast.connect(node) as grid:
        began = time.perf_counter()
        uri = str(await grid.upload(FileNameSource(path)))
        put_s = time.perf_counter() - began
        up = peak_memory() / 1024
        began = time.perf_counter()
        if (await grid.download(uri, DiscardTarget())).value != size:
            raise RuntimeError("the download is short")
        get_s = time.perf_counter() - began
    both = peak_memory() / 1024
    path.unlink()
    return figure(both, "MiB", [put_s, get_s], upload_peak=up)


def command(*arguments: str) -> None:
    """Run a command of Holdfast as an installed one runs: its modules are compiled once, not each time."""
    subprocess.run(
        [sys.executable, "-m", "holdfast.cli.main", *arguments],
        check=True,
        timeout=GRID_TIMEOUT_S,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    )


def in_own_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def measure_holdfast(
    directory: Path, *, repeats: int = 3, gigabyte: bool = True, sparse_size: int = 0
) -> dict[str, Any]:
    """Start a grid below ``directory``, measure, stop it. Returns software, encoding and figures by name."""
    import holdfast

    node = directory / "grid"
    command("grid", "start", str(node), "--servers", str(SERVERS))
    try:
        options = ["--node", str(node), "--repeats", str(repeats), *([] if gigabyte else ["--quick"])]
        figures = in_own_process(*options)
        if sparse_size:
            figures["client_memory_sparse"] = in_own_process(
                "--node", str(node), "--sparse", str(sparse_size)
            )
    finally:
        command("grid", "stop", str(node))
    return {
        "software": f"holdfast/{holdfast.__version__}",
        "servers": SERVERS,
        "encoding": [3, 7, 10],
        "figures": figures,
    }


def run(coroutine: Any) -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=Path, help="a running local grid; without it one is made and removed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="leave out the file of 1 GB")
    parser.add_argument("--sparse", type=int, default=0, help="only a sparse file of this size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        if arguments.node is None:
            figures = measure_holdfast(
                Path(directory), repeats=arguments.repeats, gigabyte=not arguments.quick
            )
        elif arguments.sparse:
            figures = run(measure_sparse(arguments.node, Path(directory), arguments.sparse))
        else:
            figures = run(measure(arguments.node, Path(directory), arguments.repeats, not arguments.quick))
    json.dump(figures, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
