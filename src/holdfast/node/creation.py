"""Making node directories: whole or not at all, with a commented configuration file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.client_secrets import create_client_secrets
from holdfast.node.config import (
    CONFIG_FILE,
    Admission,
    ClientConfig,
    IntroducerConfig,
    NodeConfig,
    NodeSettings,
    StorageConfig,
    VdriveConfig,
    VdriveServerConfig,
    parse_config,
)
from holdfast.node.config_text import new_config_text
from holdfast.node.identity import create_node_identity, new_files
from holdfast.node.introducer_list import write_introducers
from holdfast.node.storage_identity import create_storage_identity
from holdfast.node.swissnums import (
    NODE_SWISSNUM_FILE,
    PUBLISH_SWISSNUM_FILE,
    SUBSCRIBE_SWISSNUM_FILE,
    VDRIVE_SWISSNUM_FILE,
    new_swissnum,
)


def create_introducer(
    directory: Path,
    settings: NodeSettings | None = None,
    *,
    admission: Admission = "open",
    vdrive: VdriveServerConfig | None = None,
) -> None:
    """Make the directory of an introducer, which keeps directories for others too if ``vdrive`` is given.

    Raises:
        ConfigError: the directory exists and is not empty, or the settings make no sense.
        OSError: it cannot be written.
    """
    introducer = IntroducerConfig(enabled=True, admission=admission)
    create_node_directory(
        directory,
        NodeConfig(
            node=settings or NodeSettings(),
            introducer=introducer,
            vdrive_server=vdrive or VdriveServerConfig(),
        ),
    )


def create_server_node(
    directory: Path,
    settings: NodeSettings,
    *,
    introducers: Mapping[str, str] | None = None,
    storage: StorageConfig | None = None,
    encoding: EncodingSettings | None = None,
    vdrive: VdriveServerConfig | None = None,
) -> None:
    """Make the directory of a server, which can use the grid too if it has an ``encoding``.

    Args:
        introducers: petname to publish NURL.
        storage: of it, the reserved space is written.
        vdrive: of it, the database, the public root and the accounts are written.

    Raises: as ``create_introducer``.
    """
    config = NodeConfig(
        node=settings,
        storage=storage or StorageConfig(enabled=True),
        client=ClientConfig(enabled=encoding is not None, encoding=encoding or EncodingSettings()),
        vdrive=VdriveConfig(enabled=encoding is not None),
        vdrive_server=vdrive or VdriveServerConfig(),
    )
    create_node_directory(directory, config, introducers or {})


def create_client_node(
    directory: Path,
    encoding: EncodingSettings | None = None,
    *,
    nickname: str = "",
    introducers: Mapping[str, str] | None = None,
) -> None:
    """Make the directory of a client, which serves nothing.

    Args:
        introducers: petname to NURL.

    Raises: as ``create_introducer``.
    """
    client = ClientConfig(enabled=True, encoding=encoding or EncodingSettings())
    config = NodeConfig(
        node=NodeSettings(nickname=nickname), client=client, vdrive=VdriveConfig(enabled=True)
    )
    create_node_directory(directory, config, introducers or {})


def create_node_directory(
    directory: Path, config: NodeConfig, introducers: Mapping[str, str] | None = None
) -> None:
    """Make a node with any set of services, with new keys and secrets.

    Raises: as ``create_introducer``.
    """
    text = new_config_text(config)
    parse_config(text, CONFIG_FILE)

    def fill(temporary: Path) -> None:
        private = temporary / "private"
        if config.storage.enabled:
            create_storage_identity(private)
        else:
            create_node_identity(private)
        with new_files(private, _swissnums(config)):
            pass
        if config.client.enabled:
            create_client_secrets(private)
        write_introducers(private, introducers or {})
        (temporary / CONFIG_FILE).write_text(text, encoding="utf-8")

    _create(directory, fill)


def _swissnums(config: NodeConfig) -> dict[str, str]:
    names = [NODE_SWISSNUM_FILE] if config.serves else []
    if config.introducer.enabled:
        names += [PUBLISH_SWISSNUM_FILE, SUBSCRIBE_SWISSNUM_FILE]
    if config.vdrive_server.enabled:
        names.append(VDRIVE_SWISSNUM_FILE)
    return {name: new_swissnum() for name in names}


def _create(directory: Path, fill: Callable[[Path], None]) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".new", dir=directory.parent))
    try:
        fill(temporary)
        try:
            os.rename(temporary, directory)  # replaces an empty directory, and nothing else
        except OSError:
            if directory.exists():
                raise ConfigError(f"{directory} exists and is not empty; nothing was changed") from None
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
