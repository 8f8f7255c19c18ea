"""Makes the changes that are combined, heals what stands in their way, and tells them apart when they fail.

Source: docs/spec/vdrive.md, sections 9.1 and 14.7.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.caps.vdrive import VdrivePlace
from holdfast.errors import CapabilityError, HoldfastError, InputError
from holdfast.grid.vdrive.batch import Batch
from holdfast.grid.vdrive.change_queue import Change
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.healing import Healing
from holdfast.grid.vdrive.patience import UndecidedError
from holdfast.interfaces.vdrive_errors import RollbackDetectedError, VdriveRefusalError

SOMEBODYS_FAULT = (VdriveRefusalError, InputError, CapabilityError)


class ChangeWriter:
    """Makes batches of changes at one service."""

    def __init__(self, core: VdriveCore, place: VdrivePlace, healing: Healing) -> None:
        self._core = core
        self._place = place
        self._healing = healing

    async def run(self, batch: Sequence[Change]) -> None:
        """Make changes in one commit, and give each of them its result.

        What cannot be done as a whole is tried again in halves: a change has nothing to do with what is wrong
        with another one.
        """
        try:
            await self._make(batch)
        except UndecidedError:
            pass  # whoever waited for it has given up; the journal knows
        except HoldfastError as error:
            live = [change for change in batch if change.wanted]
            if len(live) < 2 or not isinstance(error, SOMEBODYS_FAULT):
                for change in live:
                    change.fail(error)
                return
            middle = len(live) // 2
            await self.run(live[:middle])
            await self.run(live[middle:])

    async def _make(self, changes: Sequence[Change]) -> None:
        batch = Batch(self._core, self._place, changes)
        try:
            await batch.make()
        except RollbackDetectedError:
            if not self._core.settings.auto_heal or not await self._healed(changes):
                raise
            await batch.make()

    async def _healed(self, changes: Sequence[Change]) -> bool:
        """Give the server back what it has lost of the directories; return whether that was all."""
        parts = {part.state.index: part for change in changes for part in change.parts}
        for part in parts.values():
            if not (await self._healing.replay(part.state, part.keys.verify_key, part.keys)).complete:
                return False
        return True
