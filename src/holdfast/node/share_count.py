"""Counting the share files of a storage directory from outside, whether its server runs or not."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def count_shares(directory: Path) -> tuple[int, int]:
    """Return number and bytes of the finished shares (docs/spec/storage-disk.md, section 2)."""
    count = size = 0
    with suppress(FileNotFoundError):
        for prefix in os.scandir(directory):
            if prefix.name == "incoming" or not prefix.is_dir():
                continue
            for index in os.scandir(prefix.path):
                for share in os.scandir(index.path) if index.is_dir() else ():
                    if share.name.isdigit():
                        count += 1
                        size += share.stat().st_size
    return count, size
