"""The database of a virtual drive server, made again from its backup. The keys of the node come from
elsewhere: a copy of its private directory, without the database.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from holdfast.caps import ImmutableReadCap, parse_cap
from holdfast.crypto.vdrive_keys import log_name
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.backup import BackedDirectory, BackupCatalogue
from holdfast.grid.client import Grid
from holdfast.grid.targets import FileTarget
from holdfast.node.vdrive_backup import PIECE, read_catalogue, read_pointer
from holdfast.servers.vdrive import backup_rows
from holdfast.servers.vdrive.backup_rows import Restorer
from holdfast.servers.vdrive.database import Database
from holdfast.servers.vdrive.importing import import_bundle
from holdfast.servers.vdrive.settings import VdriveServerSettings


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of it.

    Attributes:
        directories: how many are there again.
        same_key: the service has the TLS key it had, so that all capabilities work.
        problems: sentences; directories that could not be brought back.
    """

    directories: int
    same_key: bool
    problems: tuple[str, ...]


async def restore_backup(
    grid: Grid,
    cap: str,
    database: Database,
    settings: VdriveServerSettings,
    *,
    clock: Callable[[], float] = time.time,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> RestoreReport:
    """Fill an empty database from a backup. What was interrupted can be begun again.

    Args:
        cap: of the file that leads to the newest catalogue, or of a catalogue.
        progress: told how many directories are back of how many.

    Raises:
        InputError: the database is not empty.
        BadBackupError: the capability is that of something else.
        HoldfastError: the backup cannot be read.
    """
    if isinstance(parse_cap(cap.strip()), ImmutableReadCap):
        catalogue_cap = cap.strip()
    else:
        catalogue_cap = (await read_pointer(grid, cap.strip())).catalogue
    catalogue = await read_catalogue(grid, catalogue_cap)
    mark = hashlib.sha256(catalogue_cap.encode("ascii")).digest()
    restoring = _Restoring(grid, catalogue, database, settings, clock, progress)
    return await restoring.run(mark)


class _Restoring:
    def __init__(
        self,
        grid: Grid,
        catalogue: BackupCatalogue,
        database: Database,
        settings: VdriveServerSettings,
        clock: Callable[[], float],
        progress: Callable[[int, int], object],
    ) -> None:
        self._grid = grid
        self._catalogue = catalogue
        self._database = database
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._ids: dict[int, int] = {}
        self._done = 0
        self._problems: list[str] = []

    async def run(self, mark: bytes) -> RestoreReport:
        catalogue, settings, now = self._catalogue, self._settings, int(self._clock())
        self._ids = await self._database.write(
            lambda c: backup_rows.begin_restoring(c, settings, catalogue, mark, now)
        )
        with tempfile.TemporaryDirectory(prefix="holdfast-restore-") as directory:
            path = Path(directory) / "pack"
            places = sorted(catalogue.directories, key=lambda one: one.bundle)
            for pack, some in groupby(places, key=lambda one: one.bundle.pack):
                await self._restore_pack(catalogue.packs[pack][0], list(some), path)
        await self._database.write(
            lambda c: backup_rows.end_restoring(c, settings, catalogue, self._ids, now)
        )
        same_key = catalogue.sid == settings.sid
        return RestoreReport(self._done, same_key, tuple(self._problems))

    async def _restore_pack(self, cap: str, directories: list[BackedDirectory], path: Path) -> None:
        try:
            await self._grid.download(cap, FileTarget(path))
        except HoldfastError as error:
            self._problems += [f"directory {log_name(one.idx)}: {error}" for one in directories]
            return
        for one in directories:
            try:
                await self._restore(one, path)
            except HoldfastError as error:
                self._problems.append(f"directory {log_name(one.idx)}: {error}")
            else:
                self._done += 1
            self._progress(self._done, len(self._catalogue.directories))

    async def _restore(self, one: BackedDirectory, path: Path) -> None:
        right = Restorer(one.enabler_hash, self._ids.get(one.account, 0))
        pieces = _part_of(path, one.bundle.offset, one.bundle.length)
        await import_bundle(self._database, self._settings, self._clock, one.idx, pieces, right)
        await self._database.write(partial(backup_rows.put_back, directory=one))


async def _part_of(path: Path, offset: int, length: int) -> AsyncIterator[bytes]:
    def read(begin: int, size: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(begin)
            return file.read(size)

    end = offset + length
    while offset < end:
        piece = await asyncio.to_thread(read, offset, min(PIECE, end - offset))
        if not piece:
            return
        offset += len(piece)
        yield piece
