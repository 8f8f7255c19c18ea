"""A client as its node directory describes it: settings, secrets, known servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.grid.server_list import load_server_list
from holdfast.grid.settings import ClientSettings
from holdfast.node.client_secrets import load_client_secrets
from holdfast.node.config import CONFIG_FILE, SERVER_LISTS, ClientConfig, load_config
from holdfast.node.places import client_directory
from holdfast.protocol.server_record import ServerRecord

VERSIONS_FILE = "versions.sqlite"  # in the private directory


def load_client_settings(directory: Path) -> ClientSettings:
    """Read the settings and secrets of the client node that ``directory`` means.

    Raises:
        ConfigError: something in it is missing or wrong; the message names it.
    """
    node = client_directory(directory)
    config = load_config(node).client
    try:
        secrets = load_client_secrets(node / "private")
    except OSError as error:
        raise ConfigError(
            f"{node / 'private'}: cannot create the client's secrets: {error.strerror}"
        ) from error
    return ClientSettings(
        lease_secret=secrets.lease,
        encoding=replace(config.encoding, convergence_secret=secrets.convergence),
        preferred_servers=config.preferred_servers,
        versions_path=node / "private" / VERSIONS_FILE,
    )


def load_listed_servers(directory: Path) -> tuple[list[ServerRecord], list[str]]:
    """Read which servers the client node that ``directory`` means lists, and which entries are wrong.

    None if there is no list: then introducers name them.

    Raises:
        ConfigError: the list makes no sense as a whole, or the settings name one that is not there.
    """
    node = client_directory(directory)
    path = _server_list(node, load_config(node).client)
    return ([], []) if path is None else load_server_list(path)


def _server_list(node: Path, config: ClientConfig) -> Path | None:
    if config.servers is not None:
        path = node / config.servers
        if not path.is_file():
            raise ConfigError(f"{node / CONFIG_FILE}: client.servers names {path}, which is not there")
        return path
    return next((node / name for name in SERVER_LISTS if (node / name).is_file()), None)
