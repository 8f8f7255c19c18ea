"""Is there room? Counts what is stored and what has been promised, exactly, without
ever looking at the shares.

Source: docs/spec/storage-protocol.md, section 11; seed-map S-060.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from holdfast.servers.storage.settings import StorageSettings

UNKNOWN = 2**64 - 1  # available bytes where nobody can tell


class Admission:
    """The accounts of one storage directory, in bytes of share data. To be used from any thread.

    ``capacity`` limits shares and uploads together. The free space of the file system is compared
    with those promises only whose blocks are not allocated yet: the others are used space already.
    """

    def __init__(self, settings: StorageSettings, stored: int, free_space: Callable[[], int]) -> None:
        self._settings = settings
        self._free_space = free_space
        self._lock = threading.Lock()
        self.stored = stored  # in complete shares
        self.reserved = 0  # by uploads, and by mutable shares about to grow
        self._unbacked = 0  # the part of ``reserved`` without blocks of its own

    @property
    def available(self) -> int:
        """Bytes this server would take on top of all promises."""
        with self._lock:
            return self._available()

    def reserve(self, size: int) -> bool:
        """Promise ``size`` bytes if they are there."""
        with self._lock:
            if self._settings.read_only or size > self._available():
                return False
            self.reserved += size
            self._unbacked += size
            return True

    def backed(self, size: int) -> None:
        """Note that the file system has set aside ``size`` of the promised bytes."""
        with self._lock:
            self._unbacked -= size

    def release(self, size: int, *, backed: bool) -> None:
        """Take back a promise."""
        with self._lock:
            self.reserved -= size
            if not backed:
                self._unbacked -= size

    def keep(self, size: int, *, backed: bool, stored: int) -> None:
        """Turn a promise of ``size`` bytes into ``stored`` bytes more (or fewer) of shares."""
        with self._lock:
            self.reserved -= size
            if not backed:
                self._unbacked -= size
            self.stored += stored

    def reserve_scratch(self, size: int) -> bool:
        """Promise ``size`` bytes of the disk, if they are there, to what will not stay; also if read-only."""
        with self._lock:
            if size > self._on_disk():
                return False
            self._unbacked += size
            return True

    def release_scratch(self, size: int) -> None:
        """Take back such a promise, as far as it has not become ``backed``."""
        with self._lock:
            self._unbacked -= size

    def room_for_shares(self) -> int | None:
        """Bytes that shares may have more than now, whatever the disk has; None: as many as they like."""
        with self._lock:
            if self._settings.read_only:
                return 0
            if self._settings.capacity is None:
                return None
            return max(self._settings.capacity - self.stored - self.reserved, 0)

    def _available(self) -> int:
        if self._settings.read_only:
            return 0
        room = self._on_disk()
        if self._settings.capacity is not None:
            room = min(room, self._settings.capacity - self.stored - self.reserved)
        return max(room, 0)

    def _on_disk(self) -> int:
        return self._free_space() - self._settings.reserved_space - self._unbacked


def free_space_of(path: str) -> Callable[[], int]:
    """Return a function that tells how many bytes the file system of ``path`` has left for us."""
    if not hasattr(os, "statvfs"):
        return lambda: UNKNOWN

    def free_space() -> int:
        figures = os.statvfs(path)
        return figures.f_bavail * figures.f_frsize

    return free_space
