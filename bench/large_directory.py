"""What a directory of ten thousand children costs. Prints a table; `docs/scale.md` holds that of one run.

python bench/large_directory.py [--children 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import holdfast
from holdfast.caps import ImmutableReadCap
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.interfaces.drive import NewChild
from holdfast.testing.peak_memory import peak_memory
from holdfast_side import command, run

KINDS: tuple[DirectoryKind, ...] = ("sdmf", "mdmf", "immutable")
REPEATS = 5
"""How often each job is done; the median counts."""


def immutable_cap(number: int) -> str:
    """Return the capability of a file that nobody has stored."""
    digest = hashlib.sha256(b"%d" % number).digest()
    return ImmutableReadCap(digest[:16], digest, 3, 10, 1000 + number).to_text()


async def timed(job: Callable[[int], Awaitable[Any]], times: int = REPEATS) -> float:
    """Return the median of the seconds that a job takes."""
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        await job(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def measure(node: Path, kind: DirectoryKind, count: int) -> list[str]:
    """Return the cells of one column."""
    async with holdfast.connect(node) as grid:
        drive = Drive(grid, grid.mutable)
        await drive.create_directory("sdmf" if kind == "immutable" else kind)  # connections are open now
        now = drive.now()
        metadata = {"tahoe": {"linkcrtime": now, "linkmotime": now}}
        children = {
            f"child number {number}": NewChild(drive.node(immutable_cap(number)), metadata)
            for number in range(count)
        }
        while grid.mutable.keys_ready < 1:
            await asyncio.sleep(0.1)
        began = time.perf_counter()
        directory = await drive.create_directory(kind, children)
        created_s = time.perf_counter() - began
        size = len((await directory.contents.read()).to_bytes())
        listed_s = await timed(lambda number: directory.list())
        got_s = await timed(lambda number: directory.get(f"child number {number}"))
        if kind == "immutable":
            added = removed = "-"
        else:
            added_s = await timed(lambda number: directory.set_uri(f"new {number}", immutable_cap(number)))
            removed_s = await timed(lambda number: directory.delete(f"new {number}"))
            added, removed = f"{added_s:.2f} s", f"{removed_s:.2f} s"
    return [
        f"{size / 1e6:.1f} MB",
        f"{created_s:.2f} s",
        f"{listed_s:.2f} s",
        f"{got_s:.2f} s",
        added,
        removed,
        f"{peak_memory() / 1024:.0f} MiB",
    ]


ROWS = (
    "size of its table",
    "create it with all children",
    "list it: every child with its capabilities",
    "look one child up",
    "add a child",
    "remove a child",
    "most memory of the process so far",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--children", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-directory-") as directory:
        node = Path(directory) / "grid"
        command("grid", "start", str(node), "--servers", "10")
        try:
            columns = [run(measure(node, kind, arguments.children)) for kind in KINDS]
        finally:
            command("grid", "stop", str(node))
    print(f"| what | {' | '.join(KINDS)} |\n| --- |{' ---: |' * len(KINDS)}")
    for row, *cells in zip(ROWS, *columns, strict=True):
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
