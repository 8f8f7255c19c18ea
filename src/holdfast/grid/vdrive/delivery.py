"""Sends a commit until it is known what became of it.

As long as that is not known, the same bytes are sent again and nothing else: a server that made the commit
says so again, and one that did not makes it then.

Source: docs/spec/vdrive.md, sections 6.6, 8.4, 8.9 and 9.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.grid.vdrive.patience import TRANSIENT, Patience
from holdfast.grid.vdrive.turns import Turns, enrol
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
    TurnTakenError,
)

log = structlog.get_logger(__name__)


class Conflict(NamedTuple):
    """Another commit came first. ``contexts`` as in ``HeadConflictError``, not proven yet."""

    contexts: tuple[Context, ...]


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


async def deliver(
    server: VirtualDriveServer, parcel: Parcel, patience: Patience, turns: Turns | None = None
) -> CommitAnswer | Conflict:
    """Return what became of a commit.

    Args:
        turns: shown with the commit, and asked for when it meets somebody else's turn.

    Raises:
        UndecidedError: see there.
        VdriveRefusalError: the server refuses it for good.
    """
    enrolled = False
    while True:
        try:
            held = {} if turns is None else turns.held
            return await server.commit(parcel.request, replace(parcel.authority, turns=held))
        except HeadConflictError as error:
            return Conflict(error.contexts)
        except BadWriteEnablerError:
            if enrolled or not await enrol_all(server, parcel, patience):
                raise
            enrolled = True
        except TurnTakenError as error:
            if turns is None:
                await patience.after(error)
            else:
                patience.note(error)
                await turns.take_anew(patience)
        except TRANSIENT as error:
            log.debug("a commit is sent again", reason=str(error))
            await patience.after(error)


async def enrol_all(server: VirtualDriveServer, parcel: Parcel, patience: Patience) -> bool:
    """Register the enablers of a commit's directories with a service that knows others, as after a move.

    Returns:
        True if there was one that could be registered.
    """
    made = {new.index for new in parcel.request.creates}
    found = [section.index for section in parcel.request.sections if section.index not in made]
    keys = [parcel.keys[index] for index in found if index in parcel.keys]
    for one in keys:
        await enrol(server, one, parcel.sid, patience)
    return bool(keys)
