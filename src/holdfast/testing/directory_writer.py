"""A process that goes on changing one directory while others do the same.

``python -m holdfast.testing.directory_writer NODE CAP NAME COUNT`` makes so many changes: it sets names of
its own, and renames and deletes some of them. A change that collided with others so often that it was
refused is tried again. Each change that was acknowledged is told in a line on standard output, after it;
``expected_names`` says what such lines leave behind.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import holdfast
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.nodes import Drive
from holdfast.errors import ConflictError, NotEnoughSharesError
from holdfast.interfaces.drive import ChildAlreadyPresentError, NoSuchChildError
from holdfast.node.event_loop import loop_factory
from holdfast.testing.command_line import environment
from holdfast.testing.warm_processes import WarmProcess

CHILD = "URI:LIT:nbswy3dp"

Change = tuple[str, ...]
"""``set NAME``, ``rename OLD NEW`` or ``delete NAME``."""


def changes(name: str) -> Iterator[Change]:
    """Yield what a writer called ``name`` does, without end."""
    for number in itertools.count():
        yield "set", f"{name}-{number}"
        if number % 3 == 2:
            yield "rename", f"{name}-{number - 1}", f"{name}-{number - 1}-renamed"
        if number % 5 == 4 and number % 3 != 1:  # those are renamed in the next round
            yield "delete", f"{name}-{number}"


def first_changes(name: str, count: int) -> list[Change]:
    """Return the first ``count`` of them."""
    return list(itertools.islice(changes(name), count))


def expected_names(done: Iterable[Change]) -> set[str]:
    """Return the names that are there after these changes."""
    names: set[str] = set()
    for what, name, *new_name in done:
        if what == "set":
            names.add(name)
        else:
            names.remove(name)
            names.update(new_name)
    return names


def start_writer(node: Path, cap: str, name: str, count: int) -> WarmProcess:
    """Start such a process; it tells of its changes on its standard output."""
    return WarmProcess(
        __name__,
        [node, cap, name, str(count)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(None),
    )


def told(output: bytes) -> list[Change]:
    """Return the changes of which a writer told."""
    return [tuple(line.split()) for line in output.decode().splitlines()]


async def _make(directory: GridDirectoryNode, change: Change) -> None:
    """Make one change, however often that collides.

    A change that was refused may have been made nevertheless.
    """
    what, name, *rest = change
    first = True
    while True:
        try:
            if what == "set":
                await directory.set_uri(name, CHILD, replace=not first)
            elif what == "rename":
                await directory.move_child_to(name, directory, *rest)
            else:
                await directory.delete(name, must_exist=first)
            return
        except (NoSuchChildError, ChildAlreadyPresentError):
            if first or what != "rename" or not await directory.has_child(rest[0]):
                raise
            return
        except (ConflictError, NotEnoughSharesError):  # the second while others are in the middle of writing
            first = False


async def _write(node: Path, cap: str, name: str, count: int) -> None:
    async with holdfast.connect(node) as grid:
        directory = Drive(grid, grid.mutable).node(cap)
        assert isinstance(directory, GridDirectoryNode)
        for change in first_changes(name, count):
            await _make(directory, change)
            print(*change, flush=True)  # noqa: T201  (what the process is for)


def main() -> None:
    node, cap, name, count = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_write(Path(node), cap, name, int(count)))


if __name__ == "__main__":
    main()
