"""The real tahoe-lafs, for the tests in this folder: its command, and one grid of it for all of them,
alone and beside one of Holdfast's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.grid.settings import EncodingSettings
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.mixed_grid import MixedGrid
from holdfast.testing.tahoe_peer import ClientSettings, TahoeClient, TahoeGrid
from holdfast.testing.warm_grid import WarmGrid

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def tahoe_command() -> Path:
    """Path of the `tahoe` command of the release that Holdfast is compatible with."""
    made = subprocess.run(
        [sys.executable, HERE / "make_peer_env.py"], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(made.stdout.strip())


@pytest.fixture(scope="package")
def tahoe_grid(tahoe_command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TahoeGrid]:
    """Four servers of tahoe-lafs, all running. A test that kills one starts it again."""
    with TahoeGrid(tahoe_command, tmp_path_factory.mktemp("tahoe"), servers=4) as grid:
        yield grid


@pytest.fixture(scope="package")
def tahoe_client(tahoe_grid: TahoeGrid) -> TahoeClient:
    """A client of the four servers, 2-of-4, happy with 4."""
    settings = ClientSettings(shares_needed=2, happiness=4, shares_total=4, convergence=bytes(range(32)))
    return tahoe_grid.start_client("client", settings)


@pytest.fixture(scope="package")
def holdfast_grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Four servers of Holdfast, all running. A test that kills one starts it again."""
    grid = WarmGrid(tmp_path_factory.mktemp("holdfast") / "grid")
    try:
        grid.start(4, EncodingSettings(shares_needed=2, happiness=4, shares_total=4))
        yield grid
    finally:
        if grid.exists:
            grid.stop()


@pytest.fixture(scope="package")
def mixed_grid(tahoe_grid: TahoeGrid, holdfast_grid: LocalGrid) -> MixedGrid:
    """The four servers of tahoe-lafs and the four of Holdfast."""
    return MixedGrid(tahoe_grid, holdfast_grid)
