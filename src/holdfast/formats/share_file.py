"""Whole shares of a file that fits in memory, as the bytes a client stores.

Source: docs/spec/immutable.md, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.kernel import SegmentEncoder
from holdfast.crypto.merkle import build_tree
from holdfast.formats.extension_block import ExtensionBlock
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_hash_chain import chain_order, pack_chain
from holdfast.formats.share_layout import ShareLayout


def build_shares(
    key: bytes, plaintext: Buffer, segmentation: Segmentation, version: int | None = None
) -> tuple[list[bytes], bytes]:
    """Return all shares in order of their numbers, and the extension block that is in each.

    Args:
        key: 16 bytes.
        version: of the layout; None takes the one a writer has to take.

    Raises:
        ValueError: the plaintext has not the size it is planned with, or the key another length.
    """
    if len(plaintext) != segmentation.size:
        raise ValueError(f"the plaintext has {len(plaintext)} bytes, not {segmentation.size}")
    total = range(segmentation.shares_total)
    encoder = SegmentEncoder(key, segmentation.shares_needed, segmentation.shares_total)
    blocks: list[list[bytes]] = [[] for _ in total]
    block_hashes: list[list[bytes]] = [[] for _ in total]
    segment_hashes = []
    for segment in range(segmentation.segment_count):
        offset, block_size = segment * segmentation.segment_size, segmentation.block_length(segment)
        out = bytearray(segmentation.shares_total * block_size)
        source = memoryview(plaintext)[offset : offset + segmentation.segment_length(segment)]
        segment_hash, hashes = encoder.encode(source, offset, block_size, out)
        segment_hashes.append(segment_hash)
        for number in total:
            blocks[number].append(bytes(out[number * block_size : (number + 1) * block_size]))
            block_hashes[number].append(hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE])

    crypttext_tree = build_tree(segment_hashes)
    block_trees = [build_tree(leaves) for leaves in block_hashes]
    share_tree = build_tree([tree[0] for tree in block_trees])
    extension = ExtensionBlock.for_file(
        segmentation, encoder.crypttext_hash(), crypttext_tree[0], share_tree[0]
    ).to_bytes()
    layout = ShareLayout.plan(segmentation, len(extension), version=version)
    shares = [
        _assemble(layout, blocks[number], crypttext_tree, block_trees[number], chain, extension)
        for number, chain in enumerate(_chains(share_tree, segmentation.shares_total))
    ]
    return shares, extension


def _chains(share_tree: Sequence[bytes], shares_total: int) -> list[bytes]:
    orders = [chain_order(shares_total, number) for number in range(shares_total)]
    return [pack_chain([(node, share_tree[node]) for node in order]) for order in orders]


def _assemble(
    layout: ShareLayout,
    blocks: Sequence[bytes],
    crypttext_tree: Sequence[bytes],
    block_tree: Sequence[bytes],
    chain: bytes,
    extension: bytes,
) -> bytes:
    unused_tree = bytes(layout.crypttext_hashes - layout.plaintext_hashes)
    length_field = len(extension).to_bytes(layout.field_size, "big")
    return b"".join(
        [layout.header(), *blocks, unused_tree, *crypttext_tree, *block_tree, chain, length_field, extension]
    )
