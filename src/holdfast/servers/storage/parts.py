"""What the operations of one open storage directory share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from holdfast.servers.storage.admission import Admission
from holdfast.servers.storage.catalog import Catalog
from holdfast.servers.storage.catalog_writer import CatalogWriter
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.disk_pace import DiskPace
from holdfast.servers.storage.index_locks import IndexLocks
from holdfast.servers.storage.redo import Redo
from holdfast.servers.storage.settings import StorageSettings
from holdfast.servers.storage.steadfast import Steadfast
from holdfast.servers.storage.uploads import Uploads
from holdfast.servers.storage.waiting_shares import WaitingShares
from holdfast.servers.storage.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

SHORT_READ_MAX = 64 * 1024  # bytes of a share; more than that is read in a thread in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageParts:
    """Made once by ``open_storage``, handed to every kind of operation."""

    settings: StorageSettings
    server_seed: bytes  # 20 bytes; goes into the mutable containers made here
    clock: Callable[[], float]  # seconds since 1970
    directory: StorageDirectory
    disk: Disk
    catalog: Catalog
    writer: CatalogWriter
    redo: Redo
    workers: Workers
    look_ups: DiskPace  # for what is short if the disk is quick
    admission: Admission
    waiting: WaitingShares
    locks: IndexLocks
    uploads: Uploads = field(default_factory=Uploads)
    steadfast: Steadfast = field(default_factory=Steadfast)
    _names: Iterator[int] = field(default_factory=itertools.count)

    async def read(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function`` returns, which reads up to ``size`` bytes of each share it looks up."""
        run = self.look_ups.run if size <= SHORT_READ_MAX else self.workers.run
        return await run(function, *args, **kwargs)

    def new_name(self) -> str:
        """Return a name in ``incoming`` that nobody uses."""
        return f"{next(self._names):x}"
