"""Where things lie in a storage directory.

Complete shares lie where the reference puts them. Uploads and new versions of mutable
shares lie flat in ``shares/incoming``, which is empty after an orderly stop.

Source: docs/spec/storage-disk.md, section 2.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from holdfast.crypto import base32
from holdfast.interfaces.types import StorageIndex


class StorageDirectory:
    """Names of the files and directories below one storage directory."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.shares = str(root / "shares")
        self.incoming = str(root / "shares" / "incoming")
        self.advisories = str(root / "corruption-advisories")
        self.private = str(root / "holdfast")
        self.catalog = str(root / "holdfast" / "storage.db")
        self.lock = str(root / "holdfast" / "lock")

    def index_directory(self, index: StorageIndex) -> str:
        """Return the directory of the complete shares of ``index``."""
        name = _index_name(index)
        return f"{self.shares}/{name[:2]}/{name}"

    def share(self, index: StorageIndex, number: int) -> str:
        """Return the place of a complete share."""
        return f"{self.index_directory(index)}/{number}"

    def waiting(self, name: str) -> str:
        """Return the place of a file that is not in its final place yet."""
        return f"{self.incoming}/{name}"


@lru_cache(maxsize=1024)  # one request names it several times
def _index_name(index: StorageIndex) -> str:
    return base32.encode(index)


def share_number(name: str) -> int | None:
    """Return the share number that a file name stands for, or None."""
    if not (name.isascii() and name.isdigit()) or len(name) > 3:
        return None
    number = int(name)
    return number if number <= 255 and str(number) == name else None


def parents_to_sync(directory: StorageDirectory, index_directory: str) -> list[str]:
    """Return the directories whose entries lead to the shares in ``index_directory``, innermost first."""
    return [index_directory, os.path.dirname(index_directory), directory.shares]
