"""Several processes change one directory at once: nothing that was acknowledged is lost, and a
writer that is killed leaves a directory that can be read and changed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import holdfast
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.node_making import DirectoryKind
from holdfast.drive.nodes import Drive
from holdfast.grid.settings import EncodingSettings
from holdfast.testing.directory_writer import (
    expected_names,
    first_changes,
    start_writer,
    told,
)
from holdfast.testing.warm_grid import WarmGrid

CHANGES = 500  # of all writers in all cases but the long one
SOAK_CHANGES = 5000
KILLS = 5
SURVIVOR_CHANGES = 30
PATIENCE_S = 110


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    grid = WarmGrid(tmp_path_factory.mktemp("writers") / "grid")
    try:
        grid.start(4, EncodingSettings(shares_needed=2, happiness=4, shares_total=4))
        yield grid.client_directory
    finally:
        if grid.exists:
            grid.stop()


async def new_directory(node: Path, kind: DirectoryKind) -> str:
    async with holdfast.connect(node) as grid:
        return (await Drive(grid, grid.mutable).create_directory(kind)).get_uri()


async def names_in(node: Path, cap: str) -> set[str]:
    """Return what a client finds that was not there before."""
    async with holdfast.connect(node) as grid:
        directory = Drive(grid, grid.mutable).node(cap)
        assert isinstance(directory, GridDirectoryNode)
        return set(await directory.list(on_error="raise"))


def write_all(node: Path, cap: str, writers: int, count: int, patience_s: float) -> None:
    """Run writers at once; return when all have made all of their changes."""
    with ExitStack() as stack, ThreadPoolExecutor(writers) as pool:
        running = [start_writer(node, cap, f"w{number}", count) for number in range(writers)]
        for writer in running:
            stack.callback(writer.kill)
        ended = list(pool.map(lambda writer: writer.communicate(timeout=patience_s), running))
        for number, (writer, (output, errors)) in enumerate(zip(running, ended, strict=True)):
            assert writer.returncode == 0, errors
            assert told(output) == first_changes(f"w{number}", count)


async def check_writers(node: Path, kind: DirectoryKind, writers: int, count: int, patience_s: float) -> None:
    cap = await new_directory(node, kind)
    write_all(node, cap, writers, count, patience_s)
    done = [change for number in range(writers) for change in first_changes(f"w{number}", count)]
    assert await names_in(node, cap) == expected_names(done)


@pytest.mark.parametrize(
    ("writers", "kind", "share"), [(2, "sdmf", 0.4), (2, "mdmf", 0.3), (10, "sdmf", 0.3)]
)
async def test_nothing_acknowledged_is_lost(
    node: Path, writers: int, kind: DirectoryKind, share: float
) -> None:
    await check_writers(node, kind, writers, int(CHANGES * share) // writers, PATIENCE_S)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_nothing_acknowledged_is_lost_for_long(node: Path) -> None:
    await check_writers(node, "mdmf", 5, SOAK_CHANGES // 5, 7200)


@pytest.mark.parametrize("kind", ["sdmf", "mdmf"])
async def test_a_killed_writer_leaves_a_directory_to_read_and_to_change(
    node: Path, kind: DirectoryKind
) -> None:
    cap = await new_directory(node, kind)
    moments = random.Random(5)
    with ExitStack() as stack:
        survivor = start_writer(node, cap, "survivor", SURVIVOR_CHANGES)
        stack.callback(survivor.kill)
        for number in range(KILLS):
            name = f"killed{number}"
            writer = start_writer(node, cap, name, 1000)
            stack.callback(writer.kill)
            assert writer.stdout is not None
            first = writer.stdout.readline() + writer.stdout.readline()
            time.sleep(moments.uniform(0, 0.1))
            writer.kill()
            acknowledged = told(first + writer.communicate()[0])
            (*_, under_way) = first_changes(name, len(acknowledged) + 1)

            found = {found for found in await names_in(node, cap) if found.startswith(f"{name}-")}

            assert found in (expected_names(acknowledged), expected_names([*acknowledged, under_way]))
        output, errors = survivor.communicate(timeout=PATIENCE_S)

    assert survivor.returncode == 0, errors
    assert told(output) == first_changes("survivor", SURVIVOR_CHANGES)
    found = {found for found in await names_in(node, cap) if found.startswith("survivor-")}
    assert found == expected_names(first_changes("survivor", SURVIVOR_CHANGES))
