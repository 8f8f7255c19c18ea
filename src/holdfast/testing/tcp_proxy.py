"""A proxy between nodes, for tests: it stands for the network, which can be cut, or swallow
everything, or stand still, and heal again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from holdfast.testing.threaded_loop import ThreadedLoop

HOST = "127.0.0.1"
PIECE = 64 << 10  # bytes
Mode = Literal["pass", "cut", "black hole", "stall"]


class TcpProxy:
    """Passes connections on to ``target``, a port of this machine. A context manager.

    Attributes:
        target: where to; 0: nowhere yet, which is as if it were cut.
        accepted: connections so far.
        bytes_in: bytes that came from those who connect, passed on or not.
    """

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.bytes_in = 0
        self._mode: Mode = "pass"
        self._connections: set[_Connection] = set()

    @property
    def location(self) -> str:
        """HOST:PORT, as settings name it."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._loop = ThreadedLoop()
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._server = self._loop.run(asyncio.start_server(self._accept, HOST, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call(self._server.close)
        self._loop.call(self._drop_all)
        self._loop.close()

    # -- what happens to the network

    def cut(self) -> None:
        """End every connection, and each new one at once."""
        self._enter("cut")

    def black_hole(self) -> None:
        """Go on accepting, and swallow all that anybody sends."""
        self._enter("black hole")

    def stall(self) -> None:
        """Keep connections open and pass nothing on, so that senders have to wait."""
        self._enter("stall")

    def heal(self) -> None:
        """Pass on again. What stood still goes on; a connection that lost bytes is ended."""
        self._enter("pass")

    # -- the rest runs in the thread of the loop

    def _enter(self, mode: Mode) -> None:
        def enter() -> None:
            self._mode = mode
            if mode == "cut":
                self._drop_all()
            for connection in list(self._connections):
                if connection.has_lost and mode == "pass":
                    connection.drop()
            if mode == "stall":
                self._going_on.clear()
            else:
                self._going_on.set()

        self._loop.call(enter)

    def _drop_all(self) -> None:
        for connection in list(self._connections):
            connection.drop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            await self._going_on.wait()
            if self._mode == "black hole":
                connection.has_lost = True
                await self._swallow(reader)
            elif self._mode == "pass" and self.target:
                await self._pass_on(connection, reader, writer)
        except OSError:
            pass  # one of the ends went away; so does the other
        finally:
            connection.drop()
            self._connections.discard(connection)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(PIECE):
            self.bytes_in += len(data)

    async def _pass_on(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(HOST, self.target)
        connection.writers.append(server_writer)

        def count(size: int) -> None:
            self.bytes_in += size

        await asyncio.gather(
            self._pump(connection, reader, server_writer, count),
            self._pump(connection, server_reader, writer, lambda size: None),
        )

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        """Pass on what comes from one end until that closes, which is passed on too."""
        while True:
            data = await reader.read(PIECE)
            count(len(data))
            await self._going_on.wait()
            if self._mode == "black hole":
                connection.has_lost = True
                if not data:
                    await connection.dropped.wait()  # the end of a connection is swallowed as well
                continue
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


class _Connection:
    """One connection from outside, and the one to the target once there is one."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.has_lost = False  # something that was sent never came, and never will
        self.dropped = asyncio.Event()

    def drop(self) -> None:
        self.dropped.set()
        for writer in self.writers:
            writer.transport.abort()
