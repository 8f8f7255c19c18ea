"""The settings of a node as TOML: the commented file of a new node, and the effective
settings of any, written out in full.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from holdfast.node.config import NodeConfig

_HEAD = """\
# A node of a Holdfast grid.
# Sizes are bytes, or texts such as "5M", "10G" (powers of 1000), "500Gi" (powers of 1024).

[node]
nickname = {nickname}
"""

_LISTENING = """
# Where to listen. Port 0: any free one, chosen at the first start and kept from then on.
# Host "0.0.0.0": on every address of this machine; then location must be given.
port = {port}
host = {host}

# How others reach this node: "HOST" or "HOST:PORT"; empty: host and port.
location = {location}
"""

_STORAGE = """
[storage]
enabled = true

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

_INTRODUCER = """
[introducer]
enabled = true

# "open": who knows the publish NURL may announce. "approve": only keys that were admitted.
admission = {admission}

# How many nodes never heard of before may announce themselves in an hour: in all, and of one address.
new-keys-per-hour = 60
new-keys-per-hour-and-address = 10
"""

_VDRIVE_SERVER = """
[vdrive-server]
enabled = true

# Where directories are kept: empty for a file of SQLite in private/, or "postgresql://USER@HOST/NAME".
# Several nodes may share one database of PostgreSQL; a password belongs into a file: ?passfile=PATH
database = {database}

# A root that all may use: "none", "read-only" or "read-write".
public-root = {public_root}

# Who may make directories: those with an account ("token"), or all, within common limits ("open").
accounts = {accounts}

# How long what was replaced or deleted is kept, for listings that have begun.
history = "1h"

[vdrive-server.expire]
# Delete directories that nobody has held a lease on for the time of grace.
enabled = false
grace = "30d"
# archive = "/srv/archive"

# Store what has changed in the grid that this node is a client of, every so often.
# [vdrive-server.backup]
# every = "1h"
"""

_CLIENT = """
[client]
enabled = true

# A list of storage servers beside those that introducers name (tahoe-lafs reads the same form).
# servers = "private/servers.yaml"

# Ids of servers to use before all others.
preferred-servers = []

[client.encoding]
# How many shares give a file back, how many servers must each hold one, how many are made.
shares-needed = {needed}
happiness = {happiness}
shares-total = {total}

# Most bytes that are encoded at once.
segment-size = "1Mi"

[introducer-client]
# Servers that have not renewed their announcement: "none", "read" from them, "all".
use-stale = "read"

# When to forget a server that neither renews its announcement nor answers.
forget-after = "90d"

# Use servers at addresses of this machine and of private networks even if the introducer is elsewhere.
allow-private-addresses = false
"""

_VDRIVE = """
[vdrive]
# Where the private root of this client is: "vdrive", "grid" (a mutable directory there) or "none".
private-root = {private_root}

# Refuse a directory that its writers promised to keep fresh, and that is not.
require-fresh = false

# Trees that the running node keeps snapshots of: "freeze" (to be read) or "bundle" (to be restored).
# [vdrive.snapshot.documents]
# path = "docs:"
# kind = "freeze"
# every = "1d"
# keep = 30
"""

_COMMON = """
[control]
# Programs of this user control the node through private/control.sock.
# tcp: on the loopback address too; its place and token are then in private/.
tcp = false
allow-root = false

[control.paths]
# Directories below which the node itself reads or writes files when it is asked to.
read-roots = []
write-roots = []

[logs]
# "debug", "info", "warning" or "error"; for areas of their own under [logs.levels], such as: grid = "debug"
level = "info"
file-size = "4Mi"
files-kept = 4
"""


def new_config_text(config: NodeConfig) -> str:
    """Return the commented file of a node with these settings.

    It says what commands that make nodes ask for: nickname, listening, services, encoding, reserved space,
    admission, where and for whom directories are kept, and where the client's own root is;
    all else has its default.
    """
    node, encoding = config.node, config.client.encoding
    parts = [_HEAD.format(nickname=_value(node.nickname))]
    if config.serves:
        parts.append(
            _LISTENING.format(port=node.port, host=_value(node.host), location=_value(node.location))
        )
    if config.storage.enabled:
        parts.append(_STORAGE.format(reserved_space=config.storage.reserved_space))
    if config.introducer.enabled:
        parts.append(_INTRODUCER.format(admission=_value(config.introducer.admission)))
    if config.vdrive_server.enabled:
        server = config.vdrive_server
        parts.append(
            _VDRIVE_SERVER.format(
                database=_value(server.database),
                public_root=_value(server.public_root),
                accounts=_value(server.accounts),
            )
        )
    if config.client.enabled:
        parts.append(
            _CLIENT.format(
                needed=encoding.shares_needed, happiness=encoding.happiness, total=encoding.shares_total
            )
        )
    if config.vdrive.enabled:
        parts.append(_VDRIVE.format(private_root=_value(config.vdrive.private_root)))
    parts.append(_COMMON)
    return "".join(parts)


def effective_config_text(config: NodeConfig) -> str:
    """Return every setting with the value that counts. It reads back to an equal configuration."""
    return "\n".join(
        f"[{name}]\n"
        + "".join(f"{_key(key)} = {_value(value)}\n" for key, value in keys.items() if value is not None)
        for name, keys in _tables(config).items()
    )


def _tables(config: NodeConfig) -> dict[str, dict[str, object]]:
    node, storage, client, encoding = config.node, config.storage, config.client, config.client.encoding
    server = config.vdrive_server
    return {
        "node": {
            "nickname": node.nickname,
            "host": node.host,
            "port": node.port,
            "location": node.location,
            "announce-packages": node.announce_packages,
        },
        "storage": {
            "enabled": storage.enabled,
            "capacity": storage.capacity,
            "reserved-space": storage.reserved_space,
            "read-only": storage.read_only,
            "durability": storage.durability,
            "verify-on-close": storage.verify_on_close,
        },
        "introducer": {
            "enabled": config.introducer.enabled,
            "admission": config.introducer.admission,
            "new-keys-per-hour": config.introducer.new_keys_per_hour,
            "new-keys-per-hour-and-address": config.introducer.new_keys_per_hour_and_address,
        },
        "vdrive-server": {
            "enabled": server.enabled,
            "database": server.database,
            "public-root": server.public_root,
            "accounts": server.accounts,
            "history": server.history_s,
            "head-retention": server.head_retention_s,
            "max-children": server.max_children,
        },
        "vdrive-server.expire": {
            "enabled": server.expire_enabled,
            "grace": server.expire_grace_s,
            "archive": server.expire_archive,
        },
        "vdrive-server.backup": {"every": server.backup_every_s},
        "client": {
            "enabled": client.enabled,
            "servers": client.servers,
            "preferred-servers": sorted(client.preferred_servers),
        },
        "client.encoding": {
            "shares-needed": encoding.shares_needed,
            "happiness": encoding.happiness,
            "shares-total": encoding.shares_total,
            "segment-size": encoding.segment_size_max,
        },
        "vdrive": {
            "enabled": config.vdrive.enabled,
            "private-root": config.vdrive.private_root,
            "require-fresh": config.vdrive.require_fresh,
            "chain-limit": config.vdrive.chain_limit,
            "auto-heal": config.vdrive.auto_heal,
        },
        **{
            f"vdrive.snapshot.{_key(one.name)}": {
                "path": one.path,
                "kind": one.kind,
                "every": one.every_s,
                "keep": one.keep,
            }
            for one in config.vdrive.snapshots
        },
        "introducer-client": {
            "use-stale": config.meeting.use_stale,
            "forget-after": config.meeting.forget_after_s,
            "allow-private-addresses": config.meeting.allow_private_addresses,
        },
        "control": {"tcp": config.control.tcp, "allow-root": config.control.allow_root},
        "control.paths": {
            "read-roots": config.control.read_roots,
            "write-roots": config.control.write_roots,
        },
        "logs": {
            "level": config.logs.level,
            "file-size": config.logs.file_size,
            "files-kept": config.logs.files_kept,
        },
        "logs.levels": dict(config.logs.levels),
    }


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII) else _value(name)


def _value(value: object) -> str:
    """Return a TOML value: what JSON and TOML write alike, and control characters escaped as TOML wants."""
    if isinstance(value, Mapping):
        raise TypeError("tables have their own headings")
    if not isinstance(value, str) and isinstance(value, Iterable):
        return json.dumps(list(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
