"""The backup of a virtual drive server in the grid that its node is a client of: bundles of what has changed,
packed into immutable files, a catalogue of all, and a mutable file that leads to the newest catalogue. It
needs no key of any directory.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from holdfast.caps import ImmutableReadCap, MutableReadCap, MutableWriteCap, parse_cap
from holdfast.crypto.vdrive_keys import log_name
from holdfast.errors import BadCapabilityError, HoldfastError
from holdfast.formats.vdrive.backup import (
    BackedDirectory,
    BackupCatalogue,
    BackupPointer,
    BundlePlace,
    encode_catalogue,
    parse_catalogue,
    parse_pointer,
)
from holdfast.formats.vdrive.bundle import BundleReader
from holdfast.formats.vdrive.head import head_hash
from holdfast.grid.client import Grid
from holdfast.grid.known_server import KnownServer
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.sources import DataSource, StreamSource
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.node.private_files import read_private_file, write_private_file
from holdfast.servers.vdrive import bundles
from holdfast.servers.vdrive.backup_rows import DirectoryRow, ServerRows, read_rows
from holdfast.servers.vdrive.database import Database
from holdfast.servers.vdrive.settings import DAY_S, VdriveServerSettings

log = structlog.get_logger(__name__)

CAP_FILE = "backup.cap"
PACK_SIZE = 64 << 20  # bytes
PIECE = 256 << 10  # bytes that are proven at once
WORTH_KEEPING = 0.25  # of a pack that is in use; what is in one with less is packed anew
RENEW_S = 7 * DAY_S
RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What came of a run.

    Attributes:
        directories: how many are in the backup.
        new: how many of them were stored now.
        size: bytes of what was stored.
        problems: sentences; directories of which there is no bundle, or an older one.
    """

    directories: int
    new: int
    size: int
    problems: tuple[str, ...]


async def back_up(
    grid: Grid,
    database: Database,
    settings: VdriveServerSettings,
    *,
    clock: Callable[[], float] = time.time,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> BackupReport:
    """Bring the backup up to date. The first time, its capability is written to private/backup.cap.

    Args:
        progress: told how many directories are stored of how many.

    Raises:
        HoldfastError: it could not be done; the backup is as before.
    """
    path = settings.private / CAP_FILE
    cap = read_private_file(path) if path.exists() else None
    pointer = None if cap is None else await read_pointer(grid, cap)
    before = None if pointer is None else await _before(grid, pointer)
    rows = await database.read(read_rows)
    now = int(clock())
    run = _Run(grid, database, settings, clock, progress)
    catalogue = await run.catalogue(rows, before)
    uploaded = await grid.upload(DataSource(await asyncio.to_thread(encode_catalogue, catalogue)))
    renewed = now if pointer is None else pointer.renewed
    if now - renewed >= RENEW_S:
        await _renew(grid, [uploaded.uri, *(uri for uri, _ in catalogue.packs)])
        renewed = now
    new_pointer = BackupPointer(uploaded.uri, renewed)
    if cap is None:
        file = await grid.mutable.create(new_pointer.to_bytes())
        write_private_file(path, file.cap.to_text() + "\n")
    elif new_pointer != pointer:
        await _opened(grid, cap).overwrite(new_pointer.to_bytes())
    return BackupReport(len(catalogue.directories), run.new, run.size, tuple(run.problems))


async def read_pointer(grid: Grid, cap: str) -> BackupPointer:
    """Return what leads to the newest catalogue.

    Raises:
        BadBackupError: the file is something else.
        UnavailableError: it cannot be read now.
    """
    return parse_pointer(await _opened(grid, cap).read())


async def read_catalogue(grid: Grid, cap: str) -> BackupCatalogue:
    """Return a catalogue by its own capability. Raises as ``read_pointer``."""
    result = await grid.download(cap, DataTarget())
    return await asyncio.to_thread(parse_catalogue, result.value)


def _opened(grid: Grid, cap: str) -> MutableFile:
    parsed = parse_cap(cap)
    if not isinstance(parsed, MutableWriteCap | MutableReadCap):
        raise BadCapabilityError("this is not the capability of a backup")
    return grid.mutable.open(parsed)


async def _before(grid: Grid, pointer: BackupPointer) -> BackupCatalogue | None:
    try:
        return await read_catalogue(grid, pointer.catalogue)
    except HoldfastError as error:
        log.warning("the last backup cannot be read; everything is stored anew", reason=str(error))
        return None


@dataclass(slots=True)
class _Run:
    grid: Grid
    database: Database
    settings: VdriveServerSettings
    clock: Callable[[], float]
    progress: Callable[[int, int], object]
    packs: list[tuple[str, int]] = field(default_factory=list)
    new: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)

    async def catalogue(self, rows: ServerRows, before: BackupCatalogue | None) -> BackupCatalogue:
        """Store what has changed; return the catalogue of everything."""
        kept = {} if before is None else {one.idx: one for one in before.directories}
        usable = set() if before is None else _packs_worth_keeping(before, rows.directories)
        numbers: dict[int, int] = {}

        def again(one: BackedDirectory) -> BundlePlace:
            """Return the place of a bundle that is there."""
            assert before is not None
            if one.bundle.pack not in numbers:
                numbers[one.bundle.pack] = len(self.packs)
                self.packs.append(before.packs[one.bundle.pack])
            return one.bundle._replace(pack=numbers[one.bundle.pack])

        found: list[BackedDirectory] = []
        waiting: deque[DirectoryRow] = deque()
        for row in rows.directories:
            old = kept.get(row.idx)
            if old is not None and old.head_hash == row.head_hash and old.bundle.pack in usable:
                found.append(_backed(row, old.version, old.head_hash, again(old)))
            else:
                waiting.append(row)
        for row, stored in await self._stored(waiting):
            old = kept.get(row.idx)
            if stored is not None:
                found.append(_backed(row, *stored))
            elif old is not None:
                found.append(_backed(row, old.version, old.head_hash, again(old)))
        return BackupCatalogue(
            self.settings.sid, rows.public_root, rows.accounts, tuple(self.packs), tuple(sorted(found))
        )

    async def _stored(
        self, waiting: deque[DirectoryRow]
    ) -> list[tuple[DirectoryRow, tuple[int, bytes, BundlePlace] | None]]:
        """Store bundles; return version, hash of the head and place of each, None where there is none."""
        total, done = len(waiting), list[tuple[DirectoryRow, tuple[int, bytes, BundlePlace] | None]]()
        while waiting:
            pack = _Pack(self, len(self.packs))
            result = await self.grid.upload(StreamSource(pack.pieces(waiting)))
            self.packs.append((result.uri, pack.size))
            self.size += pack.size
            done += pack.contents
            self.progress(len(done), total)
        self.new = sum(stored is not None for _, stored in done)
        return done

    async def bundle(self, index: bytes) -> AsyncIterator[bytes]:
        async for piece in bundles.export(self.database, self.settings, self.clock, index):
            yield piece


class _Pack:
    """A file with bundles, one behind the other."""

    def __init__(self, run: _Run, number: int) -> None:
        self._run = run
        self._number = number
        self.size = 0
        self.contents: list[tuple[DirectoryRow, tuple[int, bytes, BundlePlace] | None]] = []

    async def pieces(self, waiting: deque[DirectoryRow]) -> AsyncIterator[bytes]:
        """Yield bundles of directories that wait, as many as there is room for, and take those off."""
        while waiting and (not self.size or self.size + waiting[0].size <= PACK_SIZE):
            row = waiting.popleft()
            begin, reader = self.size, BundleReader(row.idx)
            held = bytearray()
            try:
                async for piece in self._run.bundle(row.idx):
                    held += piece
                    if len(held) >= PIECE:
                        yield await self._proven(reader, held)
                        held.clear()
                if held:
                    yield await self._proven(reader, held)
                reader.finish()
            except HoldfastError as error:
                self._run.problems.append(f"directory {log_name(row.idx)} is not stored: {error}")
                self.contents.append((row, None))
                continue
            assert reader.head is not None
            assert reader.header is not None
            place = BundlePlace(self._number, begin, self.size - begin)
            self.contents.append((row, (reader.head.version, head_hash(reader.header.head.head), place)))

    async def _proven(self, reader: BundleReader, held: bytearray) -> bytes:
        data = bytes(held)
        await asyncio.to_thread(reader.feed, data)
        self.size += len(data)
        return data


def _packs_worth_keeping(before: BackupCatalogue, rows: Sequence[DirectoryRow]) -> set[int]:
    """Return the packs of which enough is in use still."""
    now = {row.idx: row.head_hash for row in rows}
    used = Counter[int]()
    for one in before.directories:
        if now.get(one.idx) == one.head_hash:
            used[one.bundle.pack] += one.bundle.length
    return {number for number, size in used.items() if size >= WORTH_KEEPING * before.packs[number][1]}


def _backed(row: DirectoryRow, version: int, hash_of_head: bytes, place: BundlePlace) -> BackedDirectory:
    return BackedDirectory(
        row.idx,
        version,
        hash_of_head,
        row.enabler_hash,
        row.account,
        row.pinned,
        row.created_at,
        row.modified_at,
        row.condemned_at,
        row.leases,
        place,
    )


async def _renew(grid: Grid, caps: Sequence[str]) -> None:
    """Renew this client's leases of files, wherever they are."""

    async def renew_at(server: KnownServer, index: StorageIndex) -> None:
        # Who has nothing of it or does not answer may do so next time.
        with suppress(HoldfastError, StorageRefusalError, TimeoutError):
            await server.service.add_lease(index, server.lease(index))

    for cap in map(parse_cap, caps):
        if isinstance(cap, ImmutableReadCap):
            index = StorageIndex(cap.storage_index)
            await asyncio.gather(*(renew_at(server, index) for server in grid.known.all()))


@asynccontextmanager
async def backing_up(
    grid: Grid, database: Database, settings: VdriveServerSettings, every_s: int
) -> AsyncIterator[None]:
    """Bring the backup up to date every so often until the block ends."""

    async def run() -> None:
        while True:
            wait_s = float(every_s)
            try:
                report = await back_up(grid, database, settings)
            except HoldfastError as error:
                log.warning("the backup could not be brought up to date", reason=str(error))
                wait_s = min(wait_s, RETRY_S)
            else:
                log.info("the backup is up to date", directories=report.directories, new=report.new)
                for problem in report.problems:
                    log.warning("a directory is not in the backup as it is", reason=problem)
            await asyncio.sleep(wait_s)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
