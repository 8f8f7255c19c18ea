"""How uploads end without becoming shares: aborted, idle for too long, or dropped.

Source: docs/spec/storage-protocol.md, sections 8.3 and 13.
"""

from __future__ import annotations

import logging

from holdfast.interfaces.storage_errors import NoSuchShareError, ShareCompleteError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.uploads import Upload

log = logging.getLogger(__name__)


class UploadEnds:
    """Gives up uploads, and frees their room."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts

    async def close(self) -> None:
        """Give up all uploads. No request may be running."""
        for upload in self._parts.uploads:
            await self.give_up(upload)

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        """See ``StorageService``. Raises ShareCompleteError, NoSuchShareError or WrongSecretError."""
        async with self._parts.locks.hold(index):
            try:
                upload = self._parts.uploads.find(index, number)
                upload.check_secret(upload_secret)
                await upload.settled()
            except NoSuchShareError:
                rows = await self._parts.workers.run(self._parts.catalog.shares_of, index)
                if number in rows and rows[number].kind is Kind.IMMUTABLE:
                    raise ShareCompleteError("the share is complete") from None
                raise
            await self.give_up(upload)

    async def give_up(self, upload: Upload) -> None:
        """End an upload that is not being completed, and free its room."""
        if upload.gone:
            return
        self._parts.uploads.remove(upload)
        await self._parts.workers.run(self.give_up_file, upload)

    def give_up_file(self, upload: Upload) -> None:
        upload.gone = True
        self._parts.disk.remove(self._parts.directory.waiting(upload.name))
        self._parts.admission.release(upload.size, backed=upload.backed)

    async def give_up_idle(self) -> None:
        """End every upload that has seen no write for too long."""
        oldest = self._parts.clock() - self._parts.settings.upload_idle_s
        for upload in self._parts.uploads:
            if upload.touched <= oldest and upload.completing is None and not upload.claims:
                log.info("an upload was idle for too long, and is dropped: %d bytes", upload.size)
                await self.give_up(upload)
