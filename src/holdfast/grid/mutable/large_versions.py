"""Versions too large to hold all their shares: encoded once for their hashes, and again for each share while
it is sent. Memory: a batch of segments for each server, and the hashes.

Source: docs/spec/mutable.md, sections 3 and 12.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from holdfast.formats.mutable_encoding import BlockLeaves, EncodedSegments, VersionTrees, encode_segments
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_one_share import records_of_share
from holdfast.formats.mutable_segmentation import SALT_SIZE, MutableSegmentation
from holdfast.formats.mutable_share import SignedVersion
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.mutable.publisher import StreamOf
from holdfast.grid.sources import Plaintext
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage import StreamedWrite
from holdfast.interfaces.types import Buffer

SEGMENTS_AT_ONCE = 4


class LargeVersion:
    """One MDMF version of a plaintext that stays as it is."""

    def __init__(
        self,
        plaintext: Plaintext,
        plan: MutableSegmentation,
        keys: FileKeys,
        workers: Workers,
        memory: MemoryBudget,
        salts: Sequence[bytes] | None = None,
    ) -> None:
        """``salts``: one per segment, to make shares again; None for new ones."""
        self._plaintext = plaintext
        self._plan = plan
        self._keys = keys
        self._workers = workers
        self._memory = memory
        self._salts = salts or [secrets.token_bytes(SALT_SIZE) for _ in range(plan.segment_count)]

    async def trees(self) -> VersionTrees:
        """Encode everything once, for its hashes.

        Raises:
            SourceChangedError, InputError: the source cannot be read, or changed meanwhile.
        """
        leaves = BlockLeaves(self._plan)
        for segments in self._batches():
            size = self._plan.segment_size * len(segments)
            async with self._memory.hold(size + size * self._plan.shares_total // self._plan.shares_needed):
                leaves.add(await self._workers.run(size, self._encode, segments))
        self._plaintext.check_unchanged()
        return await self._workers.run(self._plan.size, leaves.trees)

    def stream_of(self, signed: SignedVersion, passed: Callable[[int], None]) -> StreamOf:
        """Return what gives the writes of a share; its records are made as they are sent.

        ``passed`` is told of their bytes.
        """
        data = signed.offsets.data

        def writes(number: int) -> list[StreamedWrite]:
            front, back = signed.front(number), signed.back(number)
            return [
                StreamedWrite(0, len(front), lambda: _whole(front)),
                StreamedWrite(data.begin, data.size, lambda: self._records(number, passed)),
                StreamedWrite(data.end, len(back), lambda: _whole(back)),
            ]

        return writes

    async def _records(self, number: int, passed: Callable[[int], None]) -> AsyncIterator[Buffer]:
        for segments in self._batches():
            size = self._plan.segment_size * len(segments)
            async with self._memory.hold(3 * size):
                records = await self._workers.run(size, self._records_of, number, segments)
            yield records
            passed(len(records))

    def _batches(self) -> list[range]:
        count = self._plan.segment_count
        return [range(i, min(i + SEGMENTS_AT_ONCE, count)) for i in range(0, count, SEGMENTS_AT_ONCE)]

    def _read(self, segments: range) -> list[bytearray]:
        plaintexts = []
        for segment in segments:
            plaintext = bytearray(self._plan.segment_length(segment))
            self._plaintext.read_into(segment * self._plan.segment_size, memoryview(plaintext))
            plaintexts.append(plaintext)
        return plaintexts

    def _encode(self, segments: range) -> EncodedSegments:
        salts = self._salts[segments.start : segments.stop]
        return encode_segments(self._plan, self._keys.read_key, segments[0], self._read(segments), salts)

    def _records_of(self, number: int, segments: range) -> bytearray:
        salts = self._salts[segments.start : segments.stop]
        plaintexts = self._read(segments)
        return records_of_share(self._plan, self._keys.read_key, number, segments[0], plaintexts, salts)


async def _whole(data: bytes) -> AsyncIterator[Buffer]:
    yield data
