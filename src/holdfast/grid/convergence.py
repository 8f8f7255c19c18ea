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

PIECE = 4 << 20  # bytes
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
    buffer = bytearray(min(PIECE, plan.size))

    def step(offset: int) -> int:
        piece = memoryview(buffer)[: min(PIECE, plan.size - offset)]
        source.read_into(offset, piece)
        hasher.update(piece)
        return len(piece)

    offset = 0
    while offset < plan.size:
        offset += await workers.run(len(buffer), step, offset)
        progress(Progress("hashing", offset, plan.size))
    return hasher.digest()
