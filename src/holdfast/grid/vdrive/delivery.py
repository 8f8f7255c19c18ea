"""Sends a commit until it is known what became of it.

As long as that is not known, the same bytes are sent again and nothing else: a server that made the commit
says so again, and one that did not makes it then.

Source: docs/spec/vdrive.md, sections 6.6, 8.4, 8.9 and 9.1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, write_enabler
from holdfast.errors import HoldfastError, ServerError
from holdfast.interfaces.vdrive import (
    Authority,
    CommitAnswer,
    CommitRequest,
    Context,
    VirtualDriveServer,
)
from holdfast.interfaces.vdrive_errors import (
    BadWriteEnablerError,
    HeadConflictError,
    TooManyVdriveRequestsError,
    TurnTakenError,
    VdriveBusyError,
)

log = structlog.get_logger(__name__)

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 2.0

TRANSIENT = (ServerError, TurnTakenError, TooManyVdriveRequestsError, VdriveBusyError)
"""What leaves open whether a commit was made, or only says: not now."""


class Conflict(NamedTuple):
    """Another commit came first. ``contexts`` as in ``HeadConflictError``, not proven yet."""

    contexts: tuple[Context, ...]


class UndecidedError(Exception):
    """Nobody waits for the result any more, and it is not known whether the commit was made."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A commit, with all it takes to deliver it.

    Attributes:
        keys: by index, of those directories whose enablers may be registered anew.
    """

    request: CommitRequest
    authority: Authority
    keys: Mapping[bytes, WriteKeys]
    sid: bytes


class Patience:
    """Waits between attempts, longer each time, as long as somebody still wants the result."""

    def __init__(self, wanted: Callable[[], bool], note: Callable[[HoldfastError], None]) -> None:
        """``note`` is told of every reason to wait."""
        self._wanted = wanted
        self._note = note
        self._pause_s = PAUSE_FIRST_S

    async def after(self, trouble: HoldfastError) -> bool:
        """Wait as the server says, or else some time; return False if nobody wants the result any more."""
        self._note(trouble)
        told_s = getattr(trouble, "retry_after_s", 0.0)
        left_s = told_s or self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311  (not to be secret)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        while left_s > 0 and self._wanted():
            step_s = min(left_s, PAUSE_FIRST_S)
            await asyncio.sleep(step_s)
            left_s -= step_s
        return self._wanted()


async def deliver(server: VirtualDriveServer, parcel: Parcel, patience: Patience) -> CommitAnswer | Conflict:
    """Return what became of a commit.

    Raises:
        UndecidedError: see there.
        VdriveRefusalError: the server refuses it for good.
    """
    enrolled = False
    while True:
        try:
            return await server.commit(parcel.request, parcel.authority)
        except HeadConflictError as error:
            return Conflict(error.contexts)
        except BadWriteEnablerError:
            if enrolled or not await enrol_all(server, parcel):
                raise
            enrolled = True
        except TRANSIENT as error:
            log.debug("a commit is sent again", reason=str(error))
            if not await patience.after(error):
                raise UndecidedError from None


async def enrol_all(server: VirtualDriveServer, parcel: Parcel) -> bool:
    """Register the enablers of a commit's directories with a service that knows others, as after a move.

    Returns:
        True if there was one that could be registered.
    """
    made = {new.index for new in parcel.request.creates}
    found = [section.index for section in parcel.request.sections if section.index not in made]
    keys = [parcel.keys[index] for index in found if index in parcel.keys]
    for one in keys:
        await enrol(server, one, parcel.sid)
    return bool(keys)


async def enrol(server: VirtualDriveServer, keys: WriteKeys, sid: bytes) -> None:
    """Register the enabler of one directory."""
    enabler = write_enabler(keys.write_key, sid)
    await server.enrol(keys.read.index, enabler, enabler_proof(keys, sid))
