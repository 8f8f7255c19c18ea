"""Canaries: an uploader holds a stream open; when it breaks, its unfinished shares go.

Source: docs/spec/seed-map.md, S-061 and S-062.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator

from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.upload_ends import UploadEnds

BEAT = b"."

_Owner = tuple[StorageIndex, bytes]  # with a hash of the upload secret


class Canaries:
    """The open streams, and those that broke and may come back. Used on the event loop."""

    def __init__(self, parts: StorageParts, ends: UploadEnds) -> None:
        self._parts = parts
        self._ends = ends
        self._alive: dict[_Owner, int] = {}
        self._deadlines: dict[_Owner, float] = {}

    async def stream(self, index: StorageIndex, upload_secret: bytes) -> AsyncGenerator[bytes, None]:
        """Yield a byte at once, then one every ``canary_beat_s`` seconds, as long as the uploader listens.

        When the iterator is closed, the uploads of ``index`` under this secret that are still unfinished
        after the time of grace are dropped, unless another stream for them has been opened.
        """
        owner = (index, _hash(upload_secret))
        self._alive[owner] = self._alive.get(owner, 0) + 1
        self._deadlines.pop(owner, None)
        try:
            while True:
                yield BEAT
                await asyncio.sleep(self._parts.settings.canary_beat_s)
        finally:
            self._alive[owner] -= 1
            if self._alive[owner] == 0:
                del self._alive[owner]
                self._deadlines[owner] = self._parts.clock() + self._parts.settings.canary_grace_s

    async def give_up_orphans(self) -> None:
        """Drop the uploads of those whose stream broke too long ago."""
        now = self._parts.clock()
        for owner in [owner for owner, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[owner]
            index, secret_hash = owner
            for upload in self._parts.uploads.of(index).values():
                if _hash(upload.secret) == secret_hash and upload.completing is None:
                    await self._ends.give_up(upload)


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
