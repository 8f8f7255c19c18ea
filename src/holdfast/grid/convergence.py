"""The key of a file by convergence: the same file, secret and encoding give the same key.

Source: docs/spec/hashing.md, section 5.1.
"""

from __future__ import annotations

from holdfast.crypto.hashing import TaggedHasher
from holdfast.crypto.immutable_hashes import convergence_tag
from holdfast.formats.segmentation import Segmentation
from holdfast.grid.progress import Progress, ProgressCallback
from holdfast.grid.sources import Plaintext
from holdfast.grid.workers import Workers

STEP = 8 << 20  # bytes between two reports of progress
PIECE = 256 << 10  # bytes read at once: they stay in the processor's cache until they are hashed
KEY_SIZE = 16


async def convergent_key_of(
    source: Plaintext,
    plan: Segmentation,
    secret: bytes,
    workers: Workers,
    progress: ProgressCallback,
) -> bytes:
    """Read the whole source and return its key, 16 bytes. Raises InputError and SourceChangedError."""
    tag = convergence_tag(plan.shares_needed, plan.shares_total, plan.segment_size, secret)
    hasher = TaggedHasher(tag, KEY_SIZE)
    buffer = memoryview(bytearray(min(PIECE, plan.size)))

    def step(offset: int) -> int:
        end = min(offset + STEP, plan.size)
        for start in range(offset, end, PIECE):
            piece = buffer[: min(PIECE, end - start)]
            source.read_into(start, piece)
            hasher.update(piece)
        return end - offset

    offset = 0
    while offset < plan.size:
        offset += await workers.run(min(STEP, plan.size), step, offset)
        progress(Progress("hashing", offset, plan.size))
    return hasher.digest()
