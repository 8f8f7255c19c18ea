"""A client of virtual drive servers: directories to read, changes made as a whole, leases, healing.

Source: docs/spec/vdrive.md, sections 9, 12.1 and 14.7.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveRefreshCap, VdriveVerifyCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import KEY_SIZE, lease_secret
from holdfast.errors import HoldfastError, NotCapableError
from holdfast.grid.vdrive import disowning
from holdfast.grid.vdrive.change_queue import Change, ChangePart, ChangeQueue
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.directory import ListableVdriveCap, VdriveDirectory
from holdfast.grid.vdrive.guard import HeadGuard, VersionBound
from holdfast.grid.vdrive.healing import Healing, HealReport
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.grid.vdrive.signing import KEEP
from holdfast.grid.vdrive.views import (
    ChangeResult,
    CreatePlan,
    EntriesView,
    EntryChange,
    Plan,
    PutEntry,
    VerifiedHead,
)
from holdfast.grid.vdrive.writing import ChangeWriter
from holdfast.interfaces.vdrive import DIRECTORIES_MAX, SLOTS_MAX, LeaseInfo
from holdfast.interfaces.vdrive_errors import (
    ContendedDirectoryError,
    ForkDetectedError,
    HeadConflictError,
    TurnTakenError,
    VdriveUnavailableError,
)

DEADLINE_S = 30.0
NAMES_AT_ONCE = 100  # names that are hashed without a thread
_NO_SLOT = bytes(32)  # of no name; whoever says something in a head looks at nothing

LeasedCap = VdriveWriteCap | VdriveReadCap | VdriveVerifyCap | VdriveRefreshCap
"""Whoever holds any of these can keep a directory from being collected."""


class VdriveClient:
    """Speaks to any number of servers. Close it after use, from the event loop it was used in.

    Attributes:
        memory: what was seen before.
    """

    def __init__(
        self,
        servers: ServerSource,
        memory: VdriveMemory,
        settings: VdriveSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.memory = memory
        guard = HeadGuard(memory, settings.chain_limit)
        self._core = VdriveCore(servers, memory, settings, guard, clock=clock)
        self._queues: dict[bytes, ChangeQueue] = {}
        self._healing = Healing(self._core)

    # -- directories

    def directory(
        self, cap: ListableVdriveCap, bound: VersionBound | tuple[int, bytes] | None = None
    ) -> VdriveDirectory:
        """Return a directory; nobody is asked.

        Args:
            bound: version and 16 bytes of the hash of its head, as the parent tells (7.5).
        """
        healer = self._heal_unattended if self.settings.auto_heal else None
        return VdriveDirectory(self._core, cap, None if bound is None else VersionBound(*bound), healer)

    async def change(
        self,
        parts: Sequence[tuple[VdriveDirectory, Sequence[str]]],
        plan: Plan,
        *,
        creates: Sequence[CreatePlan] = (),
        deadline_s: float = DEADLINE_S,
    ) -> ChangeResult:
        """Change directories of one server, all of them or none.

        A directory for which ``plan`` wants nothing may change between its being looked at and the commit.

        Args:
            parts: each directory once, with up to 1000 names that the plan looks at or changes.
            plan: may be called several times, since others may be faster. What it raises is raised.
            creates: directories to be made along with it, at the same server.

        Raises:
            NotCapableError: a directory is held read-only.
            ContendedDirectoryError, VdriveUnavailableError: it could not be done in time. They say whether it
                may have been done all the same.
            VdriveRefusalError: the server refuses it.
            RollbackDetectedError, ForkDetectedError, ServerMisbehavedError: the server lies.
            ValueError: directories of several servers, or too many of anything.
        """
        prepared = [await _part(directory, names) for directory, names in parts]
        if not prepared:
            raise ValueError("there is nothing to change; ``create`` makes directories alone")
        place = parts[0][0].cap.place
        _check(parts, creates, self._core.servers)
        return await self._made(place, prepared, plan, creates, deadline_s)

    async def create(
        self,
        place: VdrivePlace,
        write_key: bytes | None = None,
        entries: Sequence[PutEntry] = (),
        *,
        deadline_s: float = DEADLINE_S,
    ) -> VdriveWriteCap:
        """Make a directory with up to 1000 entries.

        Args:
            write_key: 32 bytes; the same again finds the directory made, and makes up for missing entries.

        Raises: as ``change``, and
            NotAuthorisedToCreateError: this client has no account at the server.
        """
        write_key = os.urandom(KEY_SIZE) if write_key is None else write_key
        if len(entries) > SLOTS_MAX:
            raise ValueError(f"a directory is made with at most {SLOTS_MAX} entries")
        await self._made(place, (), lambda views: [], [CreatePlan(write_key, entries)], deadline_s)
        return VdriveWriteCap(place, write_key)

    # -- heads without changes

    async def heartbeat(
        self, cap: VdriveWriteCap, interval_s: int, *, deadline_s: float = DEADLINE_S
    ) -> VerifiedHead:
        """Promise a newer head within ``interval_s`` seconds, by making one now; 0 takes the promise back."""
        directory = self.directory(cap)
        part = directory.part({_NO_SLOT: ""})
        result = await self._made(
            cap.place, [part], lambda views: [[]], (), deadline_s, heartbeat=interval_s or None
        )
        return result.heads[0]

    async def heal(self, cap: ListableVdriveCap, *, disown: bool = False) -> HealReport:
        """Give a server back what it has lost of a directory and this client has sent.

        Args:
            disown: give up what is lost for good, and make own changes among it anew. Takes the write
                capability. Only a person may ask for this.

        Raises:
            ForkDetectedError: somebody went on from what the server went back to, without knowing of what was
                lost. Then nothing comes back; ``disown`` gives it up.
        """
        directory = self.directory(cap)
        verify_key, keys = directory.read_keys.verify_key, directory.write_keys
        if disown and keys is None:
            raise NotCapableError("giving up lost history takes the write capability of the directory")
        try:
            report = await self._healing.replay(directory.state, verify_key, keys)
        except ForkDetectedError:
            if not disown:
                raise
            report = await self._healing.parted(directory.state, verify_key)
        if keys is None or not disown:
            return report

        async def change(
            names: Sequence[str], plan: Callable[[EntriesView], list[EntryChange]]
        ) -> ChangeResult:
            return await self.change([(directory, names)], lambda views: [plan(views[0])])

        give_up = disowning.complete if report.complete else disowning.disown
        return await give_up(self._core, directory, keys, report, change)

    # -- leases

    async def renew_lease(self, cap: LeasedCap, seconds: int | None = None) -> int:
        """Renew or add this client's lease; return when it ends, Unix seconds."""
        refresh = _refresh_cap(cap)
        server = self._core.servers.server(refresh.place)
        seconds = self.settings.lease_s if seconds is None else seconds
        return await server.renew_lease(refresh.refresh_id, self._lease_secret(refresh), seconds)

    async def cancel_lease(self, cap: LeasedCap) -> None:
        """Cancel this client's lease, and no other."""
        refresh = _refresh_cap(cap)
        server = self._core.servers.server(refresh.place)
        await server.cancel_lease(refresh.refresh_id, self._lease_secret(refresh))

    async def lease_info(self, cap: LeasedCap) -> LeaseInfo:
        """Return how long a directory is kept."""
        refresh = _refresh_cap(cap)
        server = self._core.servers.server(refresh.place)
        return await server.lease_info(refresh.refresh_id, self._lease_secret(refresh))

    async def close(self) -> None:
        """Stop what is under way; what was sent is in the journal. Memory and servers stay open."""
        for queue in self._queues.values():
            await queue.close()

    # -- the rest is private

    async def _made(
        self,
        place: VdrivePlace,
        parts: Sequence[ChangePart],
        plan: Plan,
        creates: Sequence[CreatePlan],
        deadline_s: float,
        heartbeat: int | None = KEEP,
    ) -> ChangeResult:
        done: asyncio.Future[ChangeResult] = asyncio.get_running_loop().create_future()
        change = Change(parts, plan, creates, done, heartbeat)
        self._queue(place).add(change)
        try:
            async with asyncio.timeout(deadline_s):
                return await done
        except TimeoutError:
            raise _too_late(change) from None

    def _queue(self, place: VdrivePlace) -> ChangeQueue:
        sid = self._core.servers.service_id(place)
        queue = self._queues.get(sid)
        if queue is None:
            queue = self._queues[sid] = ChangeQueue(ChangeWriter(self._core, place, self._healing).run)
        return queue

    async def _heal_unattended(self, directory: VdriveDirectory) -> bool:
        report = await self._healing.replay(
            directory.state, directory.read_keys.verify_key, directory.write_keys
        )
        return report.complete

    def _lease_secret(self, cap: VdriveRefreshCap) -> bytes:
        return lease_secret(self.settings.lease_seed, cap.refresh_id)


async def _part(directory: VdriveDirectory, names: Sequence[str]) -> ChangePart:
    if len(names) <= NAMES_AT_ONCE:
        slots = directory.slots(names)
    else:
        slots = await asyncio.to_thread(directory.slots, names)
    if not 0 < len(slots) <= SLOTS_MAX:
        raise ValueError(f"a change looks at 1 to {SLOTS_MAX} names of a directory")
    return directory.part(slots)


def _check(
    parts: Sequence[tuple[VdriveDirectory, Sequence[str]]],
    creates: Sequence[CreatePlan],
    servers: ServerSource,
) -> None:
    if len({directory.index for directory, _ in parts}) < len(parts):
        raise ValueError("a change names a directory twice")
    if len({servers.service_id(directory.cap.place) for directory, _ in parts}) > 1:
        raise ValueError("a change concerns directories of several servers")
    if len(parts) + len(creates) > DIRECTORIES_MAX:
        raise ValueError(f"a change concerns at most {DIRECTORIES_MAX} directories")
    if any(len(create.entries) > SLOTS_MAX for create in creates):
        raise ValueError(f"a directory is made with at most {SLOTS_MAX} entries")


def _too_late(change: Change) -> HoldfastError:
    """Return the error for a change that was not made in time."""
    ending = "; it may have been made all the same" if change.in_the_open else ""
    trouble = change.trouble
    if isinstance(trouble, HeadConflictError | TurnTakenError):
        return ContendedDirectoryError(
            f"others wrote to the directory all the time{ending}", may_be_applied=change.in_the_open
        )
    reason = "the server did not answer" if trouble is None else str(trouble)
    return VdriveUnavailableError(
        f"the change could not be made in time: {reason}{ending}", may_be_applied=change.in_the_open
    )


def _refresh_cap(cap: LeasedCap) -> VdriveRefreshCap:
    return cap if isinstance(cap, VdriveRefreshCap) else cap.refresh_cap
