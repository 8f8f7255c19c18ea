"""The virtual drive servers a client knows by itself: ``private/vdrive.toml``.

    service = "pb://..."     the one for new directories; without it, the one that is announced
    account = "..."          the token of the account there that they are charged to
    [moved]
    SID = "pb://..."         where the directories of a lost service are now

Source: docs/spec/vdrive.md, sections 10.1, 13.1 and 14.6.
"""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.node.private_files import write_private_file
from holdfast.protocol.nurl import Nurl, parse_nurl

VDRIVE_FILE = "vdrive.toml"
SID_SIZE = 32  # bytes
_KEYS = ("service", "account", "moved")


@dataclass(frozen=True, slots=True)
class VdrivePlaces:
    """Attributes:
    service: for new directories; None: the one that is announced.
    account: token of the account there; None if the client has none.
    moved: by the id of a service, 32 bytes, the place that serves its directories now.
    """

    service: Nurl | None = None
    account: str | None = field(default=None, repr=False)
    moved: Mapping[bytes, Nurl] = field(default_factory=dict)


def load_vdrive_places(private: Path) -> VdrivePlaces:
    """Return what the file says; nothing if there is none.

    Raises:
        ConfigError: it is wrong; the message names it and the key, and shows no secret.
    """
    path = private / VDRIVE_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return VdrivePlaces()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        # What they say of the place may repeat a part of it.
        raise ConfigError(f"{path} is damaged: it is not TOML") from None
    for key in values:
        if key not in _KEYS:
            raise ConfigError(f"{path}: {key}: no such setting; known here: {', '.join(_KEYS)}")
    moved = values.get("moved", {})
    if not isinstance(moved, dict):
        raise ConfigError(f"{path}: moved must be a table, [moved]")
    return VdrivePlaces(
        service=_nurl(path, "service", values["service"]) if "service" in values else None,
        account=_account(path, values["account"]) if "account" in values else None,
        moved={_sid(path, sid): _nurl(path, "moved", nurl) for sid, nurl in moved.items()},
    )


def write_vdrive_places(private: Path, places: VdrivePlaces) -> None:
    """Write the file, replacing an earlier one."""
    lines = ["# Virtual drive servers of this client.\n"]
    if places.service is not None:
        lines.append(f"service = {json.dumps(places.service.to_text())}\n")
    if places.account is not None:
        lines.append(f"account = {json.dumps(places.account)}\n")
    lines.append("\n[moved]\n# Where the directories of a lost service are now: its id, and a NURL.\n")
    lines += [
        f"{base32.encode(sid)} = {json.dumps(nurl.to_text())}\n" for sid, nurl in sorted(places.moved.items())
    ]
    write_private_file(private / VDRIVE_FILE, "".join(lines))


def change_vdrive_places(private: Path, change: Callable[[VdrivePlaces], VdrivePlaces]) -> VdrivePlaces:
    """Write what ``change`` makes of the file as it is now; return that. Other programs that do so wait.

    Raises:
        ConfigError: the file is wrong.
        OSError: it cannot be written.
    """
    descriptor = os.open(private, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        places = load_vdrive_places(private)
        changed = change(places)
        if changed != places:
            write_vdrive_places(private, changed)
        return changed
    finally:
        os.close(descriptor)


def _nurl(path: Path, key: str, value: object) -> Nurl:
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key} must be a NURL between quotes")
    try:
        return parse_nurl(value)
    except ValueError as error:
        raise ConfigError(f"{path}: {key}: {error}") from None


def _account(path: Path, value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isalnum():
        raise ConfigError(f"{path}: account must be a token, letters and digits between quotes")
    return value


def _sid(path: Path, text: str) -> bytes:
    try:
        sid = base32.decode(text)
    except ValueError:
        sid = b""
    if len(sid) != SID_SIZE:
        raise ConfigError(f"{path}: moved: an id of a service has 52 letters and digits from 2 to 7")
    return sid
