"""Does a finished share make sense? What a server can tell without a key, before it calls an upload complete.

Bytes that do not begin as a share of layout version 1 or 2 are none of its business, and pass.

Source: docs/spec/seed-map.md, S-046; docs/spec/immutable.md, sections 8, 9 and 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holdfast.crypto.hashing import HASH_SIZE, TaggedHasher
from holdfast.crypto.immutable_hashes import BLOCK_TAG
from holdfast.crypto.kernel import hash_many, hash_parents
from holdfast.crypto.merkle import EMPTY_LEAF_TAG, PartialTree, padded_leaf_count
from holdfast.errors import CorruptShareError, IntegrityError
from holdfast.formats.extension_block import (
    EXTENSION_SIZE_READ_MAX,
    ExtensionBlock,
    check_redundant,
    is_usual,
    stated_segmentation,
)
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_hash_chain import CHAIN_ENTRY_SIZE, parse_chain
from holdfast.formats.share_layout import HEADER_SIZE_MAX, ParsedHeader, parse_header

_VERSIONS = (1, 2)
_PIECE = 1 << 20  # bytes of blocks in memory at once
_NODES_AT_ONCE = 1 << 12  # of a tree; even

Read = Callable[[int, int], bytes]
"""Returns the bytes of a share at (offset, length); fewer only at its end."""


def check_layout(read: Read, length: int, *, deep: bool = False) -> None:
    """Check that the parts of a share lie within it, and that its extension block parses.

    Memory is bounded, whatever the share says of itself.

    Args:
        read: gives the bytes of the share.
        length: of the share, in bytes.
        deep: also prove that blocks and block hash tree, both trees, the share hash chain and the extension
            block fit each other. That reads the share once. Which number the share has is not known here.

    Raises:
        CorruptShareError: they do not; the message says which.
    """
    start = read(0, min(length, HEADER_SIZE_MAX))
    if len(start) < 4 or int.from_bytes(start[:4], "big") not in _VERSIONS:
        return
    header = parse_header(start)
    _check_places(header, length)
    try:
        data = _extension_block(read, header, length)
        if not deep and is_usual(data):
            return
        block = ExtensionBlock.from_bytes(data)
        if deep:
            plan = stated_segmentation(block)
            check_redundant(block, plan)
            _check_contents(read, header, block, plan)
    except CorruptShareError:
        raise
    except (IntegrityError, ValueError) as error:
        raise CorruptShareError(f"the share contradicts itself: {error}") from error


def _check_places(header: ParsedHeader, length: int) -> None:
    places = [
        header.header_size,
        header.data,
        header.plaintext_hashes,
        header.crypttext_hashes,
        header.block_hashes,
        header.share_hashes,
        header.extension,
        length - header.field_size,
    ]
    if places != sorted(places):
        raise CorruptShareError("the parts of the share do not lie within it, one behind the other")
    if any((header.share_hashes - place) % HASH_SIZE for place in places[2:5]):
        raise CorruptShareError("a hash tree of the share is ragged")


def _extension_block(read: Read, header: ParsedHeader, length: int) -> bytes:
    begin = header.extension + header.field_size
    size = int.from_bytes(read(header.extension, header.field_size), "big")
    if size > EXTENSION_SIZE_READ_MAX or size > length - begin:
        raise CorruptShareError("the share's extension block is cut short, or too long")
    return read(begin, size)


def _check_contents(read: Read, header: ParsedHeader, block: ExtensionBlock, plan: Segmentation) -> None:
    if header.plaintext_hashes - header.data < plan.data_size:
        raise CorruptShareError("the share has not room for its blocks")
    nodes = 2 * padded_leaf_count(plan.segment_count) - 1
    for begin, end in (
        (header.crypttext_hashes, header.block_hashes),
        (header.block_hashes, header.share_hashes),
    ):
        if end - begin != HASH_SIZE * nodes:
            raise CorruptShareError(f"a hash tree of the share has not {nodes} nodes")
    if read(header.crypttext_hashes, HASH_SIZE) != block.crypttext_root_hash:
        raise CorruptShareError("the root of the crypttext hash tree is not that of the extension block")
    block_root = read(header.block_hashes, HASH_SIZE)
    _check_chain(read, header, block.share_root_hash, block_root, plan.shares_total)
    _check_interior(read, header.crypttext_hashes, plan.segment_count)
    _check_interior(read, header.block_hashes, plan.segment_count)
    place = header.block_hashes + HASH_SIZE * (nodes // 2)
    for hashes in _leaves(read, header.data, plan):
        if read(place, len(hashes)) != hashes:
            raise CorruptShareError("the blocks of the share are not those of its block hash tree")
        place += len(hashes)


def _check_chain(
    read: Read, header: ParsedHeader, share_root: bytes, block_root: bytes, shares_total: int
) -> None:
    size = header.extension - header.share_hashes
    if size > CHAIN_ENTRY_SIZE * (2 * padded_leaf_count(shares_total) - 1):
        raise CorruptShareError("the share hash chain has more entries than its tree has nodes")
    tree = PartialTree(shares_total)
    tree.set_root(share_root)
    tree.offer(parse_chain(read(header.share_hashes, size), shares_total))
    if block_root not in (tree.leaf(number) for number in range(shares_total)):
        raise CorruptShareError("the block hash tree does not belong to the share hash chain")


def _check_interior(read: Read, offset: int, leaf_count: int) -> None:
    """Check that every node of the stored tree follows from the two below it."""
    count = padded_leaf_count(leaf_count)
    while count > 1:
        for index in range(count - 1, 2 * count - 1, _NODES_AT_ONCE):
            nodes = min(_NODES_AT_ONCE, 2 * count - 1 - index)
            parents = hash_parents(read(offset + HASH_SIZE * index, HASH_SIZE * nodes))
            if read(offset + HASH_SIZE * ((index - 1) // 2), len(parents)) != parents:
                raise CorruptShareError("a hash tree of the share contradicts itself")
        count //= 2


def _leaves(read: Read, offset: int, plan: Segmentation) -> Iterator[bytes]:
    """Yield what the leaves of the block hash tree have to be, some at a time, concatenated."""
    at_once = max(1, min(_NODES_AT_ONCE, _PIECE // plan.block_size))
    for first in range(0, plan.segment_count, at_once):
        segments = range(first, min(first + at_once, plan.segment_count))
        if at_once == 1:
            yield _long_block_hash(read, offset + plan.block_offset(first), plan.block_length(first))
        else:
            size = sum(map(plan.block_length, segments))
            data = memoryview(read(offset + plan.block_offset(first), size))
            starts = range(0, size, plan.block_size)
            yield b"".join(hash_many(BLOCK_TAG, [data[i : i + plan.block_size] for i in starts]))
    for first in range(plan.segment_count, padded_leaf_count(plan.segment_count), _NODES_AT_ONCE):
        numbers = range(first, min(first + _NODES_AT_ONCE, padded_leaf_count(plan.segment_count)))
        yield b"".join(hash_many(EMPTY_LEAF_TAG, [b"%d" % number for number in numbers]))


def _long_block_hash(read: Read, offset: int, length: int) -> bytes:
    hasher = TaggedHasher(BLOCK_TAG)
    for start in range(0, length, _PIECE):
        hasher.update(read(offset + start, min(_PIECE, length - start)))
    return hasher.digest()
