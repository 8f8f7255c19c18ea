"""Uploads immutable files: from a source to a capability.

Source: docs/spec/seed-map.md, section Q; docs/spec/immutable.md, section 10; docs/spec/grid.md, section 11.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

from holdfast.caps import ImmutableReadCap, LiteralCap
from holdfast.crypto.immutable_hashes import storage_index, ueb_hash
from holdfast.formats.extension_block import packed_length
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_file import build_shares
from holdfast.formats.share_layout import ShareLayout
from holdfast.grid.advice import Problems
from holdfast.grid.bucket_writer import RemoteBucketWriter
from holdfast.grid.canaries import canaries
from holdfast.grid.convergence import convergent_key_of
from holdfast.grid.encoder import FileEncoder
from holdfast.grid.known_server import KnownServer
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.results import UploadResult
from holdfast.grid.selection import ServerSelection
from holdfast.grid.servers import Servers
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, FileHandleSource, FileNameSource, Plaintext, open_source
from holdfast.grid.structured import first_error
from holdfast.grid.whole_shares import SHARE_SIZE_MAX, WholeShares
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage import Allocation
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable
from holdfast.interfaces.types import Hash, StorageIndex
from holdfast.planning.happiness import happiness

LITERAL_SIZE_MAX = 55  # bytes
GIVE_BACK_S = 2.0
CANARY_SIZE_MIN = 4 << 20  # bytes


class Uploader:
    """Uploads files to the servers of one client."""

    def __init__(
        self, servers: Servers, encoding: EncodingSettings, workers: Workers, memory: MemoryBudget
    ) -> None:
        self._servers = servers
        self._encoding = encoding
        self._workers = workers
        self._memory = memory
        self._turns: WeakValueDictionary[StorageIndex, asyncio.Lock] = WeakValueDictionary()

    async def upload(
        self,
        uploadable: Uploadable | AsyncUploadable,
        *,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> UploadResult:
        """Store a file.

        Shares that are on their servers already are not sent again. Equal files that are stored at the same
        time take turns, since servers refuse a share that somebody else is sending. On failure, and when
        cancelled, the servers are told to forget what is incomplete.

        Raises:
            InputError, SourceChangedError: the source cannot be read, or changed meanwhile.
            NoServersError, UnhappyError: too few servers took part.
        """
        source = await open_source(uploadable)
        try:
            with first_error():
                return await self._store(source, encoding or self._encoding, progress or ignore_progress)
        finally:
            await source.close()

    async def upload_data(self, data: bytes) -> UploadResult:
        """Store bytes."""
        return await self.upload(DataSource(data))

    async def upload_filename(self, filename: str | Path) -> UploadResult:
        """Store the file of an absolute path. Raises ValueError for a relative one."""
        return await self.upload(FileNameSource(filename))

    async def upload_filehandle(self, filehandle: BinaryIO) -> UploadResult:
        """Store what an open handle gives from its beginning. It stays open."""
        return await self.upload(FileHandleSource(filehandle))

    async def _store(
        self, source: Plaintext, encoding: EncodingSettings, progress: ProgressCallback
    ) -> UploadResult:
        if source.size <= LITERAL_SIZE_MAX:
            data = bytearray(source.size)
            source.read_into(0, memoryview(data))
            return UploadResult(LiteralCap(bytes(data)).to_text(), source.size, {}, 0, 0, 0)
        plan = Segmentation.plan(
            source.size, encoding.shares_needed, encoding.shares_total, encoding.segment_size_max
        )
        key = await self._key(source, plan, encoding, progress)
        turn = self._turns.setdefault(StorageIndex(storage_index(key)), asyncio.Lock())
        async with turn:
            return await _Upload(self, source, plan, key, encoding, progress).run()

    async def _key(
        self,
        source: Plaintext,
        plan: Segmentation,
        encoding: EncodingSettings,
        progress: ProgressCallback,
    ) -> bytes:
        if encoding.convergence_secret is None:
            return secrets.token_bytes(16)
        return await convergent_key_of(source, plan, encoding.convergence_secret, self._workers, progress)


class _Upload:
    """One upload to the end."""

    def __init__(
        self,
        uploader: Uploader,
        source: Plaintext,
        plan: Segmentation,
        key: bytes,
        encoding: EncodingSettings,
        progress: ProgressCallback,
    ) -> None:
        self._source = source
        self._plan = plan
        self._key = key
        self._wanted = encoding.happiness
        self._resumable = encoding.convergence_secret is not None
        self._index = StorageIndex(storage_index(key))
        self._problems = Problems(self._index)
        self._layout = ShareLayout.plan(plan, packed_length(plan))
        self._servers = uploader._servers
        self._workers = uploader._workers
        self._memory = uploader._memory
        self._progress = progress
        self._giving_back: list[asyncio.Task[None]] = []
        self._whole: WholeShares | None = None
        small = self._layout.share_length <= SHARE_SIZE_MAX
        self._selecting = ServerSelection(
            self._servers,
            self._index,
            self._layout.share_length,
            plan.shares_needed,
            plan.shares_total,
            self._wanted,
            self._problems,
            source.mark,
            self._send_whole if small else None,
        )
        self._selection = self._selecting.selection

    async def run(self) -> UploadResult:
        if self._layout.share_length <= SHARE_SIZE_MAX:
            return await self._run_whole()
        try:
            selection = await self._selecting.run()
            found = {number for numbers in selection.held.values() for number in numbers}
            async with canaries(self._index, self._canary_holders()):
                extension_hash = await self._deliver()
            pushed = sorted(selection.writing)
            for number in pushed:
                self._selecting.completed(number)
            await self._finish_giving_back()
        except BaseException:
            await asyncio.shield(self._selecting.abort())
            raise
        if happiness(selection.sharemap()) < self._wanted:
            raise self._selecting.unhappy(selection.sharemap())
        return self._result(bytes(extension_hash), len(pushed), len(found))

    async def _run_whole(self) -> UploadResult:
        """Store a small file: make its shares, then find servers that take them as they are."""
        async with self._memory.hold(self._layout.share_length * self._plan.shares_total):
            shares, extension_block = await self._workers.run(self._plan.size, self._make_shares)
            self._whole = WholeShares(self._index, shares, self._selecting.upload_secret)
            try:
                await self._selecting.run()
            except BaseException:
                await asyncio.shield(self._selecting.abort())
                raise
        self._progress(Progress("uploading", self._plan.size, self._plan.size))
        sent = self._selecting.sent
        numbers = {number for numbers in self._selection.held.values() for number in numbers}
        return self._result(ueb_hash(extension_block), len(sent), len(numbers - sent))

    async def _send_whole(self, server: KnownServer, numbers: set[int], only_if_none: bool) -> Allocation:
        assert self._whole is not None
        return await self._whole.send(server, numbers, only_if_none)

    def _make_shares(self) -> tuple[list[bytes], bytes]:
        plaintext = bytearray(self._plan.size)
        self._source.read_into(0, memoryview(plaintext))
        self._source.check_unchanged()
        return build_shares(self._key, plaintext, self._plan)

    def _result(self, extension_hash: bytes, pushed: int, found: int) -> UploadResult:
        sharemap = self._selection.sharemap()
        cap = ImmutableReadCap(
            self._key, extension_hash, self._plan.shares_needed, self._plan.shares_total, self._plan.size
        )
        return UploadResult(
            cap.to_text(),
            self._plan.size,
            {number: tuple(sorted(sharemap[number])) for number in sorted(sharemap)},
            happiness(sharemap),
            pushed,
            found,
            self._problems.all(),
        )

    async def _deliver(self) -> Hash:
        """Encode the file and deliver its shares to the servers that accepted them."""
        writers = {
            number: RemoteBucketWriter(
                server.service,
                self._index,
                number,
                self._selecting.upload_secret(server),
                self._plan,
                self._layout,
            )
            for number, server in self._selection.writing.items()
        }
        encoder = FileEncoder(
            self._plan,
            self._key,
            self._workers,
            self._memory,
            on_lost=self._lost,
            can_spare=self._can_spare,
            on_progress=lambda done: self._progress(Progress("uploading", done, self._plan.size)),
        )
        encoder.setup(self._source)
        encoder.set_shareholders(writers)
        return await encoder.start()

    async def _finish_giving_back(self) -> None:
        """Wait a moment for the servers whose shares were given up to hear of it. Those that hang do not."""
        if self._giving_back:
            _, late = await asyncio.wait(self._giving_back, timeout=GIVE_BACK_S)
            for task in late:
                task.cancel()

    def _canary_holders(self) -> list[tuple[KnownServer, bytes]]:
        """Return the servers that are to notice if this client dies, with this upload's secrets.

        An upload with a convergent key can be resumed, so its unfinished shares are left alone; a short one
        is over before a canary would matter.
        """
        if self._resumable or self._plan.size < CANARY_SIZE_MIN:
            return []
        servers = {server.id: server for server in self._selection.writing.values()}
        return [(server, self._selecting.upload_secret(server)) for server in servers.values()]

    def _can_spare(self, number: int) -> bool:
        return happiness(self._selection.sharemap(without=number)) >= self._wanted

    def _lost(self, number: int, error: Exception) -> None:
        """Go on without a share if enough others are left. Raises UnhappyError."""
        server = self._selection.writing[number]
        self._problems.note(server, error, number)
        spare = self._can_spare(number)
        self._giving_back.append(asyncio.create_task(self._selecting.give_back(number)))
        self._selection.writing.pop(number)
        if not spare:
            raise self._selecting.unhappy(self._selection.sharemap())
