"""The capability a file would get, found without any grid."""

from __future__ import annotations

import secrets

from holdfast.caps import ImmutableReadCap, LiteralCap
from holdfast.formats.segmentation import Segmentation
from holdfast.grid.convergence import convergent_key_of
from holdfast.grid.encoder import FileEncoder
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import open_source
from holdfast.grid.uploader import LITERAL_SIZE_MAX
from holdfast.grid.workers import Workers
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable


async def capability_of(
    source: Uploadable | AsyncUploadable,
    encoding: EncodingSettings,
    progress: ProgressCallback | None = None,
) -> str:
    """Return the capability an upload with these settings would give.

    Without a convergence secret the key is random.

    Raises:
        InputError, SourceChangedError: the source cannot be read, or changed meanwhile.
    """
    show = progress or ignore_progress
    plaintext = await open_source(source)
    try:
        if plaintext.size <= LITERAL_SIZE_MAX:
            data = bytearray(plaintext.size)
            plaintext.read_into(0, memoryview(data))
            return LiteralCap(bytes(data)).to_text()
        plan = Segmentation.plan(
            plaintext.size, encoding.shares_needed, encoding.shares_total, encoding.segment_size_max
        )
        with Workers(1) as workers:
            key = secrets.token_bytes(16)
            if encoding.convergence_secret is not None:
                key = await convergent_key_of(plaintext, plan, encoding.convergence_secret, workers, show)
            encoder = FileEncoder(
                plan,
                key,
                workers,
                MemoryBudget(128 << 20),
                on_lost=lambda number, error: None,
                can_spare=lambda number: True,
                on_progress=lambda done: show(Progress("uploading", done, plan.size)),
            )
            encoder.setup(plaintext)
            encoder.set_shareholders({})
            ueb_hash = await encoder.start()
        return ImmutableReadCap(
            key, bytes(ueb_hash), plan.shares_needed, plan.shares_total, plan.size
        ).to_text()
    finally:
        await plaintext.close()
