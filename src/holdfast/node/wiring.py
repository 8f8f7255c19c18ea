"""Opening a grid for a program: picks the concrete classes of the client side and joins them.

What a program does not use it does not load: each function imports what it joins. The classes of
a running node are joined in ``services``, ``meeting`` and ``client_side``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.grid.client import Grid
    from holdfast.grid.introducer_client import IntroducerClient
    from holdfast.grid.introducer_settings import IntroducerClientSettings
    from holdfast.grid.settings import ClientSettings
    from holdfast.node.drive_client import DriveClient
    from holdfast.protocol.server_record import ServerRecord


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
async def open_drive(
    node: str | os.PathLike[str],
    *,
    on_problem: Callable[[str], None] | None = None,
    brief: bool = False,
) -> AsyncIterator[DriveClient]:
    """Open the files and directories of a client node: ``async with open_drive(node) as client``. Nothing is
    sent before the first use.

    Args:
        node: directory of a client node, or of a local grid.
        on_problem: as for ``connect``.
        brief: the program ends soon: nothing is made in advance.

    Raises:
        ConfigError: the node is not as it must be.
    """
    from holdfast.node.client_node import load_client_settings
    from holdfast.node.config import load_config
    from holdfast.node.drive_client import open_drive_client
    from holdfast.node.logs import log_through_the_standard_library
    from holdfast.node.places import client_directory

    log_through_the_standard_library()
    _say_if_slow()
    settings = replace(load_client_settings(Path(node)), brief=brief)
    directory = client_directory(Path(node))
    config = load_config(directory).vdrive
    async with (
        _grid_of_node(Path(node), settings, on_problem or _log_problem) as (grid, meeting),
        open_drive_client(directory / "private", grid, settings, config, meeting) as client,
    ):
        yield client


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

    from holdfast.grid.client import open_grid
    from holdfast.grid.settings import ClientSettings
    from holdfast.node.client_node import load_client_settings
    from holdfast.node.logs import log_through_the_standard_library

    log_through_the_standard_library()
    _say_if_slow()
    tell = on_problem or _log_problem
    if settings is None and node is not None:
        settings = load_client_settings(Path(node))
    settings = settings or ClientSettings(lease_secret=secrets.token_bytes(32))
    if servers is not None:
        async with open_grid(_given(servers, tell), settings) as grid:
            yield grid
    elif node is not None:
        async with _grid_of_node(Path(node), settings, tell) as (grid, _):
            yield grid
    else:
        raise ConfigError("say which grid: the directory of a client node, or a list of servers")


def _given(
    servers: Sequence[ServerRecord] | str | os.PathLike[str], tell: Callable[[str], None]
) -> Sequence[ServerRecord]:
    from holdfast.grid.server_list import load_server_list

    if not isinstance(servers, str | os.PathLike):
        return servers
    records, problems = load_server_list(Path(servers))
    for problem in problems:
        tell(problem)
    return records


@asynccontextmanager
async def _grid_of_node(
    directory: Path, settings: ClientSettings, tell: Callable[[str], None]
) -> AsyncIterator[tuple[Grid, tuple[IntroducerClient, IntroducerClientSettings] | None]]:
    """Open the grid of the servers that a node lists, and of those that its introducers name; and the client
    of these, if there are any."""
    from holdfast.grid.client import open_grid
    from holdfast.node.client_node import load_listed_servers
    from holdfast.node.config import SERVER_LISTS, load_config
    from holdfast.node.introducer_list import INTRODUCERS_FILE, load_introducers
    from holdfast.node.places import client_directory

    node = client_directory(directory)
    private = node / "private"
    records, problems = load_listed_servers(directory)
    for problem in problems:
        tell(problem)
    if not load_introducers(private):
        if not records and not problems and not any((node / name).exists() for name in SERVER_LISTS):
            raise ConfigError(
                f"{node} knows no storage servers: name an introducer in {private / INTRODUCERS_FILE},"
                f" or put a list of servers into {node / SERVER_LISTS[0]}"
            )
        async with open_grid(records, settings) as grid:
            yield grid, None
        return
    from holdfast.node.client_side import open_brief_grid
    from holdfast.node.meeting import meeting_settings

    hearing = meeting_settings(private, load_config(node).meeting)
    async with open_brief_grid(private, records, settings, hearing, tell) as (grid, meeting):
        yield grid, (meeting, hearing)


def _log_problem(problem: str) -> None:
    import structlog

    structlog.get_logger(__name__).warning("not all of the grid can be used", problem=problem)
