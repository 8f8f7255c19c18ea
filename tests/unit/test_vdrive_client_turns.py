"""Turns that clients wait for: as long as they are given, and no longer than anybody wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from holdfast.crypto.vdrive_keys import write_enabler
from holdfast.interfaces.vdrive import Turn
from holdfast.interfaces.vdrive_errors import ContendedDirectoryError
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of, names_in, put


class LongLine:
    """A server that lets those who ask for a turn wait.

    Attributes:
        waiting: how many do.
    """

    def __init__(self, server: MemoryVdriveServer, wait_s: float) -> None:
        self._server = server
        self._wait_s = wait_s
        self.waiting = 0
        self.sid, self.place = server.sid, server.place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        self.waiting += 1
        try:
            await asyncio.sleep(self._wait_s)
            return await self._server.turn(enablers)
        finally:
            self.waiting -= 1


async def test_who_gives_up_leaves_the_line() -> None:
    server = MemoryVdriveServer()
    line = LongLine(server, 60)
    client = client_of(line)
    cap = await client.create(server.place)
    await server.turn({cap.index: write_enabler(cap.write_key, server.sid)})
    with pytest.raises(ContendedDirectoryError):
        await put(client, client.directory(cap), "a", deadline_s=0.2)
    await asyncio.sleep(0.1)
    assert line.waiting == 0, "a turn that nobody uses would hold up all others"
    await client.close()


async def test_a_turn_that_was_waited_for_is_used() -> None:
    now = [0.0]
    server = MemoryVdriveServer(clock=lambda: now[0])
    line = LongLine(server, 0.3)
    client = client_of(line)
    cap = await client.create(server.place)
    turn = await server.turn({cap.index: write_enabler(cap.write_key, server.sid)})
    changing = asyncio.ensure_future(put(client, client.directory(cap), "a"))
    await asyncio.sleep(0.2)
    assert line.waiting == 1
    now[0] += turn.ttl_s + 10
    await asyncio.wait_for(changing, 5)
    assert server.calls["turn"] == 2
    assert await names_in(client.directory(cap)) == {"a"}
    await client.close()
