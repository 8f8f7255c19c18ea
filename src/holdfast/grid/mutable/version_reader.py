"""Reads one version of a mutable file from the copies of its shares that were found.

Blocks that are proven are kept when another one fails, a copy that fails is replaced by another one, of the
same share or of the next, and one that keeps us waiting gets company. Memory: a few batches of segments.

Source: docs/spec/mutable.md, section 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from holdfast.errors import IntegrityError, NoSharesError, NotEnoughSharesError, ServerError
from holdfast.formats.mutable_encoding import decode_segment
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.formats.mutable_proof import VersionProof
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.mutable.share_copy import ShareCopy
from holdfast.grid.mutable.slot_reads import FETCH_TIMEOUT_S
from holdfast.grid.patience import FACTOR, LEAST_S
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex

BATCH_SIZE = 1 << 20  # bytes of plaintext read at once; an SDMF file is one segment, whatever its size

OnFailed = Callable[[ShareCopy, Exception], None]
_Fetch = asyncio.Task[list[memoryview]]


class VersionReader:
    """Reads ranges of one version. What it learned of copies and hashes serves all reads."""

    def __init__(
        self,
        index: StorageIndex,
        header: MutableHeader,
        read_key: bytes,
        copies: Sequence[ShareCopy],
        workers: Workers,
        memory: MemoryBudget,
        on_failed: OnFailed,
    ) -> None:
        """``copies``: best first. ``on_failed`` is told of each copy that is given up."""
        self._index = index
        self._plan = header.segmentation
        self._read_key = read_key
        self._proof = VersionProof(header)
        self._copies = sorted(copies, key=lambda copy: copy.number)
        self._workers = workers
        self._memory = memory
        self._on_failed = on_failed
        self._salt = header.salt
        self.salts: dict[int, bytes] = {}  # of the segments read so far
        self.used: dict[int, str] = {}  # share number to server id, of the last batch

    async def read(self, offset: int, length: int) -> AsyncGenerator[memoryview]:
        """Give the bytes ``[offset, offset + length)``, which have to lie within the file, in order.

        Raises:
            NotEnoughSharesError, NoSharesError: too few good shares are left.
        """
        segments = self._plan.segments_of(offset, length)
        end = offset + length
        step = max(1, BATCH_SIZE // max(1, self._plan.segment_size))
        batches = [segments[i : i + step] for i in range(0, len(segments), step)]
        ahead: asyncio.Task[list[bytearray]] | None = None
        try:
            for i, batch in enumerate(batches):
                plaintexts = await (ahead or asyncio.ensure_future(self._batch(batch)))
                more = i + 1 < len(batches)
                ahead = asyncio.ensure_future(self._batch(batches[i + 1])) if more else None
                for segment, plaintext in zip(batch, plaintexts, strict=True):
                    begin = segment * self._plan.segment_size
                    view = memoryview(plaintext)
                    yield view[max(0, offset - begin) : max(0, end - begin)]
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _batch(self, segments: range) -> list[bytearray]:
        size = sum(self._plan.segment_length(segment) for segment in segments)
        async with self._memory.hold(3 * size):
            records = await self._fetch(segments)
            self.used = {copy.number: copy.server.id for copy in records}
            return [
                await self._decode(segment, {copy.number: held[i] for copy, held in records.items()})
                for i, segment in enumerate(segments)
            ]

    async def _decode(self, segment: int, records: Mapping[int, memoryview]) -> bytearray:
        skip = self._plan.salt_size
        salt = bytes(records[min(records)][:skip]) or self._salt
        self.salts[segment] = salt
        blocks = {number: record[skip:] for number, record in records.items()}
        return await self._workers.run(
            self._plan.segment_length(segment),
            decode_segment,
            self._plan,
            self._read_key,
            segment,
            salt,
            blocks,
        )

    async def _fetch(self, segments: range) -> dict[ShareCopy, list[memoryview]]:
        """Return the proven records of as many shares as are needed."""
        needed = self._plan.shares_needed
        loop = asyncio.get_running_loop()
        got: dict[ShareCopy, list[memoryview]] = {}
        fetches: dict[_Fetch, ShareCopy] = {}
        slow: set[_Fetch] = set()
        tried: set[int] = set()  # ids of copies that are under way, or were given up for this batch
        began = loop.time()
        try:
            while len(got) < needed:
                quick = [fetches[f] for f in fetches if f not in slow]
                for _ in range(needed - len(got) - len(quick)):
                    busy = {c.number for c in got} | {c.number for c in quick}
                    copy = self._next_copy(busy, tried)
                    if copy is None:
                        break
                    tried.add(id(copy))
                    quick.append(copy)
                    fetches[asyncio.ensure_future(self._records(copy, segments))] = copy
                if not fetches:
                    raise self._too_few(len(got))
                limit = max(LEAST_S, FACTOR * (loop.time() - began)) if got else LEAST_S
                done, _ = await asyncio.wait(
                    fetches,
                    timeout=limit if len(slow) < len(fetches) else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    for fetch in fetches.keys() - slow:
                        slow.add(fetch)
                        self._put_last(fetches[fetch])
                for fetch in done:
                    copy = fetches.pop(fetch)
                    slow.discard(fetch)
                    records = self._result(fetch, copy)
                    if records is not None and copy.number not in {c.number for c in got}:
                        got[copy] = records
            return dict(list(got.items())[:needed])
        finally:
            for fetch in fetches:
                fetch.cancel()
            await asyncio.gather(*fetches, return_exceptions=True)

    def _next_copy(self, busy: set[int], tried: set[int]) -> ShareCopy | None:
        return next((c for c in self._copies if c.number not in busy and id(c) not in tried), None)

    def _put_last(self, copy: ShareCopy) -> None:
        """Use a slow copy only where there is no other, from now on."""
        if copy in self._copies:
            self._copies.remove(copy)
            self._copies.append(copy)

    async def _records(self, copy: ShareCopy, segments: range) -> list[memoryview]:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await copy.records(self._index, self._proof, segments, self._workers)
        except TimeoutError:
            raise ServerError("hung") from None

    def _result(self, fetch: _Fetch, copy: ShareCopy) -> list[memoryview] | None:
        try:
            return fetch.result()
        except (IntegrityError, ServerError, StorageRefusalError) as error:
            if copy in self._copies:
                self._copies.remove(copy)
            self._on_failed(copy, error)
            return None

    def _too_few(self, got: int) -> NotEnoughSharesError:
        found = max(got, len({copy.number for copy in self._copies}))
        needed = self._plan.shares_needed
        kind = NoSharesError if found == 0 else NotEnoughSharesError
        return kind(f"the file needs {needed} shares, {found} usable", found=found, needed=needed)
