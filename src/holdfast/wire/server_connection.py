"""One accepted connection: heads parsed as they come, bodies landing in reused
buffers, answers written with back-pressure. One request at a time; what a peer
sends ahead waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from holdfast.wire.body import IncomingBody
from holdfast.wire.flow import WriteGate
from holdfast.wire.heads import HEAD_SIZE_MAX, HeadReader, MalformedHeadError, answer_head
from holdfast.wire.http import BodyBrokenError, BodyTooLargeError, FileRange, Request, Response
from holdfast.wire.local_peer import user_behind

if TYPE_CHECKING:
    from holdfast.wire.server import Server

log = logging.getLogger(__name__)

SEND_PIECE = 1024 * 1024  # bytes read from a file and handed to the transport at once
JOINED_MAX = 64 * 1024  # bytes of a file sent in one piece with the head
DISCARDED_MAX = 256 * 1024  # bytes of a body that nobody wants, for which a connection is kept
LINGER_S = 5.0
FOREVER = float("inf")
HEAD_END = b"\r\n\r\n"


class ServerConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection. ``deadline`` is watched by the server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held: bytearray | None = None  # what came and has not been used yet; most of the time nothing
        self._filled = 0  # bytes of it
        self._heads = HeadReader(answers=False)
        self._gate = WriteGate(self)
        self._request: Request | None = None
        self._keep_alive = True
        self._body: IncomingBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading_paused = False
        self._streaming: asyncio.Task[None] | None = None
        self._peer = ""
        self._peer_user: int | None = None
        self._when_gone: Callable[[], object] | None = None
        self.deadline = self._loop.time() + self._limits.handshake_s

    # -- life of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._server.connections) >= self._limits.connections_max:
            transport.close()
            return
        self._server.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._peer_user = user_behind(transport.get_extra_info("socket"))
        self.deadline = self._loop.time() + self._limits.idle_s

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None
        self._gate.lost()
        if self._body is not None:
            self._body.broken("the peer went away")
        if self._streaming is not None:
            self._streaming.cancel()
        if self._when_gone is not None:
            self._when_gone()

    def call_when_gone(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` if the peer goes away while the handler runs."""
        self._when_gone = callback

    def drop(self) -> None:
        """End the connection at once, whatever it is doing."""
        if self._transport is not None:
            self._transport.abort()

    def touch(self) -> None:
        """Note progress inside a body or an answer."""
        self.deadline = self._loop.time() + self._limits.silence_s

    def eof_received(self) -> bool:
        if self._body is not None:
            self._body.broken("the peer ended the connection")
        return False

    def pause_writing(self) -> None:
        self._gate.pause()

    def resume_writing(self) -> None:
        self._gate.resume()

    # -- receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None and not self._body.complete:
            return self._body.next_buffer()
        # Between requests a connection has no buffer of its own: a thousand may be waiting.
        return memoryview(self._server.scratch if self._held is None else self._held)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._body is not None and not self._body.complete:
            self.touch()
            rest = self._body.received(nbytes)
            if self._body.complete:
                self.deadline = FOREVER  # now it is the handler that keeps the peer waiting
            if rest:
                self._keep(rest)
            return
        if self._held is not None:
            self._filled += nbytes
        elif self._task is None:
            self._parse_head(self._server.scratch, nbytes)
            return
        else:
            self._hold(bytes(self._server.scratch[:nbytes]))
        self._use_held()

    def _use_held(self) -> None:
        assert self._held is not None
        if self._task is None:
            self._parse_head(self._held, self._filled)
        elif self._filled == len(self._held):
            self.pause_reading()  # a peer that sends ahead of its answers waits

    def _hold(self, data: bytes) -> None:
        """Keep bytes for later, behind those that are kept already."""
        if self._held is None:
            self._held = bytearray(HEAD_SIZE_MAX)
        self._held[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def pause_reading(self) -> None:
        self._reading_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    def _keep(self, rest: bytes) -> None:
        """Put bytes behind a body in front of what comes next."""
        self._hold(rest)
        self.pause_reading()

    def _parse_head(self, space: bytearray, filled: int) -> None:
        """Begin with the request whose head stands in the first ``filled`` bytes, if it is whole."""
        end = space.find(HEAD_END, 0, filled)
        if end < 0:
            if filled == len(space):
                self._refuse(431)
                return
            if self._held is None:
                self._hold(bytes(space[:filled]))
            self.deadline = min(self.deadline, self._loop.time() + self._limits.head_s)
            return
        try:
            head, parser = self._heads.read(bytes(space[: end + 4]))
        except MalformedHeadError:
            self._refuse(400)
            return
        rest = bytes(space[end + 4 : filled])
        self._held, self._filled = None, 0
        # What follows a chunked body was seen by its parser, so such a connection is not used again.
        self._keep_alive = head.keep_alive and not head.chunked
        expects = (head.header("expect") or "").lower() == "100-continue"
        self._body = IncomingBody(
            head.body_length,
            parser,
            self._server.buffers,
            self,
            self._send_continue if expects else None,
        )
        path, _, query = head.target.partition("?")
        self._request = Request(
            head.method,
            path,
            query,
            tuple(head.headers),
            self._body,
            self._peer,
            self._peer_user,
            self.call_when_gone,
        )
        behind = self._body.start(rest)
        if behind:
            self._keep(behind)
        self.touch()
        self._task = self._server.start_task(self)

    def _send_continue(self) -> None:
        if self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status: int) -> None:
        """Answer a message that is not HTTP, and end the connection."""
        if self._transport is not None:
            self._transport.write(answer_head(status, (), 0, keep_alive=False))
            self._transport.close()

    # -- answering

    async def run_request(self) -> None:
        """Run the handler on the request at hand, send its answer, and go on to the next."""
        assert self._request is not None
        assert self._body is not None
        request, body = self._request, self._body
        try:
            response = await self._answer(request)
            await self._send(response, head_only=request.method == "HEAD")
            await self._finish(body)
        except ConnectionError:
            self.drop()
        finally:
            body.release()
            if self._task is not None:
                self._server.tasks.discard(self._task)
                self._task = None
            if self._transport is not None and not self._transport.is_closing():
                self._next()

    async def _answer(self, request: Request) -> Response:
        self.deadline = FOREVER  # the handler keeps its own time; the body keeps the peer's
        try:
            return await self._server.handler(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except BodyBrokenError:
            self._keep_alive = False
            return Response(400)
        except BodyTooLargeError:
            return Response(413)
        except Exception:
            log.exception("a request failed inside the server: %s", request.method)
            return Response(500)
        finally:
            self._when_gone = None

    async def _finish(self, body: IncomingBody) -> None:
        """Get rid of what the handler left unread, if that is cheap; else end the connection."""
        if body.complete:
            return
        if body.expecting_continue:
            self._keep_alive = False
        elif not await body.discard(DISCARDED_MAX):
            self._keep_alive = False
            # To end it while the peer is sending could cost it the answer: it gets a moment to stop.
            with suppress(TimeoutError, BodyBrokenError):
                async with asyncio.timeout(LINGER_S):
                    async for _ in body.chunks():
                        pass

    def _next(self) -> None:
        self._request = self._body = None
        if not self._keep_alive:
            assert self._transport is not None
            self._transport.close()
            return
        self.deadline = self._loop.time() + self._limits.idle_s
        self.resume_reading()
        if self._held is not None:
            self._parse_head(self._held, self._filled)

    async def _send(self, response: Response, *, head_only: bool) -> None:
        body = response.body
        if isinstance(body, bytes):
            head = answer_head(response.status, response.headers, len(body), keep_alive=self._keep_alive)
            await self._write(head if head_only else head + body)
        elif isinstance(body, FileRange):
            await self._send_file(response, body, head_only=head_only)
        else:
            await self._send_stream(response, body)

    async def _send_file(self, response: Response, piece: FileRange, *, head_only: bool) -> None:
        try:
            head = answer_head(response.status, response.headers, piece.length, keep_alive=self._keep_alive)
            if head_only:
                await self._write(head)
                return
            if piece.length <= JOINED_MAX:
                await self._write(head + await self._read_file(piece.descriptor, piece.offset, piece.length))
                return
            await self._write(head)
            for start in range(0, piece.length, SEND_PIECE):
                size = min(SEND_PIECE, piece.length - start)
                await self._write(await self._read_file(piece.descriptor, piece.offset + start, size))
        finally:
            os.close(piece.descriptor)

    async def _read_file(self, descriptor: int, offset: int, length: int) -> bytes | bytearray:
        data: bytes | bytearray | None = _cached_read(descriptor, offset, length)
        if data is None:
            data = await self._loop.run_in_executor(None, _read_fully, descriptor, offset, length)
        if len(data) != length:
            raise ConnectionError("the file became shorter while it was sent")
        return data

    async def _send_stream(self, response: Response, pieces: AsyncIterator[bytes]) -> None:
        """Send ``pieces`` as they come. Ends, and closes them, as soon as the peer is gone."""
        try:
            await self._write(
                answer_head(response.status, response.headers, response.length, keep_alive=self._keep_alive)
            )
            self._streaming = self._loop.create_task(self._pump(pieces, response.length))
            await self._streaming
        except asyncio.CancelledError:
            if self._transport is not None:
                raise
            raise ConnectionError("the peer went away") from None
        finally:
            self._streaming = None
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _pump(self, pieces: AsyncIterator[bytes], length: int | None) -> None:
        left = length
        try:
            async for piece in pieces:
                await asyncio.sleep(0)  # pieces that never keep us waiting shall not keep others waiting
                if not piece:
                    continue  # would end the chunked coding
                if left is None:
                    await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    continue
                left -= len(piece)
                if left < 0:
                    break
                await self._write(piece)
        except ConnectionError:
            raise
        except Exception:
            log.exception("an answer failed inside the server")
            raise ConnectionError("the answer broke off") from None
        if left is None:
            await self._write(b"0\r\n\r\n")
        elif left:
            raise ConnectionError("the answer is not as long as was said")

    async def _write(self, data: bytes | bytearray) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the peer went away")
        self._transport.write(data)
        if self._gate.closed:
            self.touch()
            await self._gate.wait()
            self.deadline = FOREVER


def _cached_read(descriptor: int, offset: int, length: int) -> bytearray | None:
    """Return the bytes if the system has them in memory, else None."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(length)
    try:
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # not cached, or the file system cannot tell
        return None
    return buffer if count == length else None


def _read_fully(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
