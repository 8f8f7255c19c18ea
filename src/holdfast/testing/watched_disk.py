"""A disk that counts what it does, and finds no room where it is told so."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from holdfast.servers.storage.disk import Disk

SYNCHRONISING = ("sync_data", "sync_file", "sync_directory", "commit")


class WatchedDisk(Disk):
    """Operations are named as the methods of ``Disk``.

    Attributes:
        failing: operations that find no room.
        done: how often each was carried out.
        gate: while it is not set, files wait that are made in one go.
    """

    def __init__(self) -> None:
        super().__init__(synchronise=True)
        self.failing: set[str] = set()
        self.done: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()

    @property
    def syncs(self) -> int:
        """How often something was brought to stable storage that an answer waited for."""
        return sum(self.done[operation] for operation in SYNCHRONISING)

    def begin(self, operation: str) -> None:
        """Fail, wait or count."""
        if operation in self.failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        if operation == "create_with":
            self.gate.wait(10)
        self.done[operation] += 1


def _watched(name: str) -> Callable[..., Any]:
    operation = getattr(Disk, name)

    def method(disk: WatchedDisk, *arguments: Any) -> Any:
        disk.begin(name)
        return operation(disk, *arguments)

    return method


for _name in [name for name in vars(Disk) if not name.startswith("_")]:
    setattr(WatchedDisk, _name, _watched(_name))
