"""One connection of a client: one request at a time, bodies sent as they lie in
memory, and an answer that lands where the caller wants it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from holdfast.wire.answer_tap import AnswerTap
from holdfast.wire.heads import HEAD_SIZE_MAX, Head, HeadParser, HeadReader, MalformedHeadError
from holdfast.wire.streamed_body import StreamedBody

Buffer = bytes | bytearray | memoryview
HEAD_END = b"\r\n\r\n"
WRITE_AHEAD = 4 << 20  # bytes of a stream that are made before the peer has taken them


class BrokenAnswerError(ConnectionError):
    """The peer broke HTTP or sent more than was asked for. The connection is of no more use."""


class Answer:
    """One answer. ``body`` holds what arrived, except the ``sunk`` bytes that went to the caller's sink."""

    __slots__ = ("body", "head", "sunk")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.body = bytearray()
        self.sunk = 0


class ClientConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection. Made by ``wire.client``, which checks the pin first."""

    def __init__(self, on_lost: Callable[[ClientConnection], None]) -> None:
        """``on_lost`` is called when the connection ended while it had no request."""
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._small = bytearray(HEAD_SIZE_MAX)
        self._filled = 0
        self._heads = HeadReader(answers=True)
        self._parser: HeadParser | None = None
        self._answer: Answer | None = None
        self._sink: memoryview | None = None
        self._sinking = False
        self._tap: AnswerTap | None = None
        self._left: int | None = 0  # bytes of the body still to come; None: until its own end
        self._body_max = 0
        self._done: asyncio.Future[Answer] | None = None
        self._error: Exception | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._silence_s = 0.0
        self._sending: asyncio.Task[None] | None = None  # of a streamed body, until it is out
        self._making = False  # while more of it is awaited
        self._writable = asyncio.Event()
        self._writable.set()
        self._last_progress = 0.0
        self.reused = False  # True once an answer has come over this connection

    # -- use

    @property
    def usable(self) -> bool:
        """True while another request may be sent."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and self._error is None
            and self._done is None
            and self._sending is None
        )

    @property
    def quiet_s(self) -> float:
        """Return for how many seconds nothing has come or gone."""
        return self._loop.time() - self._last_progress

    def peer_certificate(self) -> bytes | None:
        """Return the DER form of the certificate the peer presented."""
        if self._transport is None:
            return None
        ssl_object = self._transport.get_extra_info("ssl_object")
        return None if ssl_object is None else ssl_object.getpeercert(binary_form=True)

    def send(
        self,
        head: bytes,
        pieces: Sequence[Buffer] | StreamedBody,
        body_max: int,
        sink: memoryview | None,
        silence_s: float,
        first_byte_s: float,
        tap: AnswerTap | None = None,
    ) -> asyncio.Future[Answer]:
        """Send a request; return the future answer.

        Args:
            head: the request's head.
            pieces: its body. They must not change until the answer is there. One that is streamed is only
                made as fast as it can be sent; what it raises, the future raises.
            body_max: bytes of answer body to accept at most.
            sink: where the body of a 206 answer is to go, if it fits.
            silence_s: seconds without progress after which the peer counts as hung.
            first_byte_s: the same for the time before the first sign of progress.
            tap: where the body of a 200 answer goes, instead of into the answer.

        The future raises ConnectionError (BrokenAnswerError if the peer misbehaved), TimeoutError.
        """
        if self._transport is None or self._error is not None:
            raise ConnectionError("the connection is closed")
        self._done = self._loop.create_future()
        self._body_max, self._sink, self._answer = body_max, sink, None
        self._sinking = False
        self._tap = tap
        self._silence_s = silence_s
        self._last_progress = self._loop.time()
        self._alarm = self._loop.call_later(first_byte_s, self._check_progress)
        if not isinstance(pieces, Sequence):
            self._transport.write(head)
            self._sending = self._loop.create_task(self._send_stream(pieces))
        elif sum(map(len, pieces)) <= 16 * 1024:
            self._transport.write(b"".join((head, *pieces)))
        else:
            self._transport.writelines([head, *pieces])
        return self._done

    async def _send_stream(self, body: StreamedBody) -> None:
        """Send a body piece by piece, as the peer takes it."""
        try:
            self._making = True
            async for piece in body.pieces():
                if self._transport is None:
                    return
                self._making = False
                self._transport.write(bytes(piece))
                await self._writable.wait()
                self._last_progress = self._loop.time()
                self._making = True
        except Exception as error:
            self._error = self._error or error
            self._fail(self._error)
            self.close()
        finally:
            self._making = False
        self._sending = None

    def close(self) -> None:
        """End the connection at once. Nothing is written to a sink any more."""
        self._error = self._error or ConnectionError("the connection was closed")
        self._sink = None
        self._sinking = False
        if self._transport is not None:
            self._transport.abort()

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_AHEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_sending()
        if self._answer is not None and self._left is None and not self._answer.head.chunked and exc is None:
            self._finish()  # a body that ends with the connection
            return
        had_request = self._done is not None
        self._fail(self._error or ConnectionError("the server closed the connection"))
        if not had_request:
            self._on_lost(self)

    def eof_received(self) -> bool:
        return False

    def resume_writing(self) -> None:
        self._last_progress = self._loop.time()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()  # only for streams: what else is sent lies in buffers that are there anyway

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._sinking and self._answer is not None and self._sink is not None:
            return self._sink[self._answer.sunk :]
        return memoryview(self._small)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._error is not None:
            return
        self._last_progress = self._loop.time()
        if self._sinking and self._answer is not None:
            self._answer.sunk += nbytes
            self._count(nbytes)
            return
        self._filled += nbytes
        try:
            self._take()
        except (MalformedHeadError, BrokenAnswerError) as error:
            self._error = BrokenAnswerError(str(error))
            self.close()
            self._fail(self._error)

    def _check_progress(self) -> None:
        """Give the peer up if it has been silent too long; else look again when it may have been."""
        if self._making or (self._tap is not None and self._tap.resting):
            self._last_progress = self._loop.time()  # it has to be silent
        left = self._last_progress + self._silence_s - self._loop.time()
        if left > 0.001 and self._done is not None:
            self._alarm = self._loop.call_later(left, self._check_progress)
            return
        self._fail(TimeoutError(f"the server was silent for {self._silence_s:g} s"))
        self.close()

    def _stop_sending(self) -> None:
        if self._sending is not None and self._sending is not asyncio.current_task(self._loop):
            self._sending.cancel()

    def _quiet(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # -- parsing

    def _take(self) -> None:
        if self._done is None or self._done.done():
            raise BrokenAnswerError("bytes came that nobody asked for")
        if self._answer is None and not self._take_head():
            return
        if self._answer is None:
            return
        data = bytes(memoryview(self._small)[: self._filled])
        self._filled = 0
        if self._answer.head.chunked:
            assert self._parser is not None
            self._put(self._parser.parse_body(data))
            if self._parser.body_done:
                self._finish()
        else:
            self._put(data)
            self._count(len(data))
            self._start_sinking()

    def _take_head(self) -> bool:
        end = self._small.find(HEAD_END, 0, self._filled)
        if end < 0:
            if self._filled == len(self._small):
                raise BrokenAnswerError("the head of the answer is too long")
            return False
        head, self._parser = self._heads.read(bytes(self._small[: end + 4]))
        rest = self._small[end + 4 : self._filled]
        self._small[: len(rest)] = rest
        self._filled = len(rest)
        if head.status == 100:
            return self._take_head() if self._filled else False
        if head.body_length is not None and head.body_length > self._limit(head):
            raise BrokenAnswerError("the body of the answer is longer than what was asked for")
        self._answer = Answer(head)
        self._left = head.body_length
        return True

    def _limit(self, head: Head) -> int:
        if head.status == 206 and self._sink is not None:
            return len(self._sink)
        return self._body_max

    def _put(self, data: bytes) -> None:
        answer = self._answer
        assert answer is not None
        if answer.sunk + len(answer.body) + len(data) > self._limit(answer.head):
            raise BrokenAnswerError("the body of the answer is longer than what was asked for")
        if answer.head.status == 206 and self._sink is not None:
            self._sink[answer.sunk : answer.sunk + len(data)] = data
            answer.sunk += len(data)
        elif self._tap is not None and answer.head.status == 200:
            self._feed(self._tap, data)
            answer.sunk += len(data)
        else:
            answer.body += data

    def _feed(self, tap: AnswerTap, data: bytes) -> None:
        if not data:
            return
        tap.feed(data, self._go_on)
        if tap.resting and self._transport is not None:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        self._last_progress = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _start_sinking(self) -> None:
        """Let the rest of a known length go straight to the sink."""
        answer = self._answer
        if answer is not None and self._left and answer.head.status == 206 and self._sink is not None:
            self._sink = self._sink[: answer.sunk + self._left]
            self._sinking = True

    def _count(self, count: int) -> None:
        if self._left is None:
            return
        self._left -= count
        if self._left < 0:
            raise BrokenAnswerError("bytes came that nobody asked for")
        if self._left == 0:
            self._finish()

    def _finish(self) -> None:
        done, answer = self._done, self._answer
        assert answer is not None
        self._quiet()
        self._done = self._answer = self._sink = self._parser = None
        self._sinking = False
        self.reused = True
        if not answer.head.keep_alive and self._transport is not None:
            self._transport.close()
        if done is not None and not done.done():
            done.set_result(answer)

    def _fail(self, error: Exception) -> None:
        self._quiet()
        self._error = error
        self._sink = None
        self._sinking = False
        self._stop_sending()
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self._done = None
