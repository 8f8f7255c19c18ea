"""From the tables of a node's TOML file to its settings, one function for each table.

Source: docs/spec/control-and-introducer.md, section 5.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qs, urlsplit

from holdfast.errors import ConfigError
from holdfast.grid.settings import DEFAULT_SEGMENT_SIZE_MAX, EncodingSettings
from holdfast.interfaces.introducer import LOCATIONS_MAX
from holdfast.interfaces.vdrive_choices import AccountsMode, PublicRootMode
from holdfast.node.config import (
    DAY_S,
    LOG_LEVELS,
    Admission,
    ClientConfig,
    ControlConfig,
    Durability,
    IntroducerConfig,
    LogConfig,
    MeetingConfig,
    NodeConfig,
    NodeSettings,
    PrivateRootKind,
    SnapshotConfig,
    SnapshotKind,
    StorageConfig,
    UseStale,
    VdriveConfig,
    VdriveServerConfig,
    VerifyOnClose,
)
from holdfast.node.locations import WILDCARD_HOSTS, split_location
from holdfast.node.toml_table import TomlTable

HISTORY_MIN_S = 15 * 60
GRACE_MIN_S = 14 * DAY_S
NICKNAME_MAX = 64  # characters, as in an announcement
EVERY_MIN_S = 60
BACKUP_EVERY_S = 3600
SNAPSHOT_NAME_MAX = 64  # characters


def read_config(values: Mapping[str, object], source: str) -> NodeConfig:
    """Return the settings in a parsed file.

    Raises:
        ConfigError: a key is wrong; the message names ``source``, the key, and what would be right.
    """
    whole = TomlTable(source, "", values)
    node_table = whole.table("node")
    config = NodeConfig(
        node=_node(node_table),
        storage=_storage(whole.table("storage"), present="storage" in values),
        introducer=_introducer(whole.table("introducer"), present="introducer" in values),
        vdrive_server=_vdrive_server(whole.table("vdrive-server"), present="vdrive-server" in values),
        client=_client(whole.table("client"), source, present="client" in values),
        vdrive=_vdrive(whole.table("vdrive"), present="vdrive" in values),
        meeting=_meeting(whole.table("introducer-client")),
        control=_control(whole.table("control")),
        logs=_logs(whole.table("logs")),
    )
    if config.serves and config.node.host in WILDCARD_HOSTS and not config.node.location:
        raise node_table.error("location", "must say how others reach this machine: host names no address")
    if config.vdrive_server.backup_every_s and not config.client.enabled:
        raise whole.error(
            "vdrive-server.backup", "needs [client]: a backup is stored in the grid of the node"
        )
    whole.finish()
    return config


def _node(table: TomlTable) -> NodeSettings:
    default = NodeSettings()
    settings = NodeSettings(
        nickname=table.text("nickname", default.nickname),
        host=table.text("host", default.host),
        port=table.number("port", default.port, 0, 65535),
        location=table.texts("location"),
        announce_packages=table.flag("announce-packages", default.announce_packages),
    )
    if len(settings.nickname) > NICKNAME_MAX or not settings.nickname.isprintable():
        raise table.error(
            "nickname", f"must have at most {NICKNAME_MAX} characters, all of which can be shown"
        )
    if len(settings.location) > LOCATIONS_MAX:
        raise table.error("location", f"must list at most {LOCATIONS_MAX} places")
    for text in settings.location:
        try:
            split_location(text)
        except ValueError:
            raise table.error("location", 'must list texts of the form "HOST" or "HOST:PORT"') from None
    table.finish()
    return settings


def _storage(table: TomlTable, *, present: bool) -> StorageConfig:
    default = StorageConfig()
    config = StorageConfig(
        enabled=table.flag("enabled", present),
        capacity=table.optional_size("capacity"),
        reserved_space=table.size("reserved-space", default.reserved_space),
        read_only=table.flag("read-only", default.read_only),
        durability=cast(Durability, table.choice("durability", default.durability, ("fsync", "os"))),
        verify_on_close=cast(
            VerifyOnClose,
            table.choice("verify-on-close", default.verify_on_close, ("off", "layout", "deep")),
        ),
    )
    table.finish()
    return config


def _introducer(table: TomlTable, *, present: bool) -> IntroducerConfig:
    default = IntroducerConfig()
    config = IntroducerConfig(
        enabled=table.flag("enabled", present),
        admission=cast(Admission, table.choice("admission", default.admission, ("open", "approve"))),
        new_keys_per_hour=table.number("new-keys-per-hour", default.new_keys_per_hour, 1, 10_000),
        new_keys_per_hour_and_address=table.number(
            "new-keys-per-hour-and-address", default.new_keys_per_hour_and_address, 1, 10_000
        ),
    )
    table.finish()
    return config


def _vdrive_server(table: TomlTable, *, present: bool) -> VdriveServerConfig:
    default = VdriveServerConfig()
    expire = table.table("expire")
    has_backup = "backup" in table.left()
    backup = table.table("backup")
    config = VdriveServerConfig(
        enabled=table.flag("enabled", present),
        database=_database(table),
        public_root=cast(
            PublicRootMode,
            table.choice("public-root", default.public_root, ("none", "read-only", "read-write")),
        ),
        accounts=cast(AccountsMode, table.choice("accounts", default.accounts, ("token", "open"))),
        history_s=table.seconds("history", default.history_s),
        head_retention_s=table.seconds("head-retention", default.head_retention_s),
        max_children=table.number("max-children", default.max_children, 1, 1_000_000_000),
        expire_enabled=expire.flag("enabled", default.expire_enabled),
        expire_grace_s=expire.seconds("grace", default.expire_grace_s),
        expire_archive=expire.text("archive", default.expire_archive),
        backup_every_s=backup.seconds("every", BACKUP_EVERY_S if has_backup else 0),
    )
    if config.history_s < HISTORY_MIN_S:
        raise table.error("history", "must be 15m or more")
    if config.expire_grace_s < GRACE_MIN_S:
        raise expire.error("grace", "must be 14d or more")
    if 0 < config.backup_every_s < EVERY_MIN_S:
        raise backup.error("every", "must be 1m or more, or 0 for never")
    expire.finish()
    backup.finish()
    table.finish()
    return config


def _database(table: TomlTable) -> str:
    """Return the URL of a database. This file is no place for a password: many may read it."""
    url = table.text("database", "")
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise table.error("database", 'must be "postgresql://USER@HOST/NAME", or empty for a file of SQLite')
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise table.error(
            "database", "must not hold a password; name a file that does, as PostgreSQL wants: ?passfile=PATH"
        )
    return url


def _vdrive(table: TomlTable, *, present: bool) -> VdriveConfig:
    default = VdriveConfig()
    config = VdriveConfig(
        enabled=table.flag("enabled", present),
        private_root=cast(
            PrivateRootKind, table.choice("private-root", default.private_root, ("vdrive", "grid", "none"))
        ),
        require_fresh=table.flag("require-fresh", default.require_fresh),
        chain_limit=table.number("chain-limit", default.chain_limit, 1000, 10_000_000),
        auto_heal=table.flag("auto-heal", default.auto_heal),
        snapshots=_snapshots(table.table("snapshot")),
    )
    table.finish()
    return config


def _snapshots(table: TomlTable) -> tuple[SnapshotConfig, ...]:
    found = []
    for name in table.left():
        one = table.table(name)
        default = SnapshotConfig(name=name, path="")
        config = SnapshotConfig(
            name=name,
            path=one.text("path", ""),
            kind=cast(SnapshotKind, one.choice("kind", default.kind, ("freeze", "bundle"))),
            every_s=one.seconds("every", default.every_s),
            keep=one.number("keep", default.keep, 1, 10_000),
        )
        if not 0 < len(name) <= SNAPSHOT_NAME_MAX or not name.isprintable() or "/" in name:
            raise table.error(name, f"must be a name of at most {SNAPSHOT_NAME_MAX} characters without /")
        if ":" not in config.path and not config.path.startswith("~"):
            raise one.error("path", 'must say which directory: "ALIAS:PATH", or "~/PATH"')
        if config.path.startswith(("URI:", "ro.URI:")):
            raise one.error(
                "path", "must not be a capability, since this file is no secret; give it an alias"
            )
        if config.every_s < EVERY_MIN_S:
            raise one.error("every", "must be 1m or more")
        one.finish()
        found.append(config)
    return tuple(found)


def _client(table: TomlTable, source: str, *, present: bool) -> ClientConfig:
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
        enabled=table.flag("enabled", present),
        encoding=settings,
        servers=table.text("servers", "") or None,
        preferred_servers=frozenset(table.texts("preferred-servers")),
    )
    encoding.finish()
    table.finish()
    return config


def _meeting(table: TomlTable) -> MeetingConfig:
    default = MeetingConfig()
    config = MeetingConfig(
        use_stale=cast(UseStale, table.choice("use-stale", default.use_stale, ("none", "read", "all"))),
        forget_after_s=table.seconds("forget-after", default.forget_after_s),
        allow_private_addresses=table.flag("allow-private-addresses", default.allow_private_addresses),
    )
    table.finish()
    return config


def _control(table: TomlTable) -> ControlConfig:
    default = ControlConfig()
    paths = table.table("paths")
    config = ControlConfig(
        tcp=table.flag("tcp", default.tcp),
        allow_root=table.flag("allow-root", default.allow_root),
        read_roots=_roots(paths, "read-roots"),
        write_roots=_roots(paths, "write-roots"),
    )
    paths.finish()
    table.finish()
    return config


def _roots(table: TomlTable, key: str) -> tuple[str, ...]:
    roots = table.texts(key)
    if not all(os.path.isabs(root) and os.path.normpath(root) == root for root in roots):
        raise table.error(key, "must list absolute directories, without . and ..")
    return roots


def _logs(table: TomlTable) -> LogConfig:
    default = LogConfig()
    levels = table.table("levels")
    config = LogConfig(
        level=table.choice("level", default.level, LOG_LEVELS),
        levels={area: levels.choice(area, "", LOG_LEVELS) for area in levels.left()},
        file_size=table.size("file-size", default.file_size),
        files_kept=table.number("files-kept", default.files_kept, 1, 1000),
    )
    if config.file_size < 64 * 1024:
        raise table.error("file-size", "must be 64Ki or more")
    table.finish()
    return config
