"""What storing and reading a file by its capability loads: nothing of directories, nor of databases."""

from __future__ import annotations

import subprocess
import sys

NEEDLESS = (
    "sqlalchemy",
    "alembic",
    "holdfast.grid.vdrive",
    "holdfast.drive",
    "holdfast.servers",
    "rich.table",
)
PROGRAM = """
import asyncio, sys
import holdfast.cli.direct_transfers, holdfast.node.client_node, holdfast.node.client_side
from holdfast.node.wiring import connect

async def use():
    async with connect(servers=[]):
        pass

asyncio.run(use())
print(*sys.modules, sep="\\n")
"""


def test_a_file_is_stored_and_read_without_what_directories_take() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "holdfast.grid.client" in loaded
    assert [name for name in NEEDLESS if name in loaded] == []
