"""Directories that are made in a batch of changes. Making one again that is there already does no harm.

Source: docs/spec/vdrive.md, sections 8.4 and 9.3.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto.vdrive_keys import slot_of
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.commits import NewOne, SignedCommit, new_one
from holdfast.grid.vdrive.contexts import VdriveCore, fetch_context
from holdfast.grid.vdrive.patience import LookingServer
from holdfast.grid.vdrive.signing import HeadWords, signed_change
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import CreatePlan
from holdfast.interfaces.vdrive_errors import NoSuchDirectoryError


class Creations:
    """What a batch makes, with the same bytes at every attempt."""

    def __init__(self, core: VdriveCore, server: LookingServer, place: VdrivePlace) -> None:
        self._core = core
        self._server = server
        self._place = place
        self._plans: dict[bytes, CreatePlan] = {}
        self._new: dict[bytes, NewOne] = {}

    def state(self, index: bytes) -> DirectoryState:
        return self._core.states.get(index, self._place)

    def signed(self, plan: CreatePlan, now: int) -> NewOne:
        """Return what makes a directory. ``now``: Unix seconds."""
        key = plan.write_key
        if key not in self._new:
            self._plans[key] = plan
            self._new[key] = new_one(plan, now)
        return self._new[key]

    async def settle(self, commit: SignedCommit) -> None:
        """Remember the heads of the directories that were made."""
        for new in commit.created:
            await self._core.guard.observe(self._server, self.state(new.index), new.head, None)

    async def learn(self, commit: SignedCommit) -> None:
        """See after a conflict which directories had been made before, and what they lack."""
        for new in commit.created:
            if new.change is not None:
                await self._learn_of(new)

    async def _learn_of(self, new: NewOne) -> None:
        keys, plan = new.keys, self._plans[new.keys.write_key]
        slots = [slot_of(keys.read.name_key, entry.name) for entry in plan.entries]
        state = self.state(new.index)
        try:
            context = await fetch_context(
                self._core, self._server, state, keys.verify_key, slots, writing=True
            )
        except NoSuchDirectoryError:
            return
        missing = [
            entry for slot, entry in zip(slots, plan.entries, strict=True) if slot not in context.entries
        ]
        change = None
        if missing:
            words = HeadWords(now=int(self._core.clock()))
            change = signed_change(keys, EntrySealer(keys), context, missing, words)
        self._new[keys.write_key] = replace(new, found=context.head, change=change)
