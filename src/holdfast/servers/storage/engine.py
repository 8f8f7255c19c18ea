"""The storage server without its network side: every call of the storage protocol, on
one storage directory.

Source: docs/spec/storage-protocol.md; docs/spec/storage-disk.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DatabaseError

from holdfast import __version__
from holdfast.crypto.lease_secrets import SERVER_SEED_SIZE
from holdfast.errors import ConfigError
from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    LeaseSecrets,
    ReadTestWriteResult,
    ServerVersion,
    ShareVectors,
    StoreRequest,
)
from holdfast.interfaces.storage_errors import NoSuchShareError, ShareConflictError
from holdfast.interfaces.types import Buffer, StorageIndex
from holdfast.servers.storage.admission import Admission, free_space_of
from holdfast.servers.storage.adoption import adopt_shares
from holdfast.servers.storage.advisories import Advisories
from holdfast.servers.storage.allocation import Allocations
from holdfast.servers.storage.canary import Canaries
from holdfast.servers.storage.catalog import Catalog, Changes, Kind, LeaseRow
from holdfast.servers.storage.catalog_writer import CatalogWriter
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.disk_pace import DiskPace
from holdfast.servers.storage.immutable import ImmutableWrites
from holdfast.servers.storage.index_locks import IndexLocks
from holdfast.servers.storage.lease_terms import BY_OTHERS, granted_lease
from holdfast.servers.storage.logged_files import recover_logs
from holdfast.servers.storage.mutable import MutableSlots
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.redo import SETTLE_AT, Redo, recover
from holdfast.servers.storage.scratch import ScratchSpace
from holdfast.servers.storage.settings import StorageSettings
from holdfast.servers.storage.share_files import ShareFile
from holdfast.servers.storage.share_reading import ShareReading
from holdfast.servers.storage.small_shares import Outcome, SmallShares
from holdfast.servers.storage.upload_ends import UploadEnds
from holdfast.servers.storage.waiting_shares import WaitingShares
from holdfast.servers.storage.workers import Workers

log = logging.getLogger(__name__)

T = TypeVar("T")

STEP_S = 1.0  # between two looks at what has become due
LOOK_UP_S = 0.001  # one that takes no longer is not worth a thread
SETTLE_S = 5.0  # at the latest, moves are brought to stable storage
VERSION_FRESH_S = 1.0  # every client asks once per second


class StorageEngine:
    """Implements ``StorageService`` on a directory. Made by ``open_storage``."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts
        self._ends = UploadEnds(parts)
        self._allocations = Allocations(parts, self._ends)
        self._writes = ImmutableWrites(parts, self._ends)
        self._small = SmallShares(parts, self._allocations, self._writes, self._ends)
        self._slots = MutableSlots(parts)
        self._reading = ShareReading(parts)
        self._advisories = Advisories(parts.directory.advisories, parts.settings)
        self._canaries = Canaries(parts, self._ends)
        self.scratch = ScratchSpace(parts.directory.incoming, parts.disk, parts.admission)
        self._version: ServerVersion | None = None
        self._version_until = 0.0

    @property
    def settings(self) -> StorageSettings:
        return self._parts.settings

    @property
    def reserved_bytes(self) -> int:
        """Bytes promised to uploads in progress."""
        return self._parts.admission.reserved

    @property
    def stored_bytes(self) -> int:
        """Bytes of data in complete shares."""
        return self._parts.admission.stored

    @property
    def stored_shares(self) -> int:
        """Complete shares."""
        return self._parts.catalog.totals()[0] + self._parts.waiting.new_shares

    # -- StorageService

    async def version(self) -> ServerVersion:
        """See ``StorageService``. The figures are at most a second old."""
        now = asyncio.get_running_loop().time()
        if self._version is None or now >= self._version_until:
            available = self._parts.admission.available
            self._version = ServerVersion(
                available, self.settings.maximum_mutable_share_size, available, f"holdfast/{__version__}"
            )
            self._version_until = now + VERSION_FRESH_S
        return self._version

    async def allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        lease: LeaseSecrets,
    ) -> Allocation:
        return await self._allocations.allocate(index, share_numbers, allocated_size, upload_secret, lease)

    async def write(
        self,
        index: StorageIndex,
        number: int,
        upload_secret: bytes,
        offset: int,
        data: Sequence[Buffer] | AsyncIterator[memoryview],
        length: int,
        total: int | None = None,
    ) -> Sequence[ByteRange]:
        return await self._writes.write(index, number, upload_secret, offset, data, length, total)

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        await self._ends.abort(index, number, upload_secret)

    async def list_immutable(self, index: StorageIndex) -> frozenset[int]:
        return await self._reading.numbers(index, Kind.IMMUTABLE)

    async def list_mutable(self, index: StorageIndex) -> frozenset[int]:
        return await self._reading.numbers(index, Kind.MUTABLE)

    async def read_immutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        return await self._reading.read(index, number, Kind.IMMUTABLE, offset, length)

    async def read_immutable_into(
        self, index: StorageIndex, number: int, offset: int, out: memoryview
    ) -> int:
        data = await self.read_immutable(index, number, offset, len(out))
        out[: len(data)] = data
        return len(data)

    async def read_mutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        return await self._reading.read(index, number, Kind.MUTABLE, offset, length)

    async def add_lease(self, index: StorageIndex, lease: LeaseSecrets) -> None:
        """See ``StorageService``. Raises NoSuchShareError where the index has no complete share."""
        granted = granted_lease(lease, BY_OTHERS, self._parts.clock())
        await self._parts.waiting.placed(index)
        rows = await self._parts.workers.run(self._parts.catalog.shares_of, index)
        if not rows:
            raise NoSuchShareError("the index has no shares here")
        changes = Changes()
        changes.renew_all(index, granted)
        await self._parts.writer.commit(changes)

    async def advise_corrupt_immutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._advise(index, number, Kind.IMMUTABLE, reason)

    async def advise_corrupt_mutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._advise(index, number, Kind.MUTABLE, reason)

    async def read_test_write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        return await self._slots.read_test_write(index, write_enabler, lease, vectors, read_vector)

    # -- beyond StorageService

    async def read_slot(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None
    ) -> Mapping[int, Sequence[bytes]]:
        """Read ranges of all mutable shares of ``index``, or of some; see ``MutableSlots.read_slot``."""
        return await self._slots.read_slot(index, ranges, numbers)

    async def read_shares(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None
    ) -> Mapping[int, Sequence[bytes]]:
        """Read ranges of all immutable shares of ``index``, or of some; see ``ShareReading.read_all``."""
        return await self._reading.read_all(index, ranges, numbers)

    async def open_share(self, index: StorageIndex, number: int, kind: Kind) -> ShareFile:
        """Open a complete share to be read piece by piece; see ``ShareReading.open``."""
        return await self._reading.open(index, number, kind)

    async def leases(self, index: StorageIndex, number: int) -> list[LeaseRow]:
        """Return the leases of one share that were made here; secrets as their hashes."""
        await self._parts.waiting.placed(index)
        return await self._parts.workers.run(self._parts.catalog.leases_of, index, number)

    def check_upload(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        """Raise what ``write`` would raise at once: NoSuchShareError or WrongSecretError."""
        self._parts.uploads.find(index, number).check_secret(upload_secret)

    async def check_share(self, index: StorageIndex, number: int, kind: Kind) -> None:
        """Raise NoSuchShareError unless there is a sound share of this kind."""
        await self._reading.check(index, number, kind)

    async def check_kind(self, index: StorageIndex, kind: Kind) -> None:
        """Raise ShareConflictError if the index holds shares of the other kind."""
        await self._parts.waiting.placed(index)
        rows = await self._parts.workers.run(self._parts.catalog.shares_of, index)
        if any(row.kind is not kind for row in rows.values()):
            raise ShareConflictError("the index holds shares of the other kind")

    async def check_write_enabler(self, index: StorageIndex, write_enabler: bytes) -> None:
        """Raise what ``read_test_write`` would raise before it looks at its vectors."""
        await self._parts.waiting.placed(index)
        await self._slots.check_write_enabler(index, write_enabler)

    async def check_message(self, index: StorageIndex, write_enabler: bytes, size: int) -> None:
        """Raise what can be said of a large ``read_test_write`` before it is there; see ``MutableSlots``."""
        await self._parts.waiting.placed(index)
        await self._slots.check_message(index, write_enabler, size)

    async def to_its_end(self, operation: Coroutine[Any, Any, T]) -> T:
        """Return what ``operation`` returns; it goes on if the caller is cancelled, and ``close`` waits."""
        return await self._parts.steadfast.run(operation)

    def waiting_share(self, index: StorageIndex, number: int, kind: Kind) -> bytes | None:
        """Return the data of a share that is not in a file of its own yet; see ``ShareReading.waiting``."""
        return self._reading.waiting(index, number, kind)

    async def store(self, requests: Sequence[StoreRequest]) -> list[Outcome]:
        """Store small shares whole; see ``SmallShares.store``."""
        return await self._small.store(requests)

    def canary(self, index: StorageIndex, upload_secret: bytes) -> AsyncGenerator[bytes, None]:
        """Tie the uploads of ``index`` under this secret to the life of a stream; see ``Canaries.stream``."""
        return self._canaries.stream(index, upload_secret)

    async def step(self) -> None:
        """Do what has become due: give up idle and orphaned uploads, settle what has piled up."""
        await self._ends.give_up_idle()
        await self._canaries.give_up_orphans()
        if self._parts.redo.pending >= SETTLE_AT:
            await self._parts.redo.settle()

    async def settle(self) -> None:
        """Bring all files and their names to stable storage, so that no log and no redo record is left."""
        await self._parts.waiting.settle()
        await self._parts.redo.settle()

    async def close(self) -> None:
        """Give up all uploads, settle, and let go of the directory."""
        await self._parts.steadfast.close()
        await self._ends.close()
        await self._parts.waiting.close()
        await self._parts.redo.settle()

    async def _advise(self, index: StorageIndex, number: int, kind: Kind, reason: str) -> None:
        await self.check_share(index, number, kind)
        await self._parts.workers.run(
            self._advisories.record, kind, index, number, reason, self._parts.clock()
        )


@asynccontextmanager
async def open_storage(
    directory: Path,
    settings: StorageSettings,
    server_seed: bytes,
    clock: Callable[[], float] = time.time,
    disk: Disk | None = None,
) -> AsyncIterator[StorageEngine]:
    """Open the storage directory ``directory``, made if need be, and serve it until the block ends.

    Args:
        server_seed: 20 bytes, the same for the life of the server.
        clock: gives seconds since 1970.
        disk: what carries out durable operations; for tests.

    Raises:
        ConfigError: the directory is in use by another process, or cannot be used.
    """
    if len(server_seed) != SERVER_SEED_SIZE:
        raise ConfigError("storage: a server seed has 20 bytes")
    places = StorageDirectory(directory)
    disk = disk or Disk(synchronise=settings.durability == "fsync")
    with _the_only_user(places), _open_catalog(places, disk) as catalog:
        workers = Workers(settings.workers)
        writer = CatalogWriter(catalog, disk)
        admission = Admission(settings, catalog.totals()[1], free_space_of(places.shares))
        waiting = WaitingShares(places, disk, catalog, writer, workers, admission)
        try:
            engine = StorageEngine(
                StorageParts(
                    settings=settings,
                    server_seed=server_seed,
                    clock=clock,
                    directory=places,
                    disk=disk,
                    catalog=catalog,
                    writer=writer,
                    redo=Redo(catalog, writer, disk, places, workers),
                    workers=workers,
                    look_ups=DiskPace(workers, LOOK_UP_S),
                    admission=admission,
                    waiting=waiting,
                    locks=IndexLocks(waiting.placed),
                )
            )
            housekeeping = asyncio.create_task(_keep_house(engine))
            try:
                yield engine
            finally:
                housekeeping.cancel()
                await asyncio.wait([housekeeping])
                await engine.close()
        finally:
            workers.close()
            await asyncio.to_thread(writer.close)


@contextmanager
def _the_only_user(places: StorageDirectory) -> Iterator[None]:
    try:
        for path in (places.root, places.shares, places.incoming, places.private):
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"storage: {places.root} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"storage: {places.root} is in use by another process") from None
        yield
    finally:
        os.close(lock)


@contextmanager
def _open_catalog(places: StorageDirectory, disk: Disk) -> Iterator[Catalog]:
    """Open the catalog, and bring the files to what it says."""
    try:
        catalog = Catalog(places.catalog, synchronise=disk.synchronise)
    except DatabaseError as error:
        raise ConfigError(
            f"storage: {places.catalog} is damaged ({error.orig}); once it is moved away, the shares are "
            "taken over as they lie in the directory, without the leases of the catalog"
        ) from error
    try:
        repeated = recover(catalog, disk, places)
        if repeated:
            log.info("looked again at %d moves that a crash may have undone", repeated)
        if catalog.is_new:
            adopted = adopt_shares(catalog, places)
            if adopted:
                log.info("took over %d shares that were there", adopted)
        logged = recover_logs(catalog, disk, places)
        if logged:
            log.info("looked again at %d small shares that a crash may have undone", logged)
        yield catalog
    finally:
        catalog.close()


async def _keep_house(engine: StorageEngine) -> None:
    loop = asyncio.get_running_loop()
    settled = loop.time()
    while True:
        await asyncio.sleep(STEP_S)
        try:
            await engine.step()
            if loop.time() - settled >= SETTLE_S:
                await engine.settle()
                settled = loop.time()
        except Exception:
            log.exception("the housekeeping of the storage server failed; it goes on")
