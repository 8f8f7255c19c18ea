"""Measure mutable files and directories of Holdfast beside tahoe-lafs 1.20, in one run: ten storage servers
and one client each, 3 of 10, as they come. tahoe-lafs is used through its web API, Holdfast through its
library in one process; ``cp -r`` is the command of each.

`measure_directories` returns the figures of both; run as a program it prints them as a table:

    python bench/directories.py [--quick]

Each job is done once before it is measured, on both sides, so that connections are open and code is loaded as
in a client that has run for a while; key pairs, which Holdfast makes in advance, are ready as they are then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from holdfast.testing.tahoe_directories import TahoeChild, TahoeDirectories
from holdfast.testing.tahoe_peer import TahoeClient, TahoeGrid
from holdfast_side import ROUNDS, command, figure, median_of_rounds, run, settle
from opponent import ENCODING, SERVERS

JOBS = {
    "mkdir": ("create a directory", 8.0),
    "add_small": ("add a child to a small directory", 8.0),
    "add_large": ("add a child to a directory of 2,000", 5.0),
    "path_5": ("read a small file at a path of 5 names", 5.0),
    "overwrite_1MB": ("overwrite a mutable file (MDMF) of 1 MB", 5.0),
    "cp_500": ("copy 500 files of 2 KB into a new directory (cp -r)", 20.0),
}
"""What each figure is called, and the least ratio that is wanted."""

MB = 1_000_000
CHILD = "URI:LIT:nbswy3dp"
SMALL_DIRECTORY = 10  # children
LARGE_DIRECTORY = 2000
DEPTH = 5
FILE_SIZE = 2000
COPIED = 500
COPIED_QUICKLY = 50
AT_ONCE = 10  # requests, where many are made at a time
KEYS_READY = 50  # as many as a client keeps that has run for a while


class Repeats:
    """How often each job is measured."""

    def __init__(self, *, quick: bool) -> None:
        self.short = 3 if quick else 15
        self.long = 1 if quick else 5
        self.copied = COPIED_QUICKLY if quick else COPIED
        self.rounds = 1 if quick else ROUNDS


def milliseconds(seconds: list[float]) -> dict[str, Any]:
    return figure(statistics.median(seconds) * 1000, "ms", seconds)


def children_of(count: int) -> list[str]:
    return [f"child number {number}" for number in range(count)]


def make_files(directory: Path, count: int) -> Path:
    """Make a directory of files that nobody has stored before."""
    place = Path(tempfile.mkdtemp(dir=directory))
    for number in range(count):
        (place / f"file {number}").write_bytes(os.urandom(FILE_SIZE))
    return place


# -- tahoe-lafs


def repeated(times: int, job: Callable[[int], object]) -> dict[str, Any]:
    """Do a job once unmeasured, then ``times`` times; ``job`` is given a number that is another each time."""
    job(-1)
    settle()
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        job(number)
        seconds.append(time.perf_counter() - began)
    return milliseconds(seconds)


def measure_theirs(client: TahoeClient, tahoe: Path, directory: Path, *, quick: bool) -> dict[str, Any]:
    """Run every job through a client that is connected to its servers.

    Args:
        tahoe: the command of the release, for cp.
        directory: for what is copied; it must be there.
    """
    drive, repeats, figures = TahoeDirectories(client), Repeats(quick=quick), {}
    figures["mkdir"] = repeated(repeats.short, lambda number: drive.create())
    small = drive.create_with(dict.fromkeys(children_of(SMALL_DIRECTORY), TahoeChild.of(CHILD, {})))
    figures["add_small"] = repeated(
        repeats.short, lambda number: drive.set_children(small, {f"new {number}": TahoeChild.of(CHILD)})
    )
    large = drive.create_with(dict.fromkeys(children_of(LARGE_DIRECTORY), TahoeChild.of(CHILD, {})))
    figures["add_large"] = repeated(
        repeats.long, lambda number: drive.set_children(large, {f"new {number}": TahoeChild.of(CHILD)})
    )
    figures["add_large_rate"] = added_at_once(drive, large, repeats.long)
    content = os.urandom(FILE_SIZE)
    root, names = drive.create(), ["a", "b", "c", "d", "file"]
    assert len(names) == DEPTH
    drive.put(root, names, content)

    def read(number: int) -> None:
        if drive.read(root, names) != content:
            raise RuntimeError("the file differs from what was stored")

    figures["path_5"] = repeated(repeats.short, read)
    contents = [os.urandom(MB) for _ in range(repeats.long + 1)]
    file = client.put(bytes(MB), mutable="MDMF")
    figures["overwrite_1MB"] = repeated(repeats.long, lambda number: drive.put(file, [], contents[number]))
    if client.get(file) != contents[repeats.long - 1]:
        raise RuntimeError("the file differs from what was stored")

    source, target = make_files(directory, repeats.copied), drive.create()
    settle()
    began = time.perf_counter()
    subprocess.run(
        [tahoe, "-d", client.directory, "cp", "-r", source, f"{target}/copied"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    figures["cp_500"] = milliseconds([time.perf_counter() - began])
    if len(drive.list(target, ["copied", source.name])) != repeats.copied:
        raise RuntimeError("not all was copied")
    shutil.rmtree(source)
    return figures


def added_at_once(drive: TahoeDirectories, directory: str, times: int) -> dict[str, Any]:
    """Add children many at a time; return how many a second."""
    numbers = range(AT_ONCE * times)
    settle()
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(
            threads.map(
                lambda number: drive.set_children(directory, {f"at once {number}": TahoeChild.of(CHILD)}),
                numbers,
            )
        )
    taken = time.perf_counter() - began
    return figure(len(numbers) / taken, "children/s", [taken])


# -- Holdfast


async def repeated_here(times: int, job: Callable[[int], Awaitable[object]]) -> dict[str, Any]:
    """Do what ``repeated`` does."""
    await job(-1)
    settle()
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        await job(number)
        seconds.append(time.perf_counter() - began)
    return milliseconds(seconds)


async def all_keys_ready(grid: Any) -> None:
    """Wait until no more key pairs are made: each job is measured without what another one left to do."""
    while grid.mutable.keys_ready < KEYS_READY:
        await asyncio.sleep(0.1)


async def measure_ours(node: Path, directory: Path, *, quick: bool) -> dict[str, Any]:
    """Run every job over the running grid of ``node``."""
    import holdfast
    from holdfast.drive.directory_node import GridDirectoryNode
    from holdfast.drive.nodes import Drive
    from holdfast.grid.sources import DataSource
    from holdfast.interfaces.drive import NewChild

    repeats, figures = Repeats(quick=quick), {}
    async with holdfast.connect(node) as grid:
        drive = Drive(grid, grid.mutable)
        await drive.create_directory()
        await all_keys_ready(grid)
        figures["mkdir"] = await repeated_here(repeats.short, lambda number: drive.create_directory())
        child = NewChild(drive.node(CHILD), {})
        small = await drive.create_directory("sdmf", dict.fromkeys(children_of(SMALL_DIRECTORY), child))
        await all_keys_ready(grid)
        figures["add_small"] = await repeated_here(
            repeats.short, lambda number: small.set_uri(f"new {number}", CHILD, replace=True)
        )
        large = await drive.create_directory("sdmf", dict.fromkeys(children_of(LARGE_DIRECTORY), child))
        await all_keys_ready(grid)
        figures["add_large"] = await repeated_here(
            repeats.long, lambda number: large.set_uri(f"new {number}", CHILD, replace=True)
        )
        content = os.urandom(FILE_SIZE)
        root = node_at = await drive.create_directory()
        for name in ("a", "b", "c", "d"):
            node_at = await node_at.create_empty_directory(name)
        await node_at.add_file("file", DataSource(content))

        async def read(number: int) -> None:
            file = await root.get_child_at_path("a/b/c/d/file")
            assert file.kind == "file"
            if await file.download_to_data() != content:
                raise RuntimeError("the file differs from what was stored")

        await all_keys_ready(grid)
        figures["path_5"] = await repeated_here(repeats.short, read)
        contents = [os.urandom(MB) for _ in range(repeats.long + 1)]
        file = await drive.create_mutable_file(bytes(MB), format="MDMF")
        await all_keys_ready(grid)
        figures["overwrite_1MB"] = await repeated_here(
            repeats.long, lambda number: file.overwrite(contents[number])
        )
        if await file.download_to_data() != contents[repeats.long - 1]:
            raise RuntimeError("the file differs from what was stored")

        source, target = make_files(directory, repeats.copied), await drive.create_directory()
        await all_keys_ready(grid)
        settle()
        began = time.perf_counter()
        await asyncio.to_thread(
            command, "cp", "-q", "-r", "--node", str(node), str(source), f"{target.get_uri()}/copied"
        )
        figures["cp_500"] = milliseconds([time.perf_counter() - began])
        copied = await target.get_child_at_path(f"copied/{source.name}")
        assert isinstance(copied, GridDirectoryNode)
        if len(await copied.list()) != repeats.copied:
            raise RuntimeError("not all was copied")
        shutil.rmtree(source)
    return figures


def measure_directories(directory: Path, *, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure both sides below ``directory``, in turn, in rounds; return the figures of both, ours last."""
    make_peer_env = Path(__file__).resolve().parent.parent / "tests/interop/make_peer_env.py"
    made = subprocess.run([sys.executable, make_peer_env], check=True, stdout=subprocess.PIPE, text=True)
    tahoe = Path(made.stdout.strip())
    theirs, ours = [], []
    for number in range(Repeats(quick=quick).rounds):
        place = directory / f"round-{number}"
        for name in ("tahoe", "holdfast", "files"):
            (place / name).mkdir(parents=True)
        with TahoeGrid(tahoe, place / "tahoe", SERVERS) as grid:
            client = grid.start_client("client", ENCODING)
            theirs.append(measure_theirs(client, tahoe, place / "files", quick=quick))
        ours.append(on_our_grid(place / "holdfast/grid", place / "files", quick=quick))
    return median_of_rounds(theirs), median_of_rounds(ours)


def on_our_grid(node: Path, files: Path, *, quick: bool) -> dict[str, Any]:
    """Start a grid, run every job in a process of its own, stop it."""
    command("grid", "start", str(node), "--servers", str(SERVERS))
    try:
        arguments = ["--node", str(node), "--files", str(files), *(["--quick"] if quick else [])]
        done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE)
    finally:
        command("grid", "stop", str(node))
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def table(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    lines = []
    for name, (title, wanted) in JOBS.items():
        a, b = theirs[name]["value"], ours[name]["value"]
        lines.append(f"{title:56} {a:9.1f} ms {b:8.1f} ms {a / b:6.1f} (wanted {wanted:g})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure less often, and copy fewer files")
    parser.add_argument("--node", type=Path, help="only Holdfast, on this local grid; prints JSON")
    parser.add_argument("--files", type=Path, help="where to put files that are copied, with --node")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        if arguments.node is not None:
            files = arguments.files or Path(directory)
            print(json.dumps(run(measure_ours(arguments.node, files, quick=arguments.quick)), indent=1))
        else:
            print(table(*measure_directories(Path(directory), quick=arguments.quick)))


if __name__ == "__main__":
    main()
