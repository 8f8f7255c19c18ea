"""The settings of a node: one TOML file, read once, into values that are right or
not made at all. Nothing else reads files or the environment for a setting.

Source: docs/spec/storage-disk.md, section 1; docs/spec/grid.md, section 8;
docs/spec/control-and-introducer.md, section 5; docs/spec/vdrive.md, section 16.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from holdfast.errors import ConfigError
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.vdrive_choices import AccountsMode, PublicRootMode
from holdfast.node.locations import split_location

CONFIG_FILE = "holdfast.toml"
SERVER_LISTS = ("private/servers.yaml", "private/servers.toml")

Durability = Literal["fsync", "os"]
VerifyOnClose = Literal["off", "layout", "deep"]
Admission = Literal["open", "approve"]
UseStale = Literal["none", "read", "all"]
PrivateRootKind = Literal["vdrive", "grid", "none"]
SnapshotKind = Literal["freeze", "bundle"]
LOG_LEVELS = ("debug", "info", "warning", "error")

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who the node is, and where it listens if it serves anything."""

    nickname: str = ""
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one, then the same for ever
    location: tuple[str, ...] = ()  # HOST or HOST:PORT as others reach it; empty: host and port
    announce_packages: bool = False

    @property
    def advertised_hosts(self) -> tuple[tuple[str, int | None], ...]:
        """Host and port under which others are told to come; port None: the one listened on."""
        return tuple(split_location(text) for text in self.location) or ((self.host, None),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """How this node serves storage. Sizes in bytes."""

    enabled: bool = False
    capacity: int | None = None
    reserved_space: int = 0
    read_only: bool = False
    durability: Durability = "fsync"
    verify_on_close: VerifyOnClose = "layout"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroducerConfig:
    """How this node introduces others."""

    enabled: bool = False
    admission: Admission = "open"
    new_keys_per_hour: int = 60  # of nodes never heard of before; those of this machine do not count
    new_keys_per_hour_and_address: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VdriveServerConfig:
    """How this node keeps directories for others. Times in seconds."""

    enabled: bool = False
    database: str = ""  # a URL of PostgreSQL; empty: a file of SQLite in the node's private directory
    public_root: PublicRootMode = "none"
    accounts: AccountsMode = "token"
    history_s: int = 3600  # so long superseded entries are kept, for listings that have begun
    head_retention_s: int = 400 * DAY_S
    max_children: int = 10_000_000  # of one directory
    expire_enabled: bool = False  # directories that nobody holds a lease on are deleted in the end
    expire_grace_s: int = 30 * DAY_S
    expire_archive: str = ""  # directory for bundles of what is deleted
    backup_every_s: int = 0  # what has changed is stored in the node's own grid; 0: it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotConfig:
    """A tree that the running node keeps snapshots of."""

    name: str
    path: str  # ALIAS:PATH, or ~/PATH
    kind: SnapshotKind = "freeze"
    every_s: int = DAY_S
    keep: int = 30  # so many of the newest are remembered and linked


@dataclass(frozen=True, slots=True, kw_only=True)
class VdriveConfig:
    """How this node uses virtual drive servers. Which, is in a private file."""

    enabled: bool = False
    private_root: PrivateRootKind = "vdrive"
    require_fresh: bool = False  # directories that their writers keep fresh, and that are not, are an error
    chain_limit: int = 50_000  # versions of which a reader follows every head
    auto_heal: bool = True  # what a server has lost is sent to it again
    snapshots: tuple[SnapshotConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How this node uses a grid."""

    enabled: bool = False
    encoding: EncodingSettings = field(default_factory=EncodingSettings)  # without its convergence secret
    servers: str | None = None  # file, relative to the node directory; None: one of SERVER_LISTS
    preferred_servers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingConfig:
    """What this node makes of announcements."""

    use_stale: UseStale = "read"
    forget_after_s: int = 90 * DAY_S
    allow_private_addresses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Who may control this node while it runs."""

    tcp: bool = False  # listen on the loopback address too
    allow_root: bool = False
    read_roots: tuple[str, ...] = ()  # the node itself reads files below these, when asked to
    write_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged."""

    level: str = "info"
    levels: Mapping[str, str] = field(default_factory=dict)  # by area: grid, servers.storage, node, ...
    file_size: int = 4 << 20  # bytes
    files_kept: int = 4  # older ones, beside the current one


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node directory."""

    node: NodeSettings = field(default_factory=NodeSettings)
    storage: StorageConfig = field(default_factory=StorageConfig)
    introducer: IntroducerConfig = field(default_factory=IntroducerConfig)
    vdrive_server: VdriveServerConfig = field(default_factory=VdriveServerConfig)
    client: ClientConfig = field(default_factory=ClientConfig)
    vdrive: VdriveConfig = field(default_factory=VdriveConfig)
    meeting: MeetingConfig = field(default_factory=MeetingConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    logs: LogConfig = field(default_factory=LogConfig)

    @property
    def serves(self) -> bool:
        """True if others come to this node, so that it listens."""
        return self.storage.enabled or self.introducer.enabled or self.vdrive_server.enabled


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
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is damaged: it is not a text") from None
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> NodeConfig:
    """Return the settings written in ``text``; ``source`` names it in messages.

    Raises:
        ConfigError: see ``load_config``.
    """
    from holdfast.node.config_reading import read_config

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    return read_config(values, source)
