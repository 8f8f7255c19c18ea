"""What the operator of a virtual drive server does, whether it runs or not: both use its database.

Source: docs/spec/vdrive.md, sections 11 and 13.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError
from holdfast.interfaces.vdrive import Counts
from holdfast.node.config import NodeConfig, load_config
from holdfast.node.places import GRID_FILE, GRID_INTRODUCER
from holdfast.node.vdrive_service import database_url

if TYPE_CHECKING:
    from holdfast.servers.vdrive.database import Database

USUAL_ACCOUNT = Counts(10_000, 1_000_000, 4 << 30)
"""What an account may use up unless somebody says otherwise."""


def vdrive_server_directory(directory: Path) -> tuple[Path, NodeConfig]:
    """Return the node that ``directory`` means when directories are kept there: itself, or that of a local
    grid; and its settings.

    Raises:
        ConfigError: it keeps none.
    """
    node = directory / GRID_INTRODUCER if (directory / GRID_FILE).is_file() else directory
    config = load_config(node)
    if not config.vdrive_server.enabled:
        raise ConfigError(f"{node} is no virtual drive server (vdrive-server.enabled is false)")
    return node, config


@asynccontextmanager
async def open_server_database(directory: Path) -> AsyncIterator[Database]:
    """Give the database of the server in ``directory``; it is made if there is none yet.

    Raises:
        ConfigError: there is no server, or its database cannot be used.
    """
    from holdfast.servers.vdrive.database import open_database

    node, config = vdrive_server_directory(directory)
    database = await asyncio.to_thread(open_database, database_url(node / "private", config.vdrive_server))
    try:
        yield database
    finally:
        await asyncio.to_thread(database.close)
