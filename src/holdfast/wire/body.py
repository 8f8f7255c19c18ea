"""The body of a request as it arrives: counted, decoded if chunked, handed to the
handler in large pieces while the next piece is being received.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from holdfast.wire.buffers import BUFFER_SIZE, BufferPool
from holdfast.wire.heads import HeadParser, MalformedHeadError
from holdfast.wire.http import BodyBrokenError, BodyTooLargeError

SMALL_BODY_MAX = 16 * 1024  # bytes; a body of at most this needs no pooled buffer


class Flow(Protocol):
    """The connection the body comes from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def touch(self) -> None: ...


class IncomingBody:
    """Implements ``wire.http.RequestBody`` for a connection, which feeds it.

    Two buffers alternate: one is with the handler, the other is being filled.
    """

    def __init__(
        self,
        length: int | None,
        parser: HeadParser | None,
        pool: BufferPool,
        flow: Flow,
        send_continue: Callable[[], None] | None,
    ) -> None:
        self._length = length
        self._parser = parser  # for chunked bodies
        self._pool = pool
        self._flow = flow
        self._send_continue = send_continue
        self._received = 0  # decoded bytes
        self._filling: bytearray | None = None
        self._filled = 0
        self._ready: deque[tuple[bytearray, int]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._broken: str | None = None
        self._paused = False
        self.complete = length == 0

    @property
    def length(self) -> int | None:
        return self._length

    @property
    def expecting_continue(self) -> bool:
        """True while the peer waits for leave to send the body."""
        return self._send_continue is not None

    # -- fed by the connection

    def start(self, rest: bytes) -> bytes:
        """Take the bytes that came with the head; return those behind the end of the body."""
        if self.complete:
            return rest
        behind = b""
        view = memoryview(rest)
        while view and not self.complete:
            buffer = self.next_buffer()
            count = min(len(view), len(buffer))
            buffer[:count] = view[:count]
            view = view[count:]
            behind = self.received(count)
        return behind + bytes(view)

    def next_buffer(self) -> memoryview:
        """Return where the next bytes go."""
        if self._filling is None:
            self._filling = self._new_buffer()
            self._filled = 0
        room = memoryview(self._filling)[self._filled :]
        if self._length is not None:
            room = room[: self._length - self._received]
        return room

    def received(self, count: int) -> bytes:
        """Note that ``count`` bytes were put there; return bytes that lie behind the body."""
        behind = b""
        if self._parser is not None:
            behind = self._decode(count)
        else:
            self._received += count
            self._filled += count
            self.complete = self._received == self._length
        assert self._filling is not None
        if self.complete or self._filled == len(self._filling):
            self._hand_over()
        if not self.complete and self._filling is None and len(self._ready) >= 1:
            self._pause()
        return behind

    def broken(self, why: str) -> None:
        """Note that no more will come."""
        if not self.complete:
            self._broken = why
            self._wake()

    def _decode(self, count: int) -> bytes:
        """Decode ``count`` bytes of chunked coding in place: data is never longer than its coding."""
        assert self._filling is not None
        assert self._parser is not None
        raw = memoryview(self._filling)[self._filled : self._filled + count]
        try:
            data = self._parser.parse_body(raw)
        except MalformedHeadError:
            self.broken("the chunked coding is malformed")
            return b""
        raw[: len(data)] = data
        self._received += len(data)
        self._filled += len(data)
        self.complete = self._parser.body_done
        return b""

    def _new_buffer(self) -> bytearray:
        if self._length is not None and self._length - self._received <= SMALL_BODY_MAX:
            return bytearray(self._length - self._received)
        buffer = self._pool.take()
        if buffer is None:
            # None left: go on in a small one. The pause that follows waits for the pool.
            return bytearray(SMALL_BODY_MAX)
        return buffer

    def _hand_over(self) -> None:
        if self._filling is not None:
            self._ready.append((self._filling, self._filled))
            self._filling = None
        self._wake()

    def _pause(self) -> None:
        self._paused = True
        self._flow.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._flow.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- read by the handler

    async def chunks(self) -> AsyncIterator[memoryview]:
        """Yield successive pieces; each is valid until the next is asked for."""
        self._allow()
        while True:
            while not self._ready:
                if self._broken is not None:
                    raise BodyBrokenError(self._broken)
                if self.complete:
                    return
                self._flow.touch()
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            buffer, count = self._ready.popleft()
            self._resume()
            try:
                if count:
                    yield memoryview(buffer)[:count]
            finally:
                self._give_back(buffer)

    async def read(self, limit: int) -> bytes:
        """Return the whole body of at most ``limit`` bytes."""
        if self._length is not None and self._length > limit:
            raise BodyTooLargeError
        parts: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                raise BodyTooLargeError
            parts.append(bytes(piece))
        return b"".join(parts)

    async def discard(self, limit: int) -> bool:
        """Read and forget up to ``limit`` bytes; True if that was all."""
        if self._length is not None and self._length - self._received > limit:
            return False
        try:
            async for _ in self.chunks():
                if self._received > limit + (self._length or 0):
                    return False
        except BodyBrokenError:
            return False
        return True

    def release(self) -> None:
        """Give every buffer back. The body is not used afterwards."""
        if self._filling is not None:
            self._give_back(self._filling)
            self._filling = None
        while self._ready:
            self._give_back(self._ready.popleft()[0])

    def _allow(self) -> None:
        if self._send_continue is not None and not self.complete:
            self._send_continue()
        self._send_continue = None

    def _give_back(self, buffer: bytearray) -> None:
        if len(buffer) == BUFFER_SIZE:
            self._pool.give_back(buffer)
