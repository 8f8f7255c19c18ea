"""The client side of a grid as one object: what programs and the command line use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from holdfast.grid.brief_keys import BriefKeyPool
from holdfast.grid.checker import Checker
from holdfast.grid.downloader import Downloader
from holdfast.grid.known_server import ServiceMaker
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.mutable.files import MutableFiles
from holdfast.grid.mutable.keys import KeyPool
from holdfast.grid.mutable.parts import MutableParts
from holdfast.grid.mutable.rollback_store import FileRollbackStore, MemoryRollbackStore
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.results import CheckResult, DownloadResult, UploadResult
from holdfast.grid.server_state import ServerState
from holdfast.grid.servers import Servers, http_services
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.grid.transfers import Transfer, Transfers, name_of_file, name_of_source
from holdfast.grid.uploader import Uploader
from holdfast.grid.workers import Workers
from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable
from holdfast.protocol.server_record import ServerRecord

T = TypeVar("T")


class Grid:
    """A client of one grid. Made by ``open_grid``; its transfers share connections, threads and memory.

    Attributes:
        known: the servers; others may be added, changed and removed at any time.
        mutable: the mutable files.
    """

    def __init__(self, servers: Servers, settings: ClientSettings, workers: Workers) -> None:
        memory = MemoryBudget(settings.memory_max)
        self.known = servers
        self._transfers = Transfers()
        self.uploader = Uploader(servers, settings.encoding, workers, memory)
        self.downloader = Downloader(servers, workers, memory)
        self.checker = Checker(servers, workers, memory)
        self._keys = BriefKeyPool() if settings.brief else KeyPool()
        remembered = settings.versions_path
        rollback = MemoryRollbackStore() if remembered is None else FileRollbackStore(remembered)
        self._mutable_parts = MutableParts(
            servers=servers,
            encoding=settings.encoding,
            workers=workers,
            memory=memory,
            keys=self._keys,
            rollback=rollback,
            retry_scale=settings.mutable_retry_scale,
        )
        self.mutable = MutableFiles(self._mutable_parts)

    def expect_mutable_files(self, count: int) -> None:
        """Say that so many mutable files will be made soon. A brief program begins to make their keys."""
        if isinstance(self._keys, BriefKeyPool):
            self._keys.expect(count)

    def close(self) -> None:
        """Make no more keys, and let go of the versions remembered. For ``open_grid``."""
        self._mutable_parts.keys.close()
        self._mutable_parts.rollback.close()

    @property
    def servers(self) -> list[ServerState]:
        """Return how each known server is seen at the moment."""
        return [server.state for server in self.known.all()]

    @property
    def transfers(self) -> list[Transfer]:
        """Return what is being uploaded, downloaded, checked and verified at the moment."""
        return self._transfers.all()

    async def upload(
        self,
        source: Uploadable | AsyncUploadable,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> UploadResult:
        """Store a file; see ``Uploader.upload``."""
        with self._transfers.running("upload", name_of_source(source), progress) as note:
            return await self.uploader.upload(source, encoding=encoding, progress=note)

    async def download(
        self,
        uri: str,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]:
        """Read a file or a range of it; see ``Downloader.download``."""
        with self._transfers.running("download", name_of_file(uri), progress) as note:
            return await self.downloader.download(uri, target, offset=offset, size=size, progress=note)

    async def check(self, uri: str) -> CheckResult:
        """Count the shares of a file; see ``Checker.check``."""
        with self._transfers.running("check", name_of_file(uri)):
            return await self.checker.check(uri)

    async def verify(self, uri: str, progress: ProgressCallback | None = None) -> CheckResult:
        """Prove every byte of every share of a file; see ``Checker.verify``."""
        with self._transfers.running("verify", name_of_file(uri), progress) as note:
            return await self.checker.verify(uri, note)


@asynccontextmanager
async def open_grid(
    records: Sequence[ServerRecord], settings: ClientSettings, make_service: ServiceMaker | None = None
) -> AsyncIterator[Grid]:
    """Give a client of the grid made of these servers. Connections are made when they are needed.

    ``make_service`` makes what speaks to a server; pinned HTTPS if it is None.
    """
    servers = Servers(
        records, settings.lease_secret, settings.preferred_servers, make_service or http_services()
    )
    with Workers() as workers:
        grid = Grid(servers, settings, workers)
        try:
            yield grid
        finally:
            grid.close()
            servers.close()
