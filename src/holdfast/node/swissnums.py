"""Swissnums: who knows the one of a service may use it. Each is a file of its own.

Source: docs/spec/storage-protocol.md, section 3.1; docs/spec/control-and-introducer.md, section 3.3.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from holdfast.crypto import base32
from holdfast.node.private_files import damaged_file, read_private_file, write_private_file

SWISSNUM_SIZE = 20  # bytes, 32 characters of base32
NODE_SWISSNUM_FILE = "node-swissnum"  # of /node/v1
PUBLISH_SWISSNUM_FILE = "introducer-publish-swissnum"
SUBSCRIBE_SWISSNUM_FILE = "introducer-subscribe-swissnum"
VDRIVE_SWISSNUM_FILE = "vdrive-swissnum"
_SWISSNUM = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)


def new_swissnum() -> str:
    """Return a random one."""
    return base32.encode(secrets.token_bytes(SWISSNUM_SIZE))


def read_swissnum(path: Path) -> str:
    """Return the swissnum in a file.

    Raises:
        ConfigError: the file is missing, damaged, or open to other users; the message names it.
    """
    swissnum = read_private_file(path)
    if _SWISSNUM.fullmatch(swissnum) is None:
        raise damaged_file(path, "it is not a swissnum")
    return swissnum


def kept_swissnum(path: Path) -> str:
    """Return the swissnum in a file, a new one if there is no file yet.

    Raises:
        ConfigError: as for ``read_swissnum``.
    """
    if not path.exists():
        write_private_file(path, new_swissnum() + "\n", replace=False)
    return read_swissnum(path)
