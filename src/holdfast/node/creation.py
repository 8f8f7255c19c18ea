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
# Sizes: bytes, or a text such as "5M", "10G" (powers of 1000), "500Gi" (powers of 1024).

[node]
nickname = {nickname}

[storage]
enabled = true
port = {port}                      # 0: any free port, chosen at the first start and kept from then on
host = {host}            # the address to listen on; "0.0.0.0" for every one
location = {location}                 # how clients reach it: "HOST" or "HOST:PORT"; empty: host and port
# capacity = "100G"           # most bytes of shares to hold; absent: what the disk has
reserved-space = "{reserved}"        # bytes of the disk that stay free
read-only = false             # true: accept nothing new
durability = "fsync"          # "os": answer before bytes are on the disk; a power failure may cost them
verify-on-close = "layout"    # look at a finished share before taking it: "off", "layout" or "deep"
"""

_CLIENT_TEXT = """\
# A client of a Holdfast grid.

[client]
servers = "private/servers.yaml"  # the storage servers of the grid, in the form tahoe-lafs reads too
preferred-servers = []            # ids of servers to use before all others

[client.encoding]
shares-needed = {needed}      # how many shares give a file back
happiness = {happiness}          # least number of servers that must hold a share of their own
shares-total = {total}      # how many shares are made
segment-size = "1Mi"   # most bytes that are encoded at once
"""


def create_storage_node(
    directory: Path, *, nickname: str, storage: StorageConfig | None = None, reserved: str = "0"
) -> None:
    """Make the directory of a storage server, with a new identity.

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
        reserved=reserved,
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
