"""Making node directories: whole or not at all, with a commented configuration file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.client_secrets import create_client_secrets
from holdfast.node.config import CONFIG_FILE, StorageConfig, parse_config
from holdfast.node.identity import create_identity

_STORAGE_TEXT = """\
# A storage server of a Holdfast grid.
# Sizes are bytes, or texts such as "5M", "10G" (powers of 1000), "500Gi" (powers of 1024).

[node]
nickname = {nickname}

[storage]
enabled = true

# Where to listen. Port 0: any free one, chosen at the first start and kept from then on.
# Host "0.0.0.0": on every address of this machine; then location must be given.
port = {port}
host = {host}

# How clients reach this server: "HOST" or "HOST:PORT"; empty: host and port.
location = {location}

# Most bytes of shares to hold (absent: what the disk has), and bytes of the disk that stay free.
# capacity = "100G"
reserved-space = {reserved_space}

# Accept nothing new.
read-only = false

# "fsync": answer when bytes are on the disk. "os": do not wait; a power failure may cost them.
durability = "fsync"

# How closely to look at a finished share before taking it: "off", "layout" or "deep".
verify-on-close = "layout"
"""

_CLIENT_TEXT = """\
# A client of a Holdfast grid.

[client]
# The storage servers of the grid, in the form that tahoe-lafs reads too.
servers = "private/servers.yaml"

# Ids of servers to use before all others.
preferred-servers = []

[client.encoding]
# How many shares give a file back, how many servers must each hold one, how many are made.
shares-needed = {needed}
happiness = {happiness}
shares-total = {total}

# Most bytes that are encoded at once.
segment-size = "1Mi"
"""


def create_storage_node(directory: Path, *, nickname: str, storage: StorageConfig | None = None) -> None:
    """Make the directory of a storage server, with a new identity.

    Of ``storage`` these are written: port, host, location, reserved space.

    Raises:
        ConfigError: the directory exists and is not empty, or ``storage`` makes no sense.
        OSError: it cannot be written.
    """
    storage = storage or StorageConfig()
    text = _STORAGE_TEXT.format(
        nickname=json.dumps(nickname),  # a JSON text is a TOML text
        port=storage.port,
        host=json.dumps(storage.host),
        location=json.dumps(list(storage.location)),
        reserved_space=storage.reserved_space,
    )

    def fill(temporary: Path) -> None:
        create_identity(temporary / "private")
        (temporary / CONFIG_FILE).write_text(text, encoding="utf-8")

    parse_config(text, CONFIG_FILE)
    _create(directory, fill)


def create_client_node(directory: Path, encoding: EncodingSettings) -> None:
    """Make the directory of a client, with new secrets and without servers.

    Raises:
        ConfigError: the directory exists and is not empty.
        OSError: it cannot be written.
    """
    text = _CLIENT_TEXT.format(
        needed=encoding.shares_needed, happiness=encoding.happiness, total=encoding.shares_total
    )

    def fill(temporary: Path) -> None:
        create_client_secrets(temporary / "private")
        (temporary / CONFIG_FILE).write_text(text, encoding="utf-8")

    _create(directory, fill)


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
