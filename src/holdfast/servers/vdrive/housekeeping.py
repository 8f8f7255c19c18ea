"""What is done each minute, in small steps between which others come to their turn: what is over is
deleted, and directories that nobody wants any more are collected.

Source: docs/spec/vdrive.md, sections 11.6 and 12.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from holdfast.crypto.vdrive_keys import log_name
from holdfast.servers.vdrive import collection, leases, removal, turns
from holdfast.servers.vdrive.bundles import archive
from holdfast.servers.vdrive.database import Database
from holdfast.servers.vdrive.history import Pruning
from holdfast.servers.vdrive.settings import VdriveServerSettings

log = logging.getLogger(__name__)

EVERY_S = 60.0
DIRECTORIES_STEP = 100
ROWS_STEP = 1000


class Housekeeping:
    """Of one server."""

    def __init__(
        self, database: Database, settings: VdriveServerSettings, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    async def run_for_ever(self) -> None:
        """Do everything each minute, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.run()

    async def run(self) -> None:
        """Do everything once. What fails is tried again the next time, and keeps the rest from nothing."""
        for step in (self._delete_what_is_over, self._prune_history, self._collect, self._delete_removed):
            try:
                await step()
            except Exception as error:
                log.warning("housekeeping: %s failed: %s", step.__name__.strip("_"), error)

    async def _delete_what_is_over(self) -> None:
        now = self._now()
        await self._database.write(lambda c: leases.delete_expired(c, now))
        await self._database.write(lambda c: turns.delete_expired(c, now))
        await self._database.write(lambda c: removal.give_up_staged(c, now))

    async def _prune_history(self) -> None:
        await self._repeat(Pruning(self._settings, self._now(), ROWS_STEP).step)

    async def _delete_removed(self) -> None:
        await self._repeat(lambda c: removal.delete_rows(c, ROWS_STEP))

    async def _collect(self) -> None:
        if not self._settings.expire_enabled:
            return
        now, grace_s = self._now(), self._settings.expire_grace_s
        await self._repeat(lambda c: bool(collection.condemn(c, now, DIRECTORIES_STEP)))
        while True:
            due = await self._database.read(lambda c: collection.due(c, now, grace_s, DIRECTORIES_STEP))
            deleted = [one for one in due if await self._delete(one, now)]
            if not deleted:
                return

    async def _delete(self, one: collection.Due, now: int) -> bool:
        place = self._settings.expire_archive
        if place is not None:
            await archive(self._database, self._settings, self._clock, one.index, place)
        grace_s = self._settings.expire_grace_s
        deleted = await self._database.write(lambda c: collection.delete_due(c, one, now, grace_s))
        if deleted:
            log.warning(
                "directory %s was deleted, for want of leases: %d bytes, last changed at %d",
                log_name(one.index),
                one.size,
                one.modified_at,
            )
        return deleted

    async def _repeat(self, step: Callable[[Connection], bool]) -> None:
        while await self._database.write(step):
            pass

    def _now(self) -> int:
        return int(self._clock())
