"""How long the command line takes for a small file: with a node that runs, and without one.

    python bench/startup.py [DIRECTORY]

A grid of ten servers and a client's node, each a process of its own, in DIRECTORY (default: a temporary
one). Each command is run as a shell would, from the start of Python to its end, RUNS times, in turns with
the others. docs/scale.md has what it prints.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import COMMAND, environment
from holdfast.testing.node_processes import NodeProcess

SERVERS = 10
RUNS = 20
SIZE = 20_000  # bytes

Command = Callable[[], Sequence[str]]


def main(place: Path) -> None:
    grid = LocalGrid(place / "grid", attached=True)
    node = NodeProcess(grid.client_directory)
    small = place / "small"

    def new_file() -> str:
        small.write_bytes(os.urandom(SIZE))
        return str(small)

    try:
        grid.start(SERVERS)
        node.start()
        node.wait_for(lambda status: sum(one["state"] == "up" for one in status["servers"]) == SERVERS)
        cap = run(grid, (*COMMAND, "put", "-q", new_file())).stdout.decode().strip()
        transfers: dict[str, Command] = {
            "put, 20 kB": lambda: (*COMMAND, "put", new_file()),
            "get, 20 kB": lambda: (*COMMAND, "get", cap, str(place / "copy")),
        }
        others: dict[str, Command] = {
            "python -c pass": lambda: (sys.executable, "-P", "-c", "pass"),
            "python -c 'import click'": lambda: (sys.executable, "-P", "-c", "import click"),
            "holdfast --version": lambda: (*COMMAND, "--version"),
            "status --json": lambda: (*COMMAND, "status", "--json"),
        }
        print(f"{'median of ' + str(RUNS) + ' runs':38}  {'elapsed':>9}  {'fastest':>9}  {'own CPU':>9}")
        measure(grid, {**others, **{f"{name}, the node runs": one for name, one in transfers.items()}})
        node.stop()
        measure(grid, {f"{name}, no node runs": one for name, one in transfers.items()})
    finally:
        node.end()
        grid.stop()


def measure(grid: LocalGrid, commands: Mapping[str, Command]) -> None:
    """Run every command once to warm it up, then in turns; print a line for each."""
    elapsed: dict[str, list[float]] = {name: [] for name in commands}
    computing: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(RUNS + 1):
        for name, command in commands.items():
            arguments = command()
            cpu, begin = cpu_of_children(), time.perf_counter()
            run(grid, arguments)
            if turn:
                elapsed[name].append(time.perf_counter() - begin)
                computing[name].append(cpu_of_children() - cpu)
    for name in commands:
        figures = (statistics.median(elapsed[name]), min(elapsed[name]), statistics.median(computing[name]))
        print(f"{name:38}  {'  '.join(f'{figure * 1000:6.0f} ms' for figure in figures)}", flush=True)


def run(grid: LocalGrid, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(arguments, capture_output=True, env=environment(grid.directory), check=True)


def cpu_of_children() -> float:
    """Return the processor time of the commands that have ended; nodes are still running."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        main(Path(directory))
