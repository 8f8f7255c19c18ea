"""Verifies one share: every byte that matters, with the verify capability alone.

Closes the gaps of the reference's verifier: the root of the block tree comes from the
share hash tree, never from the share's own copy (immutable.md, section 14).
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.crypto.immutable_hashes import BLOCK_TAG
from holdfast.crypto.kernel import hash_many
from holdfast.crypto.merkle import build_tree, leaf_index
from holdfast.errors import CorruptShareError
from holdfast.formats.extension_block import check_redundant, verified_extension_block
from holdfast.formats.segmentation import Segmentation
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.open_share import FileIdentity, FileProofs
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage import BucketReader
from holdfast.interfaces.types import Hash

BATCH_BLOCKS_MAX = 2 << 20  # bytes of blocks read at once


async def verify_share(
    number: int,
    reader: BucketReader,
    identity: FileIdentity,
    workers: Workers,
    memory: MemoryBudget,
    on_progress: Callable[[int], None],
) -> None:
    """Return if every byte of the share is the one uploaded.

    ``on_progress`` is told of bytes of blocks as they pass.

    Raises:
        CorruptShareError, IncompatibleShareError: it is not.
        BadFileError: the file's extension block is authentic but makes no sense.
        ServerError, StorageRefusalError: the server gave no answer.
    """
    data = await reader.get_uri_extension()
    block = verified_extension_block(
        data, identity.ueb_hash, identity.shares_needed, identity.shares_total, identity.size
    )
    plan = Segmentation(identity.size, identity.shares_needed, identity.shares_total, block.segment_size)
    check_redundant(block, plan)
    proofs = FileProofs(identity)
    proofs.take_extension(data)
    root = proofs.block_tree_root(number, await reader.get_share_hashes())
    reader.set_segmentation(plan)
    leaves = _checked_tree(await reader.get_block_hashes(), plan, root, "block hash tree")
    _checked_tree(await reader.get_crypttext_hashes(), plan, block.crypttext_root_hash, "crypttext hash tree")
    await _verify_blocks(reader, plan, leaves, workers, memory, on_progress)


def _checked_tree(nodes: list[Hash], plan: Segmentation, root: bytes, what: str) -> list[bytes]:
    """Return the leaves of a stored tree, all of whose nodes are shown to be right."""
    first = leaf_index(plan.segment_count, 0)
    if len(nodes) != 2 * first + 1:
        raise CorruptShareError(
            f"corruption in the {what}: {2 * first + 1} nodes expected, {len(nodes)} stored"
        )
    leaves = list(nodes[first:])
    expected = build_tree(leaves)
    if expected[0] != root or expected != list(nodes):
        raise CorruptShareError(f"corruption in the {what}: its nodes do not lead to the proven root")
    return [bytes(leaf) for leaf in leaves[: plan.segment_count]]


async def _verify_blocks(
    reader: BucketReader,
    plan: Segmentation,
    leaves: list[bytes],
    workers: Workers,
    memory: MemoryBudget,
    on_progress: Callable[[int], None],
) -> None:
    per_batch = max(1, BATCH_BLOCKS_MAX // plan.block_size)
    async with memory.hold(per_batch * plan.block_size):
        buffer = memoryview(bytearray(min(per_batch, plan.segment_count) * plan.block_size))
        for first in range(0, plan.segment_count, per_batch):
            segments = range(first, min(first + per_batch, plan.segment_count))
            start = plan.block_offset(first)
            ends = [plan.block_offset(s) - start + plan.block_length(s) for s in segments]
            view = buffer[: ends[-1]]
            await reader.get_blocks(first, len(segments), view)
            blocks = [view[plan.block_offset(s) - start : end] for s, end in zip(segments, ends, strict=True)]
            hashes = await workers.run(len(view), hash_many, BLOCK_TAG, blocks)
            for segment, seen in zip(segments, hashes, strict=True):
                if seen != leaves[segment]:
                    raise CorruptShareError(f"the block of segment {segment} is corrupt")
            on_progress(len(view))
