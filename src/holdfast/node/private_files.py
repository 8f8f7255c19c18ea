"""Files that only their owner may read, and that are there whole or not at all.

Secrets are texts of one line; readers strip white space (storage-disk.md, section 1).
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from holdfast.crypto import base32
from holdfast.errors import ConfigError

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> None:
    """Create a directory of mode 0700, and those above it as usual, unless it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def write_private_file(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file of mode 0600 that appears under its name only when it is whole and on stable storage.

    Raises:
        FileExistsError: it exists and ``replace`` is False; nothing changed.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_private_file(path: Path) -> str:
    """Return the text of a secret file, without white space at its ends.

    Raises:
        ConfigError: it is missing, unreadable, empty, or open to other users. The text is not shown.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; restore it from a backup of the node directory") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise damaged_file(path, "it is not a text") from None
    if (
        mode & OTHERS and path.parent.stat().st_mode & OTHERS
    ):  # other programs write here; the directory guards
        raise ConfigError(f"{path} is open to other users of this machine; close it with: chmod 600 {path}")
    if not text:
        raise damaged_file(path, "it is empty")
    return text


def damaged_file(path: Path, why: str) -> ConfigError:
    """Return the error for a file that nobody can make anew. ``why`` shows nothing of its contents."""
    return ConfigError(f"{path} is damaged: {why}; restore it from a backup of the node directory")


def read_base32_file(path: Path, size: int) -> bytes:
    """Return the ``size`` bytes that a secret file holds in base32.

    Raises:
        ConfigError: as for ``read_private_file``, or it holds something else.
    """
    try:
        value = base32.decode(read_private_file(path))
    except ConfigError:
        raise
    except ValueError:
        raise damaged_file(path, "it is not base32") from None
    if len(value) != size:
        raise damaged_file(path, f"it holds {len(value)} bytes, not {size}")
    return value
