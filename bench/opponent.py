"""Measure tahoe-lafs 1.20 as it comes: ten storage servers and one client on this machine, 3-of-10,
happy with 7, everything through the client's web port.

`measure_opponent` returns the figures; run as a program it prints them as JSON. Each upload has new
random content, so that no share is there before; each download is compared with what was uploaded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from holdfast.testing.tahoe_peer import ClientSettings, TahoeClient, TahoeGrid
from holdfast_side import settle

MB = 1_000_000
SERVERS = 10
ENCODING = ClientSettings(shares_needed=3, happiness=7, shares_total=10)
SMALL_FILES = 200
SMALL_SIZE = 20_000
AT_A_TIME = 8
HEAD_SIZE = 4096
HEAD_READS = 5

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Figure:
    """One job, measured once or several times."""

    value: float  # median, in ``unit``
    unit: str
    seconds: list[float]  # each measurement


def throughput(amount: float, unit: str, seconds: Iterable[float]) -> Figure:
    """Figure of a job that moved ``amount`` of what ``unit`` counts per second."""
    taken = list(seconds)
    return Figure(amount / statistics.median(taken), unit, taken)


def timed(
    job: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> tuple[float, Result]:
    """Return how many seconds ``job`` took, and its result."""
    start = time.perf_counter()
    result = job(*args, **kwargs)
    return time.perf_counter() - start, result


def run_all(pool: ThreadPoolExecutor, job: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    return list(pool.map(job, items))


@contextmanager
def random_file(directory: Path, size: int) -> Iterator[tuple[Path, bytes]]:
    """A file of random bytes, gone afterwards, and its SHA-256."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for offset in range(0, size, MB):
            piece = os.urandom(min(MB, size - offset))
            digest.update(piece)
            file.write(piece)
        file.flush()
        yield Path(file.name), digest.digest()


def upload(client: TahoeClient, path: Path) -> str:
    with open(path, "rb") as file:
        return client.put(file, size=path.stat().st_size)


def download_digest(client: TahoeClient, cap: str) -> bytes:
    digest = hashlib.sha256()
    for piece in client.get_pieces(cap):
        digest.update(piece)
    return digest.digest()


def measure_large(
    client: TahoeClient, directory: Path, size: int, repeats: int
) -> tuple[Figure, Figure, list[str]]:
    """Return the figures of putting and of getting files of ``size`` bytes, and the files' capabilities."""
    puts, gets, caps = [], [], []
    for _ in range(repeats):
        with random_file(directory, size) as (path, expected):
            settle()
            seconds, cap = timed(upload, client, path)
        puts.append(seconds)
        caps.append(cap)
        settle()
        seconds, got = timed(download_digest, client, cap)
        gets.append(seconds)
        if got != expected:
            raise RuntimeError("the download differs from the upload")
    return throughput(size / MB, "MB/s", puts), throughput(size / MB, "MB/s", gets), caps


def measure_small(client: TahoeClient, at_a_time: int) -> tuple[Figure, Figure]:
    """Return the figures of putting and getting many small files with ``at_a_time`` requests under way."""
    contents = [os.urandom(SMALL_SIZE) for _ in range(SMALL_FILES)]
    with ThreadPoolExecutor(at_a_time) as pool:
        settle()
        put_seconds, caps = timed(run_all, pool, client.put, contents)
        settle()
        get_seconds, got = timed(run_all, pool, client.get, caps)
    if got != contents:
        raise RuntimeError("a small file differs from what was uploaded")
    return (
        throughput(SMALL_FILES, "files/s", [put_seconds]),
        throughput(SMALL_FILES, "files/s", [get_seconds]),
    )


def measure_head(client: TahoeClient, cap: str) -> Figure:
    """Return the figure of reading the first bytes of a large file."""
    taken = [timed(client.get, cap, length=HEAD_SIZE)[0] for _ in range(HEAD_READS)]
    return Figure(statistics.median(taken) * 1000, "ms", taken)


def measure_client(
    client: TahoeClient, directory: Path, *, repeats: int, gigabyte: bool
) -> dict[str, Figure]:
    """Run every job on a client that is connected to its servers."""
    measure_large(client, directory, 100 * MB, 1)  # connections are open and memory is warm afterwards
    figures = {}
    figures["put_100MB"], figures["get_100MB"], caps = measure_large(client, directory, 100 * MB, repeats)
    figures["put_small_1"], figures["get_small_1"] = measure_small(client, 1)
    figures["put_small_8"], figures["get_small_8"] = measure_small(client, AT_A_TIME)
    if gigabyte:
        figures["put_1GB"], figures["get_1GB"], caps = measure_large(client, directory, 1000 * MB, 1)
    figures["first_4KiB"] = measure_head(client, caps[-1])
    return figures


def measure_opponent(directory: Path, *, repeats: int = 3, gigabyte: bool = True) -> dict[str, Any]:
    """Start the grid under ``directory`` (which needs 5 GB), run every job, and stop it.

    Args:
        repeats: how often the 100 MB file is stored and fetched.
        gigabyte: whether to store and fetch 1 GB too; the range is read from the 100 MB file otherwise.
    """
    make_peer_env = Path(__file__).resolve().parent.parent / "tests/interop/make_peer_env.py"
    made = subprocess.run([sys.executable, make_peer_env], check=True, stdout=subprocess.PIPE, text=True)
    with TahoeGrid(Path(made.stdout.strip()), directory, SERVERS) as grid:
        client = grid.start_client("client", ENCODING)
        figures = measure_client(client, directory, repeats=repeats, gigabyte=gigabyte)
    return {
        "software": "tahoe-lafs 1.20.0",
        "servers": SERVERS,
        "encoding": [ENCODING.shares_needed, ENCODING.happiness, ENCODING.shares_total],
        "figures": {name: asdict(figure) for name, figure in figures.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure tahoe-lafs 1.20 on this machine.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="leave out the file of 1 GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = measure_opponent(Path(directory), repeats=options.repeats, gigabyte=not options.quick)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
