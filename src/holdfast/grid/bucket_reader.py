"""Reading one share from a server, part by part, with as few requests as can be:
the layout is guessed from the capability, and what a guess brought is used as far
as it matches the real header.

Nothing that is returned here is verified.

Source: docs/spec/seed-map.md, section E; docs/spec/immutable.md, section 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from holdfast.errors import CorruptShareError
from holdfast.formats.segmentation import SHARES_MAX, Segmentation
from holdfast.formats.share_hash_chain import CHAIN_ENTRY_SIZE, parse_chain
from holdfast.formats.share_layout import HEADER_SIZE_MAX, ParsedHeader, ShareLayout, parse_header
from holdfast.grid.structured import first_error
from holdfast.interfaces.storage import StorageService
from holdfast.interfaces.types import HASH_SIZE, MAX_HASH_LIST, MAX_UEB_READ, Hash, StorageIndex

WHOLE_MAX = 256 * 1024  # bytes; a share of at most this is read in one request
TAIL_MAX = 160 * 1024  # bytes of hashes behind the blocks that are asked for together with the header
SLACK = 64  # bytes asked for beyond the guessed end, so that a longer block of integrity data fits
NODE_GAP_MAX = 64  # nodes; a gap of at most this between wanted nodes is read over


class RemoteBucketReader:
    """Implements ``interfaces.storage.BucketReader`` over any storage service.

    Its methods raise CorruptShareError for a share that is cut short or nonsense in its layout,
    IncompatibleShareError for one of another version, and what the service raises.
    """

    def __init__(
        self,
        service: StorageService,
        index: StorageIndex,
        number: int,
        shares_total: int = SHARES_MAX,
        guess: ShareLayout | None = None,
        whole: bytes | None = None,
    ) -> None:
        """
        Args:
            guess: where the parts of the share probably are.
            whole: all of the share, if it is here already; then nothing is asked of the server.
        """
        self._service = service
        self._index = index
        self._number = number
        self._shares_total = shares_total
        self._guess = guess
        self._segmentation: Segmentation | None = None
        self._is_here = whole is not None
        self._spans: list[tuple[int, bytes]] = [] if whole is None else [(0, whole)]
        self._header: ParsedHeader | None = None
        self._opening = asyncio.Lock()

    def set_segmentation(self, segmentation: Segmentation) -> None:
        self._segmentation = segmentation

    async def get_block(self, blocknum: int) -> bytes:
        plan = self._plan()
        if not 0 <= blocknum < plan.segment_count:
            raise IndexError(f"block {blocknum} does not exist; there are {plan.segment_count}")
        out = bytearray(plan.block_length(blocknum))
        await self.get_blocks(blocknum, 1, memoryview(out))
        return bytes(out)

    async def get_blocks(self, first_block: int, count: int, out: memoryview) -> None:
        offset = (await self.header()).data + self._plan().block_offset(first_block)
        known = self._known(offset, len(out))
        if known is not None:
            out[:] = known
            return
        count = 0
        if not self._is_here:
            count = await self._service.read_immutable_into(self._index, self._number, offset, out)
        if count != len(out):
            raise CorruptShareError(f"corruption in share[{offset}-{offset + len(out)}): cut short")

    async def get_plaintext_hashes(self) -> list[Hash]:
        """Return an empty list: files that carry a plaintext tree are not written today."""
        return []

    async def get_crypttext_hashes(self, needed: set[int] | None = None) -> list[Hash]:
        """Return the named nodes in ascending order of their index, or the whole tree."""
        header = await self.header()
        return await self._nodes(header.crypttext_hashes, header.block_hashes, needed)

    async def get_block_hashes(self, needed: set[int] | None = None) -> list[Hash]:
        """Return the named nodes in ascending order of their index, or the whole tree."""
        header = await self.header()
        return await self._nodes(header.block_hashes, header.share_hashes, needed)

    async def get_share_hashes(self) -> list[tuple[int, Hash]]:
        header = await self.header()
        size = header.extension - header.share_hashes
        if size > CHAIN_ENTRY_SIZE * (2 * 512 - 1):
            raise CorruptShareError(
                f"corruption in share[{header.share_hashes}-{header.extension}): the chain is too long"
            )
        chain = parse_chain(await self._bytes(header.share_hashes, size), self._shares_total)
        return [(node, Hash(value)) for node, value in chain.items()]

    async def get_uri_extension(self) -> bytes:
        header = await self.header()
        field = await self._bytes(header.extension, header.field_size)
        length = int.from_bytes(field, "big")
        if length > MAX_UEB_READ:
            raise CorruptShareError(
                f"corruption in share[{header.extension}-{header.extension + 4}): absurd length"
            )
        return await self._bytes(header.extension + header.field_size, length)

    async def header(self) -> ParsedHeader:
        """Return the layout the share itself states, fetching what is likely to be needed with it."""
        async with self._opening:
            if self._header is None:
                if not self._is_here:
                    await self._prefetch()
                start = self._known_from(0)
                self._header = parse_header(start[:HEADER_SIZE_MAX])
        return self._header

    # -- bytes of the share

    async def _prefetch(self) -> None:
        guess = self._guess
        if guess is not None and guess.share_length <= WHOLE_MAX:
            await self._fetch(0, guess.share_length + SLACK)
            return
        reads = [self._fetch(0, HEADER_SIZE_MAX)]
        if guess is not None:
            end = guess.share_length + SLACK
            whole_tail = end - guess.crypttext_hashes <= TAIL_MAX
            start = guess.crypttext_hashes if whole_tail else guess.share_hashes
            reads.append(self._fetch(start, end - start))
        with first_error():
            async with asyncio.TaskGroup() as group:
                for read in reads:
                    group.create_task(read)

    async def _fetch(self, offset: int, length: int) -> None:
        data = await self._service.read_immutable(self._index, self._number, offset, length)
        self._spans.append((offset, data))

    def _known_from(self, offset: int) -> bytes:
        return next((data for start, data in self._spans if start == offset), b"")

    def _known(self, offset: int, length: int) -> memoryview | None:
        for start, data in self._spans:
            if start <= offset and offset + length <= start + len(data):
                return memoryview(data)[offset - start : offset - start + length]
        return None

    async def _bytes(self, offset: int, length: int) -> bytes:
        known = self._known(offset, length)
        if known is not None:
            return bytes(known)
        data = b""
        if not self._is_here:
            data = await self._service.read_immutable(self._index, self._number, offset, length)
        if len(data) != length:
            raise CorruptShareError(f"corruption in share[{offset}-{offset + length}): cut short")
        return data

    async def _nodes(self, start: int, end: int, needed: set[int] | None) -> list[Hash]:
        count = (end - start) // HASH_SIZE
        wanted = range(count) if needed is None else sorted(needed)
        if not wanted:
            return []
        if count > 2 * MAX_HASH_LIST and needed is None:
            raise CorruptShareError(f"corruption in share[{start}-{end}): the tree is too large")
        if wanted[-1] >= count:
            raise CorruptShareError(f"corruption in share[{start}-{end}): the tree is too small")
        nodes: dict[int, Hash] = {}
        for first, last in _runs(wanted):
            data = await self._bytes(start + first * HASH_SIZE, (last - first + 1) * HASH_SIZE)
            for i in range(first, last + 1):
                at = (i - first) * HASH_SIZE
                nodes[i] = Hash(data[at : at + HASH_SIZE])
        return [nodes[i] for i in wanted]

    def _plan(self) -> Segmentation:
        if self._segmentation is None:
            raise RuntimeError("set_segmentation comes before the first block")
        return self._segmentation


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Join sorted indexes into (first, last) runs, reading over small gaps."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and index - runs[-1][1] <= NODE_GAP_MAX:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
