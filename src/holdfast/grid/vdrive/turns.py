"""The right to be the only one to commit for a moment, for those whom others are always ahead of; and the
right to write at all, at a service that a directory has moved to.

Source: docs/spec/vdrive.md, sections 8.8 and 8.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, write_enabler
from holdfast.grid.vdrive.patience import TRANSIENT, Patience
from holdfast.interfaces.vdrive import Turn, VirtualDriveServer
from holdfast.interfaces.vdrive_errors import BadWriteEnablerError


class Turns:
    """The turn that one batch of changes has, of all its directories."""

    def __init__(self, server: VirtualDriveServer, sid: bytes, keys: Mapping[bytes, WriteKeys]) -> None:
        """``keys`` by the index of their directory."""
        self._server = server
        self._sid = sid
        self._keys = keys
        self._turn: Turn | None = None
        self._end = 0.0

    @property
    def held(self) -> dict[bytes, bytes]:
        """The turn by index, as long as it has not ended."""
        if self._turn is None or asyncio.get_running_loop().time() >= self._end:
            return {}
        return dict.fromkeys(self._keys, self._turn.turn)

    async def take_anew(self, patience: Patience) -> None:
        """Have a turn after a commit met somebody else's, whatever was thought to be held.

        Raises:
            UndecidedError: nobody wants it any more.
        """
        self._turn = None
        await self.take(patience)

    async def take(self, patience: Patience) -> None:
        """Have a turn: one of all directories, so that none is held while another is waited for.

        Raises:
            UndecidedError: nobody wants it any more.
        """
        enrolled = False
        enablers = {index: write_enabler(keys.write_key, self._sid) for index, keys in self._keys.items()}
        while enablers and not self.held:
            try:
                # A turn of somebody who has gone would hold up all others.
                self._turn = await patience.during(self._server.turn(enablers))
                # It begins when it is given, which may be long after it was asked for.
                self._end = asyncio.get_running_loop().time() + self._turn.ttl_s
            except BadWriteEnablerError:
                if enrolled:
                    raise
                enrolled = True
                for keys in self._keys.values():
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
