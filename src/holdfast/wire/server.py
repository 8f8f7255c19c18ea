"""The serving side of HTTP/1.1, over TLS or on this machine alone: accepts connections, and runs a handler
for each request.

A hung or slow peer holds nothing for ever: every state of a connection has a
deadline, connections and buffers are counted.

Source: docs/spec/storage-protocol.md, section 4.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from holdfast.wire.buffers import BufferPool
from holdfast.wire.heads import HEAD_SIZE_MAX
from holdfast.wire.http import Handler
from holdfast.wire.server_connection import ServerConnection

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 2 << 20  # bytes the system may hold of what a peer has sent


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one listening port spends on its peers. Times in seconds."""

    connections_max: int = 1000
    buffers_max: int = 20  # of wire.buffers.BUFFER_SIZE each: 30 MiB
    handshake_s: float = 15
    head_s: float = 30  # from the first byte of a request to the end of its head
    idle_s: float = 75  # between requests; longer than the 60 s after which 1.20's clients let go
    silence_s: float = 60  # inside a body, and without progress in sending
    stop_s: float = 5  # for running requests when the server stops


class Server:
    """One listening port. Made by ``serve``."""

    def __init__(self, handler: Handler, limits: ServerLimits) -> None:
        self.handler = handler
        self.limits = limits
        self.buffers = BufferPool(limits.buffers_max)
        self.scratch = bytearray(HEAD_SIZE_MAX)  # what one connection just received, until it has taken it
        self.connections: set[ServerConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def start_task(self, connection: ServerConnection) -> asyncio.Task[None]:
        """Run the request of ``connection`` in a task that this server owns, until it is over."""
        task = asyncio.get_running_loop().create_task(connection.run_request())
        self.tasks.add(task)
        return task

    async def watch_deadlines(self) -> None:
        """Drop every connection whose current state has lasted too long. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.5)
            now = loop.time()
            for connection in [c for c in self.connections if c.deadline < now]:
                connection.drop()


@asynccontextmanager
async def serve(
    handler: Handler,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext,
    limits: ServerLimits | None = None,
) -> AsyncIterator[Server]:
    """Serve ``handler`` on ``host:port`` (0: any free port) until the block ends.

    On leaving, the port is closed, running requests get ``stop_s`` seconds to end, then are cancelled.

    Raises:
        OSError: the port cannot be had.
    """
    limits = limits or ServerLimits()
    server = Server(handler, limits)
    listener = await asyncio.get_running_loop().create_server(
        lambda: ServerConnection(server),
        host,
        port,
        ssl=ssl_context,
        ssl_handshake_timeout=limits.handshake_s,
        ssl_shutdown_timeout=1,
        backlog=512,
    )
    # Fewer and larger pieces: each wakes the process.
    listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    server.port = listener.sockets[0].getsockname()[1]
    async with _serving(server, listener):
        yield server


@asynccontextmanager
async def serve_local(
    handler: Handler, place: socket.socket, limits: ServerLimits | None = None
) -> AsyncIterator[Server]:
    """Serve ``handler`` without TLS on a bound socket of this machine alone, until the block ends.

    Args:
        place: a Unix socket, or a TCP socket of the loopback address. It is closed on leaving.

    Raises:
        ValueError: the socket can be reached from outside.
    """
    if place.family != socket.AF_UNIX and not ipaddress.ip_address(place.getsockname()[0]).is_loopback:
        raise ValueError("without TLS only this machine itself is served")
    limits = limits or ServerLimits()
    server = Server(handler, limits)
    loop = asyncio.get_running_loop()
    if place.family == socket.AF_UNIX:
        listener: asyncio.Server = await loop.create_unix_server(lambda: ServerConnection(server), sock=place)
    else:
        listener = await loop.create_server(lambda: ServerConnection(server), sock=place)
        server.port = place.getsockname()[1]
    async with _serving(server, listener):
        yield server


@asynccontextmanager
async def _serving(server: Server, listener: asyncio.Server) -> AsyncIterator[None]:
    """Watch over connections; on leaving, close the port and end what runs."""
    watcher = asyncio.get_running_loop().create_task(server.watch_deadlines())
    try:
        yield
    finally:
        watcher.cancel()
        listener.close()
        if server.tasks:
            await asyncio.wait(set(server.tasks), timeout=server.limits.stop_s)
        for task in list(server.tasks):
            task.cancel()
        for connection in list(server.connections):
            connection.drop()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(watcher, *server.tasks, return_exceptions=True)


def server_ssl_context(certificate_path: str, key_path: str) -> ssl.SSLContext:
    """Return a context that serves this certificate alone, over TLS 1.2 (forward-secret AEAD only) or 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate_path, key_path)
    return context
