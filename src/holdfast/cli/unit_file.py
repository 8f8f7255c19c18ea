"""The text of the systemd unit that runs a node, locked into its own directory.

Source: systemd.unit(5), systemd.service(5), "Command lines"; systemd.exec(5), "Sandboxing".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SERVICE = """\
[Unit]
Description=Node {description} of a Holdfast grid
Wants=network-online.target
After=network-online.target
RequiresMountsFor={mounts}

[Service]
Type=exec
{user}ExecStart={command}
Restart=on-failure
RestartSec=5
# Wrong use and wrong settings do not get better by trying again.
RestartPreventExitStatus=2 8
LimitNOFILE=65536
UMask=0077

# What the node may do: read the system, write its own directory, use the network.
NoNewPrivileges=true
LockPersonality=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
{walls}
[Install]
WantedBy={wanted_by}
"""

# Each of these needs rights that the service manager of a user may lack; there the unit would not start.
_WALLS = """\
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome={protect_home}
PrivateTmp={private_tmp}
PrivateDevices=true
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
RemoveIPC=true
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
"""

_HOMES = ("/home", "/root", "/run/user")  # hidden by ProtectHome=true
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  (replaced by empty ones by PrivateTmp=true)
_LOW_PORTS = range(1, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings:
    """What a unit is made of.

    Attributes:
        command: words; the first is the absolute path of a program.
        writable: absolute paths that the node writes below; the first is its directory.
        readable: absolute paths outside of these that it needs to see.
        user: whom it runs as; None: a unit of the service manager of a user.
        port: it listens on; 0: any.
    """

    command: Sequence[str]
    writable: Sequence[str]
    readable: Sequence[str] = ()
    user: str | None
    port: int = 0


def unit_text(settings: UnitSettings) -> str:
    """Return the unit.

    Raises:
        ValueError: a path has a character that no unit can hold.
    """
    writable = " ".join(map(quoted_path, settings.writable))
    seen = (settings.command[0], *settings.writable, *settings.readable)
    walls = _WALLS.format(
        writable=writable,
        protect_home="read-only" if _below(seen, _HOMES) else "true",
        private_tmp="false" if _below(seen, _TEMPORARY) else "true",
        capabilities="CAP_NET_BIND_SERVICE" if settings.port in _LOW_PORTS else "",
    )
    is_system = settings.user is not None
    return _SERVICE.format(
        description=_specifiers_escaped(settings.writable[0]),
        mounts=writable,
        user=f"User={settings.user}\n" if is_system else "",
        command=quoted_command(settings.command),
        walls=walls if is_system else "",
        wanted_by="multi-user.target" if is_system else "default.target",
    )


def quoted_path(path: str) -> str:
    """Return a path as a word of a setting: quoted where that is needed, percent signs doubled.

    Raises:
        ValueError: it has a character that no unit can hold.
    """
    if not path.isprintable():  # control characters; or what is not UTF-8
        raise ValueError(f"a systemd unit cannot name {path!r}: move it to a path without such characters")
    escaped = _specifiers_escaped(path)
    if all(c.isalnum() or c in "/._-+:@%,=~" for c in escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quoted_command(words: Sequence[str]) -> str:
    """Return a command line. In its arguments, unlike in the path of the program, dollar signs are doubled.

    Raises:
        ValueError: as ``quoted_path``.
    """
    program, *arguments = words
    if any(c in program for c in "\"'\\"):  # systemd refuses them there, quoted or not
        raise ValueError(f"systemd starts no program in {program!r}: its path has quotes or a backslash")
    return " ".join([quoted_path(program), *(quoted_path(word).replace("$", "$$") for word in arguments)])


def _specifiers_escaped(text: str) -> str:
    return text.replace("%", "%%")


def _below(paths: Sequence[str], directories: Sequence[str]) -> bool:
    return any(path == top or path.startswith(top + "/") for path in paths for top in directories)
