"""Writing one share to a server: structured parts become byte ranges of the share
file, gathered so that small shares take one request and large ones few.

Source: docs/spec/seed-map.md, section D; docs/spec/immutable.md, section 9.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.crypto.merkle import JoinedHashes
from holdfast.errors import ServerError
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_hash_chain import pack_chain
from holdfast.formats.share_layout import ShareLayout
from holdfast.interfaces.storage import ByteRange, StorageService
from holdfast.interfaces.storage_errors import NoSuchShareError
from holdfast.interfaces.types import MAX_HASH_LIST, MAX_UEB, Buffer, Hash, StorageIndex, check_hash

KEEP_MAX = 64 * 1024  # bytes of blocks copied to be sent with what follows; more goes at once
HOLD_MAX = 1 << 20  # bytes held back at most before they are sent


class BucketClosedError(ServerError):
    """The share is complete or given up; nothing more can be written to it."""


class RemoteBucketWriter:
    """Implements ``interfaces.storage.BucketWriter`` over any storage service.

    Parts may come in any order; those that follow one another in the share file travel together.
    """

    def __init__(
        self,
        service: StorageService,
        index: StorageIndex,
        number: int,
        upload_secret: bytes,
        segmentation: Segmentation,
        layout: ShareLayout,
    ) -> None:
        self._service = service
        self._index = index
        self._number = number
        self._secret = upload_secret
        self._segmentation = segmentation
        self._layout = layout
        self._held: list[Buffer] = [layout.header()]
        self._held_at = 0
        self._held_size = len(self._held[0])
        self._missing: list[ByteRange] | None = None  # as the server last said
        self._sent: list[ByteRange] = []  # by this writer
        self._closed = False
        self._zeros_due = True  # nobody has put the unused tree yet

    async def put_block(self, segmentnum: int, data: Buffer) -> None:
        await self.put_blocks(segmentnum, [data])

    async def put_blocks(self, first_segment: int, blocks: Sequence[Buffer]) -> None:
        plan = self._segmentation
        for segment, block in enumerate(blocks, first_segment):
            if not 0 <= segment < plan.segment_count:
                raise ValueError(f"segment {segment} does not exist; there are {plan.segment_count}")
            if len(block) != plan.block_length(segment):
                raise ValueError(f"the block of segment {segment} has {plan.block_length(segment)} bytes")
        await self._put(self._layout.data + plan.block_offset(first_segment), blocks)

    async def put_plaintext_hashes(self, hashes: Sequence[Hash]) -> None:
        tree = self._tree(hashes)
        self._zeros_due = False
        await self._put(self._layout.plaintext_hashes, [tree])

    async def put_crypttext_hashes(self, hashes: Sequence[Hash]) -> None:
        tree = self._tree(hashes)
        if self._zeros_due:
            await self._put(self._layout.plaintext_hashes, _zeros(len(tree)))
            self._zeros_due = False
        await self._put(self._layout.crypttext_hashes, [tree])

    async def put_block_hashes(self, blockhashes: Sequence[Hash]) -> None:
        await self._put(self._layout.block_hashes, [self._tree(blockhashes)])

    async def put_share_hashes(self, sharehashes: Sequence[tuple[int, Hash]]) -> None:
        _check_list(sharehashes)
        await self._put(self._layout.share_hashes, [pack_chain(sharehashes)])

    async def put_uri_extension(self, data: bytes) -> None:
        if len(data) > MAX_UEB:
            raise ValueError(f"a URI extension block has at most {MAX_UEB} bytes, not {len(data)}")
        length = len(data).to_bytes(self._layout.field_size, "big")
        await self._put(self._layout.extension, [length + data])

    async def close(self) -> None:
        """Send what is held back, and see that the share is complete.

        Raises:
            ServerError: parts are missing; the share does not count.
        """
        await self._flush()
        self._closed = True
        if self._missing:
            raise ServerError("the server says that parts of the share are missing")

    async def abort(self) -> None:
        """Give the share up: the server forgets what it has of it."""
        self._closed = True
        self._held.clear()
        await self._service.abort(self._index, self._number, self._secret)

    def _tree(self, hashes: Sequence[Hash]) -> bytes:
        """Return a whole tree as stored, once its size is seen to be right."""
        _check_list(hashes)
        data = hashes.joined if isinstance(hashes, JoinedHashes) else b"".join(map(check_hash, hashes))
        expected = self._layout.crypttext_hashes - self._layout.plaintext_hashes
        if len(data) != expected:
            raise ValueError(f"the tree has {expected // 32} nodes, not {len(hashes)}")
        return data

    async def _put(self, offset: int, pieces: Sequence[Buffer]) -> None:
        if self._closed:
            raise BucketClosedError(f"share {self._number} is closed")
        size = sum(map(len, pieces))
        if offset != self._held_at + self._held_size:
            await self._flush()
            self._held_at = offset
        if size <= KEEP_MAX:
            self._held += [bytes(piece) for piece in pieces]
            self._held_size += size
            if self._held_size > HOLD_MAX:
                await self._flush()
            return
        self._held += pieces
        self._held_size += size
        await self._flush()

    async def _flush(self) -> None:
        pieces, offset, size = self._held, self._held_at, self._held_size
        self._held, self._held_at, self._held_size = [], offset + size, 0
        if not size or self._present(offset, size):
            return
        try:
            missing = await self._service.write(
                self._index, self._number, self._secret, offset, pieces, size, self._layout.share_length
            )
        except NoSuchShareError:
            # A repeated request whose first copy completed the share finds no upload (section 14.4).
            if self._number not in await self._service.list_immutable(self._index):
                raise
            missing = []
        self._missing = list(missing)
        if self._sent and self._sent[-1].end == offset:
            offset = self._sent.pop().begin
        self._sent.append(ByteRange(offset, self._held_at))

    def _present(self, offset: int, size: int) -> bool:
        """True if the server has all of these bytes from an earlier attempt."""
        if self._missing is None:
            return False
        return all(r.end <= offset or r.begin >= offset + size for r in (*self._missing, *self._sent))


_ZEROS = memoryview(bytes(1 << 16))


def _zeros(size: int) -> Sequence[Buffer]:
    """Return ``size`` zero bytes in pieces, all of one small block of memory."""
    whole, rest = divmod(size, len(_ZEROS))
    return [_ZEROS] * whole + ([_ZEROS[:rest]] if rest else [])


def _check_list(hashes: Sequence[object]) -> None:
    if len(hashes) > MAX_HASH_LIST:
        raise ValueError(f"a list of hashes has at most {MAX_HASH_LIST} elements")
