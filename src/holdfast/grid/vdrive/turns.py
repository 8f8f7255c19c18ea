"""The right to be the only one to commit for a moment, for those whom others are always ahead of; and the
right to write at all, at a service that a directory has moved to.

Source: docs/spec/vdrive.md, sections 8.8 and 8.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, write_enabler
from holdfast.grid.vdrive.patience import TRANSIENT, Patience
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.interfaces.vdrive_errors import BadWriteEnablerError


class Turns:
    """The turns that one batch of changes has."""

    def __init__(self, server: VirtualDriveServer, sid: bytes, keys: Mapping[bytes, WriteKeys]) -> None:
        """``keys`` by the index of their directory."""
        self._server = server
        self._sid = sid
        self._keys = keys
        self._turns: dict[bytes, tuple[bytes, float]] = {}  # and when each ends

    @property
    def held(self) -> dict[bytes, bytes]:
        """Turns by index, as far as they have not ended."""
        now = asyncio.get_running_loop().time()
        return {index: turn for index, (turn, end) in self._turns.items() if now < end}

    async def take_anew(self, patience: Patience) -> None:
        """Have a turn of every directory after a commit met somebody else's, whatever was thought to be held.

        Raises:
            UndecidedError: nobody wants it any more.
        """
        if self.held.keys() >= self._keys.keys():
            self._turns.clear()
        await self.take(patience)

    async def take(self, patience: Patience) -> None:
        """Have a turn of every directory. All ask in the same order, so that no two wait for each other.

        Raises:
            UndecidedError: nobody wants it any more.
        """
        enrolled: set[bytes] = set()
        for index in sorted(self._keys):
            while index not in self.held:
                keys = self._keys[index]
                try:
                    asked = self._server.turn(index, write_enabler(keys.write_key, self._sid))
                    turn = await patience.during(asked)  # a turn of somebody who has gone holds up all others
                    # It begins when it is given, which may be long after it was asked for.
                    self._turns[index] = turn.turn, asyncio.get_running_loop().time() + turn.ttl_s
                except BadWriteEnablerError:
                    if index in enrolled:
                        raise
                    enrolled.add(index)
                    await enrol(self._server, keys, self._sid, patience)
                except TRANSIENT as error:
                    await patience.after(error)


async def enrol(server: VirtualDriveServer, keys: WriteKeys, sid: bytes, patience: Patience) -> None:
    """Register the enabler of one directory."""
    enabler = write_enabler(keys.write_key, sid)
    while True:
        try:
            return await server.enrol(keys.read.index, enabler, enabler_proof(keys, sid))
        except TRANSIENT as error:
            await patience.after(error)
