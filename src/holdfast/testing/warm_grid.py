"""A local grid for tests, whose nodes are forks: much sooner there, and alike in all else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

from holdfast.node.local_grid import LocalGrid
from holdfast.testing.warm_processes import WarmProcess


class WarmGrid(LocalGrid):
    """A local grid that ends with the process of the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, attached=True)

    def _process(self, node: Path, stdin: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return WarmProcess(
            "holdfast.node.process",
            [node],
            cwd=node,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
