"""Going on in spite of a server that is gone or busy, for as long as somebody wants the result.

Source: docs/spec/vdrive.md, section 9.1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from holdfast.errors import HoldfastError, ServerError
from holdfast.interfaces.vdrive import Context, DirectoryInfo, HeadRange, VirtualDriveServer
from holdfast.interfaces.vdrive_errors import (
    TooManyVdriveRequestsError,
    TurnTakenError,
    VdriveBusyError,
)

T = TypeVar("T")

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 2.0

TRANSIENT = (ServerError, TurnTakenError, TooManyVdriveRequestsError, VdriveBusyError)
"""What leaves open whether something was done, or only says: not now."""


class UndecidedError(Exception):
    """Nobody waits for the result any more, and it is not known whether a commit was made."""


class Patience:
    """Waits between attempts, longer each time, as long as somebody still wants the result."""

    def __init__(self, wanted: Callable[[], bool], note: Callable[[HoldfastError], None]) -> None:
        """``note`` is told of every reason to wait."""
        self._wanted = wanted
        self.note = note
        self._pause_s = PAUSE_FIRST_S

    async def after(self, trouble: HoldfastError) -> None:
        """Wait as the server says, or else some time.

        Raises:
            UndecidedError: nobody wants the result any more.
        """
        self.note(trouble)
        told_s = getattr(trouble, "retry_after_s", 0.0)
        left_s = told_s or self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311  (not to be secret)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        while left_s > 0 and self._wanted():
            step_s = min(left_s, PAUSE_FIRST_S)
            await asyncio.sleep(step_s)
            left_s -= step_s
        if not self._wanted():
            raise UndecidedError

    async def during(self, asking: Awaitable[T]) -> T:
        """Return what somebody answers who may take long.

        Raises:
            UndecidedError: nobody wants the result any more, and so nobody waits for the answer either.
        """
        task = asyncio.ensure_future(asking)
        try:
            while not task.done():
                if not self._wanted():
                    raise UndecidedError
                await asyncio.wait([task], timeout=PAUSE_FIRST_S)
            return task.result()
        finally:
            task.cancel()


class LookingServer(Protocol):
    """The calls of a ``VirtualDriveServer`` that prove something about one directory."""

    async def describe(self, index: bytes) -> DirectoryInfo: ...

    async def child(self, index: bytes, slot: bytes) -> Context: ...

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context: ...

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange: ...


class PatientServer:
    """A ``LookingServer`` that asks again instead of failing."""

    def __init__(self, server: VirtualDriveServer, patience: Callable[[], Patience]) -> None:
        """``patience`` gives a new one for each call."""
        self._server = server
        self._patience = patience

    async def describe(self, index: bytes) -> DirectoryInfo:
        return await self._again(lambda: self._server.describe(index))

    async def child(self, index: bytes, slot: bytes) -> Context:
        return await self._again(lambda: self._server.child(index, slot))

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        return await self._again(lambda: self._server.context(index, slots))

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange:
        return await self._again(lambda: self._server.heads(index, first, last))

    async def _again(self, ask: Callable[[], Awaitable[T]]) -> T:
        patience = self._patience()
        while True:
            try:
                return await ask()
            except TRANSIENT as error:
                await patience.after(error)
