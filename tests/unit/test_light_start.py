"""What put and get load before they have asked the node that runs: next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from holdfast.cli import running_node
from holdfast.node import places

HEAVY = (
    "asyncio",
    "cbor2",
    "concurrent",
    "cryptography",
    "dataclasses",
    "holdfast.grid",
    "holdfast.planning",
    "holdfast.protocol",
    "httptools",
    "logging",
    "multiprocessing",
    "packaging",
    "prometheus_client",
    "rich",
    "sqlalchemy",
    "ssl",
    "structlog",
    "subprocess",
    "tomllib",
    "uvloop",
    "yaml",
)


@pytest.mark.parametrize("module", ["put", "get", "control"])
def test_a_command_that_leaves_the_work_to_a_node_loads_next_to_nothing(module: str) -> None:
    program = f"import sys, holdfast.cli.commands, holdfast.cli.{module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in HEAVY if name in done.stdout.split()] == []


def test_the_client_of_a_local_grid_is_where_nodes_say_it_is() -> None:
    assert (running_node.GRID_FILE, running_node.GRID_CLIENT) == (places.GRID_FILE, places.GRID_CLIENT)


def test_a_command_that_works_itself_does_not_load_what_only_progress_bars_need() -> None:
    program = "import sys, holdfast.cli.commands, holdfast.cli.cp; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "structlog" in loaded
    assert [name for name in loaded if name.partition(".")[0] in ("rich", "pygments", "sqlalchemy")] == []
