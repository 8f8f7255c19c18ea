"""The settings of a node: one TOML file, read once, into values that are right or
not made at all. Nothing else reads files or the environment for a setting.

Source: docs/spec/storage-disk.md, section 1; docs/spec/grid.md, section 8.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from holdfast.errors import ConfigError
from holdfast.grid.settings import DEFAULT_SEGMENT_SIZE_MAX, EncodingSettings
from holdfast.node.toml_table import TomlTable

CONFIG_FILE = "holdfast.toml"
SERVER_LISTS = ("private/servers.yaml", "private/servers.toml")

Durability = Literal["fsync", "os"]
VerifyOnClose = Literal["off", "layout", "deep"]
WILDCARD_HOSTS = ("", "0.0.0.0", "::")  # noqa: S104  (compared with, not listened on)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """How this node serves storage. Sizes in bytes."""

    enabled: bool = False
    port: int = 0  # 0: any free one, then the same for ever
    host: str = "127.0.0.1"
    location: tuple[str, ...] = ()  # HOST or HOST:PORT as clients reach it; empty: host and port
    capacity: int | None = None
    reserved_space: int = 0
    read_only: bool = False
    durability: Durability = "fsync"
    verify_on_close: VerifyOnClose = "layout"

    @property
    def advertised_hosts(self) -> tuple[tuple[str, int | None], ...]:
        """Host and port under which clients are told to come; port None: the one listened on."""
        return tuple(split_location(text) for text in self.location) or ((self.host, None),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How this node uses a grid."""

    encoding: EncodingSettings = field(default_factory=EncodingSettings)  # without its convergence secret
    servers: str | None = None  # file, relative to the node directory; None: one of SERVER_LISTS
    preferred_servers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node directory."""

    nickname: str = ""
    storage: StorageConfig = field(default_factory=StorageConfig)
    client: ClientConfig = field(default_factory=ClientConfig)


def load_config(directory: Path) -> NodeConfig:
    """Read the settings of the node in ``directory``.

    Raises:
        ConfigError: the file is missing or wrong; the message names it, the key, and what would be right.
    """
    path = directory / CONFIG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{directory} is not a node directory: it has no {CONFIG_FILE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> NodeConfig:
    """Return the settings written in ``text``; ``source`` names it in messages.

    Raises:
        ConfigError: see ``load_config``.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    whole = TomlTable(source, "", values)
    node = whole.table("node")
    config = NodeConfig(
        nickname=node.text("nickname", ""),
        storage=_storage(whole.table("storage"), present="storage" in values),
        client=_client(whole.table("client"), source),
    )
    node.finish()
    whole.finish()
    return config


def split_location(text: str) -> tuple[str, int | None]:
    """Return host and port of ``HOST`` or ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    elif not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"not HOST or HOST:PORT: {text!r}")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or any(c in host for c in " /@#") or (":" in host and not bracketed):
        raise ValueError(f"not HOST or HOST:PORT: {text!r}")
    return host.strip("[]"), int(port) if port else None


def _storage(table: TomlTable, *, present: bool) -> StorageConfig:
    default = StorageConfig()
    config = StorageConfig(
        enabled=table.flag("enabled", present),
        port=table.number("port", default.port, 0, 65535),
        host=table.text("host", default.host),
        location=table.texts("location"),
        capacity=table.optional_size("capacity"),
        reserved_space=table.size("reserved-space", default.reserved_space),
        read_only=table.flag("read-only", default.read_only),
        durability=cast(Durability, table.choice("durability", default.durability, ("fsync", "os"))),
        verify_on_close=cast(
            VerifyOnClose,
            table.choice("verify-on-close", default.verify_on_close, ("off", "layout", "deep")),
        ),
    )
    for text in config.location:
        try:
            split_location(text)
        except ValueError:
            raise table.error("location", 'must list texts of the form "HOST" or "HOST:PORT"') from None
    if config.enabled and config.host in WILDCARD_HOSTS and not config.location:
        raise table.error("location", "must say how clients reach this machine, since host names no address")
    table.finish()
    return config


def _client(table: TomlTable, source: str) -> ClientConfig:
    encoding = table.table("encoding")
    default = EncodingSettings()
    try:
        settings = EncodingSettings(
            shares_needed=encoding.number("shares-needed", default.shares_needed, 1, 256),
            happiness=encoding.number("happiness", default.happiness, 1, 256),
            shares_total=encoding.number("shares-total", default.shares_total, 1, 256),
            segment_size_max=encoding.size("segment-size", DEFAULT_SEGMENT_SIZE_MAX),
        )
    except ConfigError as error:
        prefix = "" if str(error).startswith(source) else f"{source}: client."
        raise ConfigError(f"{prefix}{error}") from None
    config = ClientConfig(
        encoding=settings,
        servers=table.text("servers", "") or None,
        preferred_servers=frozenset(table.texts("preferred-servers")),
    )
    encoding.finish()
    table.finish()
    return config
