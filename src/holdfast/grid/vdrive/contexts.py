"""Contexts fetched and proven; what all parts of a client have in common.

Source: docs/spec/vdrive.md, section 8.5.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from holdfast.formats.vdrive.witness import BadWitnessError
from holdfast.grid.vdrive.guard import HeadGuard, VersionBound
from holdfast.grid.vdrive.memory import KnownHead, VdriveMemory
from holdfast.grid.vdrive.patience import LookingServer
from holdfast.grid.vdrive.proofs import ProvenContext, prove_context
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.grid.vdrive.state import DirectoryState, DirectoryStates
from holdfast.interfaces.vdrive import Context, VirtualDriveServer

AT_ONCE_MAX = 12  # slots that are handled without a thread


@dataclass(frozen=True, slots=True)
class VdriveCore:
    """What all directories and changes of a client share."""

    servers: ServerSource
    memory: VdriveMemory
    settings: VdriveSettings
    guard: HeadGuard
    states: DirectoryStates = field(default_factory=DirectoryStates)
    clock: Callable[[], float] = time.time

    def server(self, state: DirectoryState) -> VirtualDriveServer:
        return self.servers.server(state.place)


async def fetch_context(
    core: VdriveCore,
    server: LookingServer,
    state: DirectoryState,
    verify_key: bytes,
    slots: Collection[bytes],
    *,
    writing: bool = False,
    bound: VersionBound | None = None,
) -> ProvenContext:
    """Return what the server says of some slots, once it is proven.

    Raises: as ``prove``, and what ``VirtualDriveServer.context`` raises.
    """
    asked = core.memory.known(state.index)
    if len(slots) == 1:
        (slot,) = slots
        answer = await server.child(state.index, slot)
    else:
        answer = await server.context(state.index, list(slots))
    return await prove(core, server, state, verify_key, answer, slots, asked, writing=writing, bound=bound)


async def prove(
    core: VdriveCore,
    server: LookingServer,
    state: DirectoryState,
    verify_key: bytes,
    answer: Context,
    slots: Collection[bytes],
    asked: KnownHead | None,
    *,
    writing: bool = False,
    bound: VersionBound | None = None,
) -> ProvenContext:
    """Return a server's answer about some slots, once it is proven, and keep it.

    Raises:
        ServerMisbehavedError: it proves nothing.
        RollbackDetectedError, ForkDetectedError: what they say.
    """
    guard = core.guard
    if answer.index != state.index:
        guard.misbehaved(state, "it is about another directory")
    head = guard.verify(state, answer.head, verify_key)
    head = await guard.observe(server, state, head, asked, writing=writing, bound=bound)
    try:
        if len(slots) <= AT_ONCE_MAX:
            proven = prove_context(head, answer.tree, answer.entries, slots)
        else:
            proven = await asyncio.to_thread(prove_context, head, answer.tree, answer.entries, slots)
    except BadWitnessError as error:
        guard.misbehaved(state, str(error), answer.head, answer.tree, *answer.entries)
    cached = state.context
    if cached is None or cached.head.version <= head.version:
        core.states.cache(state, proven)
    return proven
