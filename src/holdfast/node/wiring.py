"""The only place that picks concrete classes and joins them.

What a process does not use it does not load: each function imports what it joins.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.grid.client import Grid
    from holdfast.grid.settings import ClientSettings
    from holdfast.node.config import StorageConfig
    from holdfast.node.storage_identity import StorageIdentity
    from holdfast.protocol.server_record import ServerRecord
    from holdfast.wire.http import Handler


def connect(
    node: str | os.PathLike[str] | None = None,
    *,
    servers: Sequence[ServerRecord] | str | os.PathLike[str] | None = None,
    settings: ClientSettings | None = None,
    on_problem: Callable[[str], None] | None = None,
) -> AbstractAsyncContextManager[Grid]:
    """Open a grid: ``async with connect(...) as grid``. Nothing is sent before the first use.

    Args:
        node: directory of a client node, or of a local grid.
        servers: storage servers, or the file that lists them, in place of those of the node.
        settings: in place of those of the node. Without a node: the defaults and secrets of the moment, so
            that files do not converge, and leases cannot be renewed later.
        on_problem: told of each entry of the list of servers that cannot be used; the others are.

    Raises:
        ConfigError: neither a node nor servers are given; or the node or the list is not as it must be.
    """
    return _connect(node, servers, settings, on_problem)


@asynccontextmanager
async def open_storage_service(
    directory: Path, config: StorageConfig, identity: StorageIdentity
) -> AsyncIterator[Handler]:
    """Open the shares in ``directory``, and yield what answers requests for them.

    Raises:
        HoldfastError: the directory cannot be used.
    """
    from holdfast.servers.storage.engine import open_storage
    from holdfast.servers.storage.handler import storage_handler
    from holdfast.servers.storage.settings import StorageSettings

    storage_settings = StorageSettings(
        capacity=config.capacity,
        reserved_space=config.reserved_space,
        read_only=config.read_only,
        durability=config.durability,
        verify_on_close=config.verify_on_close,
    )
    async with open_storage(directory, storage_settings, identity.server_seed) as engine:
        yield storage_handler(engine, identity.swissnum)


@lru_cache(maxsize=1)
def _say_if_slow() -> None:
    """Say, once in the life of a process, that the native kernel could not be built here."""
    import structlog

    from holdfast.crypto.kernel import implementation

    if implementation() == "python":
        structlog.get_logger(__name__).warning(
            "the native kernel is not there: encoding and decoding are about eight times slower"
        )


@asynccontextmanager
async def _connect(
    node: str | os.PathLike[str] | None,
    servers: Sequence[ServerRecord] | str | os.PathLike[str] | None,
    settings: ClientSettings | None,
    on_problem: Callable[[str], None] | None,
) -> AsyncIterator[Grid]:
    import secrets

    import structlog

    from holdfast.grid.client import open_grid
    from holdfast.grid.server_list import load_server_list
    from holdfast.grid.settings import ClientSettings
    from holdfast.node.client_node import load_client_settings, load_known_servers
    from holdfast.node.logs import log_through_the_standard_library

    log_through_the_standard_library()
    _say_if_slow()
    records: Sequence[ServerRecord]
    problems: Sequence[str] = ()
    if isinstance(servers, str | os.PathLike):
        records, problems = load_server_list(Path(servers))
    elif servers is not None:
        records = servers
    elif node is not None:
        records, problems = load_known_servers(Path(node))
    else:
        raise ConfigError("say which grid: the directory of a client node, or a list of servers")
    for problem in problems:
        if on_problem is not None:
            on_problem(problem)
        else:
            structlog.get_logger(__name__).warning("a server of the list cannot be used", problem=problem)
    if settings is None and node is not None:
        settings = load_client_settings(Path(node))
    async with open_grid(records, settings or ClientSettings(lease_secret=secrets.token_bytes(32))) as grid:
        yield grid
