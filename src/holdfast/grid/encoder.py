"""Encrypts, encodes and hashes one file, and delivers it to shareholders: reading
and encoding run ahead by a few batches while earlier ones are on the wire, and each
shareholder has its own queue.

It is told its shareholders; it chooses none.

Source: docs/spec/seed-map.md, section L; docs/spec/immutable.md, section 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from holdfast.crypto.immutable_hashes import ueb_hash
from holdfast.crypto.kernel import SegmentEncoder
from holdfast.crypto.merkle import JoinedHashes, build_joined_tree, build_tree
from holdfast.errors import ServerError
from holdfast.formats.extension_block import ExtensionBlock, packed_length
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_hash_chain import chain_order
from holdfast.formats.share_layout import ShareLayout
from holdfast.grid.memory import BufferStock, MemoryBudget
from holdfast.grid.sources import Plaintext
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage import BucketWriter
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import HASH_SIZE, Hash

BATCH_SHARES_MAX = 28 << 20  # bytes of shares in one batch
BATCH_PLAINTEXT_MAX = 8 << 20
BATCHES_IN_FLIGHT = 2  # one is encoded while the other is on the wire
STALL_S = 5.0  # a shareholder this far behind all others is given up, if it can be spared

LostShareholder = Callable[[int, Exception], None]
"""Told of a shareholder that failed; raises to end the upload."""
CanSpare = Callable[[int], bool]
"""Whether the upload would succeed without this shareholder."""


class _Batch:
    """Buffers of a few segments: their plaintext, and the blocks of all shares of each."""

    def __init__(self, segments_max: int, plan: Segmentation, stock: BufferStock) -> None:
        self.plaintext = stock.take(segments_max * plan.segment_size)
        size = plan.shares_total * plan.block_size
        self.buffers = [stock.take(size) for _ in range(segments_max)]
        self.blocks = [memoryview(buffer) for buffer in self.buffers]
        self.segments = range(0)
        self.pending: set[int] = set()  # shareholders that have not delivered it yet
        self.done = asyncio.Event()
        self.first_done_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Trees:
    crypttext: JoinedHashes
    blocks: Sequence[JoinedHashes]  # of each share
    shares: Sequence[bytes]


class FileEncoder:
    """Implements ``interfaces.transfer.Encoder``.

    Order of use: ``setup``, sizes and ``set_shareholders``, ``start``; each raises RuntimeError out of order.
    """

    def __init__(
        self,
        plan: Segmentation,
        key: bytes | None,
        workers: Workers,
        memory: MemoryBudget,
        *,
        on_lost: LostShareholder,
        can_spare: CanSpare,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """``key`` None: the source already is ciphertext (repair)."""
        self._plan = plan
        self._workers = workers
        self._memory = memory
        self._on_lost = on_lost
        self._can_spare = can_spare
        self._on_progress = on_progress
        self._segments = SegmentEncoder(key, plan.shares_needed, plan.shares_total)
        self._source: Plaintext | None = None
        self._writers: dict[int, BucketWriter] | None = None
        self._queues: dict[int, asyncio.Queue[_Batch | None]] = {}
        self._crypttext_hashes: list[bytes] = []
        self._block_hashes: list[list[bytes]] = [[] for _ in range(plan.shares_total)]
        self.extension_block = b""

    def setup(self, infile: Plaintext) -> None:
        """Take the plaintext, which is read from its beginning whatever was read of it before."""
        if infile.size != self._plan.size:
            raise ValueError("the source has another size than the one planned for")
        self._source = infile

    def get_share_size(self) -> int:
        self._check_set_up()
        return self._plan.data_size

    def get_allocated_size(self) -> int:
        self._check_set_up()
        return ShareLayout.plan(self._plan, packed_length(self._plan)).share_length

    def get_block_size(self) -> int:
        self._check_set_up()
        return self._plan.block_size

    def set_shareholders(self, shareholders: Mapping[int, BucketWriter]) -> None:
        self._check_set_up()
        if any(not 0 <= number < self._plan.shares_total for number in shareholders):
            raise ValueError(f"share numbers lie between 0 and {self._plan.shares_total - 1}")
        self._writers = dict(shareholders)

    async def start(self) -> Hash:
        """Deliver everything. Returns the hash of the URI extension block.

        Raises:
            SourceChangedError, InputError: the source cannot be read as it was.
            Whatever ``on_lost`` raises. Shareholders are then neither closed nor aborted here.
        """
        if self._source is None or self._writers is None:
            raise RuntimeError("setup and set_shareholders come before start")
        async with asyncio.TaskGroup() as group:
            tasks = {}
            for number, writer in self._writers.items():
                self._queues[number] = asyncio.Queue()
                tasks[number] = group.create_task(self._deliver(number, writer))
            await self._encode_all(self._source, tasks)
            self._source.check_unchanged()
            hashes = HASH_SIZE * self._plan.segment_count * self._plan.shares_total
            trees = await self._workers.run(hashes, self._finish_trees)
            for number, task in tasks.items():
                if number in self._writers and not task.done():
                    self._queues[number].put_nowait(None)
            await self._deliver_hashes(trees, tasks)
        return Hash(ueb_hash(self.extension_block))

    def _check_set_up(self) -> None:
        if self._source is None:
            raise RuntimeError("setup comes first")

    # -- batches

    async def _encode_all(self, source: Plaintext, tasks: Mapping[int, asyncio.Task[None]]) -> None:
        plan = self._plan
        per_batch = self._segments_per_batch()
        batch_count = -(-plan.segment_count // per_batch)
        depth = min(BATCHES_IN_FLIGHT, batch_count)
        batch_bytes = per_batch * (plan.segment_size + plan.shares_total * plan.block_size)
        async with self._memory.hold(depth * batch_bytes):
            stock = self._memory.stock
            batches = [_Batch(per_batch, plan, stock) for _ in range(depth)]
            free = list(batches)
            in_flight: list[_Batch] = []
            for segments in batches_of(plan.segment_count, per_batch):
                if not free:
                    free.append(await self._oldest_done(in_flight, tasks))
                batch = free.pop()
                batch.segments = segments
                size = len(batch.segments) * plan.segment_size
                await self._workers.run(size, self._encode_batch, source, batch)
                batch.pending = set(self._live(tasks))
                batch.first_done_at = None
                batch.done.clear()
                if not batch.pending:
                    batch.done.set()
                in_flight.append(batch)
                for number in batch.pending:
                    self._queues[number].put_nowait(batch)
                self._on_progress(min(batch.segments.stop * plan.segment_size, plan.size))
            while in_flight:
                await self._oldest_done(in_flight, tasks)
            for batch in batches:
                for buffer in (batch.plaintext, *batch.buffers):
                    stock.give_back(buffer)

    def _segments_per_batch(self) -> int:
        plan = self._plan
        by_shares = BATCH_SHARES_MAX // (plan.shares_total * plan.block_size)
        by_plaintext = BATCH_PLAINTEXT_MAX // plan.segment_size
        return max(1, min(by_shares, by_plaintext, plan.segment_count))

    def _encode_batch(self, source: Plaintext, batch: _Batch) -> None:
        """Read and encode one batch. Runs in a worker thread; batches come in order."""
        plan = self._plan
        start = batch.segments.start * plan.segment_size
        end = min(batch.segments.stop * plan.segment_size, plan.size)
        plaintext = memoryview(batch.plaintext)[: end - start]
        for i, segment in enumerate(batch.segments):
            offset = segment * plan.segment_size
            size, block_size = plan.segment_length(segment), plan.block_length(segment)
            piece = plaintext[offset - start : offset - start + size]
            source.read_into(offset, piece)  # just before it is needed, while it is in the processor's cache
            segment_hash, block_hashes = self._segments.encode(
                piece,
                offset,
                block_size,
                batch.blocks[i][: plan.shares_total * block_size],
            )
            self._crypttext_hashes.append(segment_hash)
            for number, hashes in enumerate(self._block_hashes):
                hashes.append(block_hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE])

    def _live(self, tasks: Mapping[int, asyncio.Task[None]]) -> list[int]:
        return [number for number, task in tasks.items() if not task.done()]

    async def _oldest_done(self, in_flight: list[_Batch], tasks: Mapping[int, asyncio.Task[None]]) -> _Batch:
        """Wait until everybody has delivered the oldest batch, giving up those who hang and can be spared."""
        batch = in_flight.pop(0)
        while not batch.done.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await batch.done.wait()
            except TimeoutError:
                self._give_up_stalled(batch.pending, batch.first_done_at, len(tasks), tasks)
        return batch

    def _give_up_stalled(
        self,
        pending: set[int],
        since: float | None,
        started: int,
        tasks: Mapping[int, asyncio.Task[None]],
    ) -> None:
        """Give up those in ``pending`` if most others were done long ago."""
        if since is None or len(pending) > started // 2:
            return
        if asyncio.get_running_loop().time() - since < STALL_S:
            return
        for number in list(pending):
            if not tasks[number].done() and self._can_spare(number):
                self._lost(number, ServerError("hung while others went on"))
                tasks[number].cancel()

    # -- shareholders

    async def _deliver(self, number: int, writer: BucketWriter) -> None:
        """Send the blocks of one share as its batches come, until told that there are no more."""
        queue = self._queues[number]
        batch: _Batch | None = None
        try:
            while (batch := await queue.get()) is not None:
                blocks = []
                for i, segment in enumerate(batch.segments):
                    size = self._plan.block_length(segment)
                    blocks.append(batch.blocks[i][number * size : (number + 1) * size])
                await writer.put_blocks(batch.segments.start, blocks)
                self._delivered(number, batch)
        except (ServerError, StorageRefusalError) as error:
            self._lost(number, error)
        finally:
            # Whatever was still to come is not waited for.
            while batch is not None:
                self._delivered(number, batch)
                batch = None if queue.empty() else queue.get_nowait()

    def _delivered(self, number: int, batch: _Batch) -> None:
        batch.pending.discard(number)
        if batch.first_done_at is None:
            batch.first_done_at = asyncio.get_running_loop().time()
        if not batch.pending:
            batch.done.set()

    def _lost(self, number: int, error: Exception) -> None:
        assert self._writers is not None
        if self._writers.pop(number, None) is not None:
            self._on_lost(number, error)

    # -- hashes

    def _finish_trees(self) -> _Trees:
        """Build all trees and the extension block. Runs in a worker thread; the leaves are gone then."""
        crypttext = build_joined_tree(self._crypttext_hashes)
        blocks = []
        for leaves in self._block_hashes:
            blocks.append(build_joined_tree(leaves))
            leaves.clear()
        shares = build_tree([tree[0] for tree in blocks])
        self.extension_block = ExtensionBlock.for_file(
            self._plan, self._segments.crypttext_hash(), crypttext[0], shares[0]
        ).to_bytes()
        return _Trees(crypttext, blocks, shares)

    async def _deliver_hashes(
        self,
        trees: _Trees,
        tasks: Mapping[int, asyncio.Task[None]],
    ) -> None:
        assert self._writers is not None
        started = len(self._writers)
        pending = set(self._writers)
        first_done_at: list[float] = []

        async def deliver(number: int, writer: BucketWriter) -> None:
            chain = [
                (node, Hash(trees.shares[node])) for node in chain_order(self._plan.shares_total, number)
            ]
            try:
                await asyncio.wait((tasks[number],))
                if number not in self._writers_left():
                    return
                await writer.put_crypttext_hashes(cast(Sequence[Hash], trees.crypttext))
                await writer.put_block_hashes(cast(Sequence[Hash], trees.blocks[number]))
                await writer.put_share_hashes(chain)
                await writer.put_uri_extension(self.extension_block)
                await writer.close()
            except (ServerError, StorageRefusalError) as error:
                self._lost(number, error)
            finally:
                pending.discard(number)
                first_done_at.append(asyncio.get_running_loop().time())

        async with asyncio.TaskGroup() as group:
            deliveries = {n: group.create_task(deliver(n, w)) for n, w in self._writers.items()}
            while pending:
                await asyncio.wait([deliveries[n] for n in pending], timeout=1.0)
                self._give_up_stalled(
                    set(pending), first_done_at[0] if first_done_at else None, started, deliveries
                )

    def _writers_left(self) -> dict[int, BucketWriter]:
        assert self._writers is not None
        return self._writers


def batches_of(segment_count: int, most: int) -> Iterator[range]:
    """Cut all segments into batches. Of many, the first are smaller: servers wait for less to begin with."""
    count = most if segment_count <= 2 * most else max(1, most // 4)
    first = 0
    while first < segment_count:
        yield range(first, min(first + count, segment_count))
        first += count
        count = min(2 * count, most)
