"""Finds out what became of a commit that was sent and never answered, before anything else is signed.

Source: docs/spec/vdrive.md, sections 6.6 and 9.1.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from holdfast.crypto.vdrive_keys import WriteKeys, log_name
from holdfast.formats.vdrive.head import head_hash
from holdfast.grid.vdrive.chains import fetch_head
from holdfast.grid.vdrive.commits import parcel
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.delivery import Conflict, Parcel, deliver
from holdfast.grid.vdrive.journal import JournalCommit, JournalHead
from holdfast.grid.vdrive.patience import LookingServer, Patience, PatientServer
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.interfaces.vdrive_errors import HistoryPrunedError, VdriveRefusalError
from holdfast.protocol.vdrive_commit_messages import decode_commit_request

log = structlog.get_logger(__name__)


async def resolve_unanswered(
    core: VdriveCore,
    server: VirtualDriveServer,
    sid: bytes,
    state: DirectoryState,
    keys: WriteKeys,
    patience: Callable[[], Patience],
) -> None:
    """Send commits of a directory again, until it is known of each whether it was made.

    Args:
        patience: gives a new one for each call.

    Raises:
        UndecidedError: nobody waits for it any more.
        RollbackDetectedError, ForkDetectedError: the server is behind these commits, or elsewhere.
    """
    looking = PatientServer(server, patience)
    for commit in core.memory.journal.unanswered(state.index):
        try:
            outcome = await deliver(server, parcel_of(core, commit, sid, keys), patience())
        except VdriveRefusalError as error:
            log.warning(
                "a change that was never answered is refused now",
                directory=log_name(state.index),
                reason=str(error),
            )
            await core.memory.journal.refused(commit.number)
            continue
        if isinstance(outcome, Conflict) and not await _was_made(core, looking, state, keys, commit):
            await core.memory.journal.refused(commit.number)
        else:
            await _remember(core, looking, state, keys, commit)
            await core.memory.journal.applied(commit.number)


def parcel_of(core: VdriveCore, commit: JournalCommit, sid: bytes, keys: WriteKeys) -> Parcel:
    """Return a commit of the journal, ready to be sent again."""
    enablers = {head.index: head.enabler for head in commit.heads}
    request = decode_commit_request(commit.request)
    return parcel(request, {keys.read.index: keys}, sid, core.servers.account(sid), enablers)


async def _was_made(
    core: VdriveCore,
    server: LookingServer,
    state: DirectoryState,
    keys: WriteKeys,
    commit: JournalCommit,
) -> bool:
    """Tell whether a commit that conflicts now is part of the history all the same."""
    asked = core.memory.known(state.index)
    answer = await server.describe(state.index)
    head = core.guard.verify(state, answer.head, keys.verify_key)
    head = await core.guard.observe(server, state, head, asked, writing=True)
    own = _own_head(commit, state.index)
    if head.version < own.version:
        return False
    try:
        signed, _ = await fetch_head(server, state.index, own.version)
    except HistoryPrunedError:
        return False
    return head_hash(signed.head) == own.head_hash


async def _remember(
    core: VdriveCore,
    server: LookingServer,
    state: DirectoryState,
    keys: WriteKeys,
    commit: JournalCommit,
) -> None:
    """Remember that a commit was made; others may have come after it."""
    request = decode_commit_request(commit.request)
    signed = next((one.head for one in request.sections if one.index == state.index), None)
    if signed is not None:
        head = core.guard.verify(state, signed, keys.verify_key)
        await core.guard.observe(server, state, head, None, writing=True)


def _own_head(commit: JournalCommit, index: bytes) -> JournalHead:
    return max((head for head in commit.heads if head.index == index), key=lambda head: head.version)
