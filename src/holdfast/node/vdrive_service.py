"""The virtual drive server of a node: from the node's settings to a running service.

Source: docs/spec/vdrive.md, sections 4.1, 10.2 and 16.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError
from holdfast.node.config import NodeConfig, VdriveServerConfig
from holdfast.node.identity import NodeIdentity, load_node_identity
from holdfast.node.introducer_nurls import nurls_of
from holdfast.node.ports import chosen_port, remembered_port
from holdfast.node.swissnums import VDRIVE_SWISSNUM_FILE, kept_swissnum, read_swissnum
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.wire.http import Handler

if TYPE_CHECKING:
    from holdfast.servers.vdrive.engine import VdriveEngine

DATABASE_FILE = "vdrive.sqlite"


@asynccontextmanager
async def open_vdrive_service(
    directory: Path, config: NodeConfig, identity: NodeIdentity
) -> AsyncIterator[tuple[VdriveEngine, Handler]]:
    """Open the directories that a node keeps; yield them, and what answers requests for them.

    Raises:
        HoldfastError: the database or a private file cannot be used.
    """
    from holdfast.servers.vdrive.engine import open_vdrive
    from holdfast.servers.vdrive.handler import vdrive_handler

    settings = vdrive_settings(directory, config, identity)
    async with open_vdrive(settings) as engine:
        yield engine, vdrive_handler(engine, settings.swissnum)


def service_nurls(directory: Path, config: NodeConfig) -> tuple[str, ...]:
    """Return where the service of a node is reached.

    Raises:
        ConfigError: it has no port yet, since it never ran; or a private file is missing.
    """
    port = config.node.port or remembered_port(directory)
    if port is None:
        raise ConfigError(f"{directory} has no port yet; it gets one when it runs first")
    private = directory / "private"
    return nurls_of(
        load_node_identity(private), config.node, port, read_swissnum(private / VDRIVE_SWISSNUM_FILE)
    )


def vdrive_settings(directory: Path, config: NodeConfig, identity: NodeIdentity) -> VdriveServerSettings:
    """Return the settings of the service. The capability of a public root says where it is, so that the
    node's port is chosen now if it has none yet.

    Raises:
        ConfigError: a file of the node is damaged, or a setting makes no sense.
        InputError: no port is free.
    """
    private, server = directory / "private", config.vdrive_server
    port = config.node.port
    if not port and server.public_root != "none":
        port = chosen_port(directory, config.node.host)
    return VdriveServerSettings(
        database=database_url(private, server),
        sid=hashlib.sha256(identity.key_info).digest(),
        private=private,
        swissnum=kept_swissnum(private / VDRIVE_SWISSNUM_FILE),
        hints=tuple(_hint(host, own or port) for host, own in config.node.advertised_hosts),
        public_root=server.public_root,
        accounts=server.accounts,
        history_s=server.history_s,
        head_retention_s=server.head_retention_s,
        max_children=server.max_children,
        expire_enabled=server.expire_enabled,
        expire_grace_s=server.expire_grace_s,
        expire_archive=Path(server.expire_archive) if server.expire_archive else None,
    )


def database_url(private: Path, server: VdriveServerConfig) -> str:
    """Return the URL of the database of a server, with the private directory of its node."""
    return server.database or f"sqlite:///{(private / DATABASE_FILE).absolute()}"


def _hint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
