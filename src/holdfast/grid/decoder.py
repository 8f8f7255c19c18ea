"""Fetches blocks from shareholders, proves, decodes and decrypts them, and hands the
plaintext on in order. Several batches are under way at once; a shareholder that
fails, lies or lags is replaced.

It is told its shareholders; when they do not suffice it asks for more.

Source: docs/spec/seed-map.md, section M; docs/spec/immutable.md, sections 11 to 13.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol, Self, TypeVar

from holdfast.crypto.kernel import SegmentDecoder
from holdfast.errors import (
    BadFileError,
    CorruptShareError,
    IntegrityError,
    NoSharesError,
    NotEnoughSharesError,
    ServerError,
)
from holdfast.formats.segmentation import Segmentation
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.open_share import FileIdentity, FileProofs, OpenShare
from holdfast.grid.running_fetches import RunningFetches
from holdfast.grid.structured import first_error
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage import BucketReader
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.planning.fetching import Fetch, FetchPlan

T = TypeVar("T")

BATCH_PLAINTEXT_MAX = 4 << 20  # bytes
BATCHES_IN_FLIGHT = 3
OPENING = -1  # the batch in which shares are opened

FindMore = Callable[[], Awaitable[bool]]
"""Looks for further shareholders, adds them, and says whether there are any."""
OnProblem = Callable[[str, int, Exception], None]
"""Told which shareholder's share failed, and how."""


class Sink(Protocol):
    """Where a decoder writes to: a file, or anything with these two methods, which may be coroutines."""

    def write(self, data: memoryview, /) -> object: ...

    def close(self) -> object: ...


class FileDecoder:
    """Implements ``interfaces.transfer.Decoder`` for a range of one file."""

    def __init__(
        self,
        identity: FileIdentity,
        key: bytes | None,
        workers: Workers,
        memory: MemoryBudget,
        *,
        find_more: FindMore,
        on_problem: OnProblem,
    ) -> None:
        """``key`` None: the ciphertext is handed on."""
        self._identity = identity
        self._key = key
        self._workers = workers
        self._memory = memory
        self._find_more = find_more
        self._on_problem = on_problem
        self.proofs = FileProofs(identity)
        self._plan = FetchPlan(identity.shares_needed)
        self._shares: dict[Fetch, OpenShare] = {}
        self._outfile: Sink | None = None
        self._segments = SegmentDecoder(key, identity.shares_needed)
        self._buffers: list[bytearray] = []
        self._finding = asyncio.Lock()
        self.used: dict[int, str] = {}

    def add_shareholder(self, holder: str, number: int, reader: BucketReader, preference: int = 0) -> None:
        """Add one source of share ``number``; lower preference is asked first among equals."""
        if not 0 <= number < self._identity.shares_total:
            return
        fetch = Fetch(holder, number)
        if fetch not in self._shares:
            self._shares[fetch] = OpenShare(number, reader, self.proofs)
            self._plan.add_candidate(holder, number, preference)

    def set_shareholders(self, shareholders: Mapping[int, BucketReader | Sequence[BucketReader]]) -> None:
        """Add sources by share number; several of one number are used in turn."""
        for number, readers in shareholders.items():
            for i, reader in enumerate(readers if isinstance(readers, Sequence) else [readers]):
                self.add_shareholder(f"holder {number}/{i}", number, reader, i)

    def setup(self, outfile: Sink) -> None:
        """Take where ``start`` writes to. Its methods may be coroutines."""
        self._outfile = outfile

    async def start(self) -> Self:
        """Write the whole file, in order, and close the sink. Returns this decoder.

        Raises:
            RuntimeError: ``setup`` or the shareholders are missing.
            Others as ``open``; the sink is then not closed, and got proven bytes only.
        """
        if self._outfile is None or not self._shares:
            raise RuntimeError("setup and set_shareholders come before start")
        async with aclosing(self.read(0, self._identity.size)) as pieces:
            async for piece in pieces:
                await _done(self._outfile.write(piece))
        await _done(self._outfile.close())
        return self

    async def open(self) -> Segmentation:
        """Open as many shares as are needed, and return the sizes of the file.

        Raises:
            NoSharesError, NotEnoughSharesError: there are too few good ones.
            BadFileError: the file was made wrongly.
        """
        with first_error():
            await self._collect(OPENING, self._open_share, _accept)
        assert self.proofs.plan is not None
        return self.proofs.plan

    async def read(self, offset: int, size: int) -> AsyncGenerator[memoryview]:
        """Yield the proven bytes ``[offset, offset + size)`` in order. Each piece is valid until the next.

        Raises: as ``open``.
        """
        plan = await self.open()
        segments = plan.segments_of(offset, size)
        per_batch = max(1, min(BATCH_PLAINTEXT_MAX // plan.segment_size, len(segments)))
        starts = range(segments.start, segments.stop, per_batch)
        batches = iter([range(s, min(s + per_batch, segments.stop)) for s in starts])
        held = min(BATCHES_IN_FLIGHT, len(starts)) * per_batch * 2 * plan.segment_size
        window: deque[tuple[range, asyncio.Task[bytearray]]] = deque()
        async with self._memory.hold(held):
            try:
                while True:
                    while len(window) < BATCHES_IN_FLIGHT and (batch := next(batches, None)) is not None:
                        window.append((batch, asyncio.create_task(self._batch(plan, batch))))
                    if not window:
                        return
                    batch, task = window.popleft()
                    try:
                        plaintext = await task
                    except BaseException:
                        task.cancel()
                        raise
                    start = batch.start * plan.segment_size
                    first = max(offset - start, 0)
                    last = min(offset + size, batch.stop * plan.segment_size, plan.size) - start
                    yield memoryview(plaintext)[first:last]
                    self._buffers.append(plaintext)
                    self._forget_before(batch.stop)
            finally:
                for _, task in window:
                    task.cancel()
                await asyncio.gather(*(task for _, task in window), return_exceptions=True)
                # What is here is held by nobody: fetches that were given up took theirs with them.
                while self._buffers:
                    self._memory.stock.give_back(self._buffers.pop())

    # -- one batch

    async def _batch(self, plan: Segmentation, segments: range) -> bytearray:
        """Fetch, prove and decode a batch; return a buffer that begins with its plaintext."""
        out = self._buffer(len(segments) * plan.segment_size)
        try:
            await self._fill(plan, segments, memoryview(out))
        except NotEnoughSharesError:
            if len(segments) == 1:
                raise
            # One bad block made a share useless for the whole batch; block by block there may be enough.
            for i, segment in enumerate(segments):
                start = i * plan.segment_size
                await self._fill(plan, range(segment, segment + 1), memoryview(out)[start:])
        return out

    async def _fill(self, plan: Segmentation, segments: range, out: memoryview) -> None:
        """Fetch, prove and decode segments into ``out``, all from the same shares."""
        last = segments[-1]
        block_bytes = plan.block_offset(last) + plan.block_length(last) - plan.block_offset(segments[0])

        async def fetch(share: OpenShare) -> bytearray:
            await share.open()
            await share.learn_leaves(segments)
            buffer = self._buffer(block_bytes)
            await share.reader.get_blocks(segments.start, len(segments), memoryview(buffer)[:block_bytes])
            return buffer

        async def settle(arrived: Mapping[Fetch, bytearray]) -> list[tuple[Fetch, Exception]]:
            size = len(segments) * plan.segment_size
            return await self._workers.run(size, self._decode_batch, plan, segments, arrived, out)

        arrived = await self._collect(segments.start, fetch, settle)
        self._buffers.extend(arrived.values())
        self.used.update({fetched.number: fetched.server for fetched in arrived})

    def _decode_batch(
        self, plan: Segmentation, segments: range, arrived: Mapping[Fetch, bytearray], out: memoryview
    ) -> list[tuple[Fetch, Exception]]:
        """Decode into ``out``; return the shares whose blocks are not the ones uploaded.

        Runs in a worker thread.
        """
        fetches = list(arrived)
        bad: dict[Fetch, Exception] = {}
        numbers = [f.number for f in fetches]
        position = 0
        for i, segment in enumerate(segments):
            size = plan.block_length(segment)
            blocks = [memoryview(arrived[f])[position : position + size] for f in fetches]
            position += size
            length = plan.segment_length(segment)
            start = i * plan.segment_size
            segment_hash, block_hashes = self._segments.decode(
                blocks,
                numbers,
                segment * plan.segment_size,
                length,
                out[start : start + length],
            )
            for j, f in enumerate(fetches):
                if block_hashes[32 * j : 32 * j + 32] != self._shares[f].block_hash(segment):
                    bad.setdefault(f, CorruptShareError(f"the block of segment {segment} is corrupt"))
            assert self.proofs.crypttext is not None
            if not bad and segment_hash != self.proofs.crypttext.leaf(segment):
                raise BadFileError(
                    f"segment {segment} is not what its uploader promised: the shares were made wrongly"
                )
        return list(bad.items())

    # -- fetching from enough shareholders

    async def _open_share(self, share: OpenShare) -> None:
        await share.open()

    async def _collect(
        self,
        batch: int,
        action: Callable[[OpenShare], Awaitable[T]],
        settle: Callable[[Mapping[Fetch, T]], Awaitable[list[tuple[Fetch, Exception]]]],
    ) -> dict[Fetch, T]:
        """Run ``action`` on shares until k of distinct numbers have settled well; return what they gave.

        No request outlives this call, cancelled or not.
        """
        plan, arrived = self._plan, dict[Fetch, T]()
        plan.begin(batch)
        running = RunningFetches[T]()
        try:
            while True:
                chosen = _of_distinct_numbers(arrived, self._identity.shares_needed)
                if chosen:
                    bad = await settle(chosen)
                    for fetch, error in bad:
                        del arrived[fetch]
                        self._failed(batch, fetch, error)
                    if not bad:
                        for fetch in chosen:
                            plan.record_good(batch, fetch)
                        return chosen
                    continue
                for fetch in plan.next_fetches(batch):
                    running.start(fetch, action(self._shares[fetch]))
                if not running and not await self._more():
                    raise self._not_enough()
                for fetch, outcome in await running.finished():
                    if isinstance(outcome, Exception):
                        self._failed(batch, fetch, outcome)
                    else:
                        arrived[fetch] = outcome
                for fetch in running.slow():
                    plan.record_slow(batch, fetch)
        finally:
            plan.end(batch)
            await running.cancel()

    def _failed(self, batch: int, fetch: Fetch, error: Exception) -> None:
        """Take note of a failure; errors that are nobody's share's fault are raised."""
        if isinstance(error, BadFileError) or not isinstance(
            error, (ServerError, StorageRefusalError, IntegrityError)
        ):
            raise error
        self._on_problem(fetch.server, fetch.number, error)
        if isinstance(error, ServerError):
            self._plan.record_bad(batch, fetch, whole_share=True)
            self._plan.server_lost(fetch.server)
        else:
            one_block = isinstance(error, CorruptShareError) and str(error).startswith("the block of segment")
            self._plan.record_bad(batch, fetch, whole_share=not one_block)

    async def _more(self) -> bool:
        before = len(self._shares)
        async with self._finding:
            return len(self._shares) > before or await self._find_more()

    def _not_enough(self) -> NotEnoughSharesError:
        found, needed = len(self._plan.found()), self._identity.shares_needed
        if found == 0:
            return NoSharesError("no share of this file was found", found=0, needed=needed)
        return NotEnoughSharesError(
            f"needs {needed} shares, {found} usable ones were found", found=found, needed=needed
        )

    # -- buffers

    def _buffer(self, size: int) -> bytearray:
        """Return a buffer of at least ``size`` bytes, one used before if there is one that fits."""
        for i, buffer in enumerate(self._buffers):
            if size <= len(buffer) <= 2 * size + 4096:
                return self._buffers.pop(i)
        del self._buffers[64:]
        return self._memory.stock.take(size)

    def _forget_before(self, segment: int) -> None:
        assert self.proofs.crypttext is not None
        self.proofs.crypttext.forget_before(segment)
        for share in self._shares.values():
            share.forget_before(segment)


def _of_distinct_numbers(arrived: Mapping[Fetch, T], count: int) -> dict[Fetch, T]:
    """Return the first ``count`` arrivals of different share numbers; none if there are fewer.

    Late answers and their replacements can come together, so there may be more than asked for.
    """
    first: dict[int, Fetch] = {}
    for fetch in arrived:
        first.setdefault(fetch.number, fetch)
    chosen = list(first.values())[:count]
    return {fetch: arrived[fetch] for fetch in chosen} if len(chosen) == count else {}


async def _done(result: object) -> None:
    if inspect.isawaitable(result):
        await result


async def _accept(_: Mapping[Fetch, None]) -> list[tuple[Fetch, Exception]]:
    return []
