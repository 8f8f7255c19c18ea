"""Connections of a client to one server: made when needed, checked against the
pinned key before a byte of a request is sent, kept alive, limited in number,
timed, and used again.

Source: docs/spec/storage-protocol.md, sections 3.3 and 4; docs/spec/grid.md, section 5.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from holdfast.wire.answer_tap import AnswerTap
from holdfast.wire.client_connection import WRITE_AHEAD, Answer, BrokenAnswerError, Buffer, ClientConnection
from holdfast.wire.heads import request_head
from holdfast.wire.pinning import WrongKeyError, check_pin
from holdfast.wire.streamed_body import StreamedBody

STAGGER_S = 0.25  # between attempts at several addresses of one server
FRESH_S = 2.0  # since something came over it, a kept connection is as good as a new one
SENT_BYTES_PER_S_MIN = 16 * 1024  # a request may take this much longer, by its size


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class ServerConnections:
    """All connections to one server, which may be reached at several addresses.

    Raises of its methods: ConnectionError and TimeoutError for a server that is gone or hung,
    BrokenAnswerError (a ConnectionError) for one that breaks HTTP, WrongKeyError for an impostor.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        pinned: str,
        context: ssl.SSLContext,
        *,
        connections_max: int = 10,
        connect_timeout_s: float = 5.0,
    ) -> None:
        self._addresses = list(addresses)  # the last good one first
        self._pinned = pinned
        self._context = context
        self._idle: list[ClientConnection] = []
        self._all: set[ClientConnection] = set()
        self._free = asyncio.Semaphore(connections_max)
        self._keeps = True
        self.when_lost: Callable[[], None] = _ignore  # called when the server ends an idle connection
        self._connect_timeout_s = connect_timeout_s

    async def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        pieces: Sequence[Buffer] | StreamedBody | None,
        *,
        silence_s: float,
        body_max: int,
        sink: memoryview | None = None,
        repeatable: bool = True,
        urgent: bool = False,
        tap: AnswerTap | None = None,
    ) -> Answer:
        """Send one request and return its answer.

        A kept connection may turn out dead. A repeatable request (section 14.4) is then sent once more
        on a fresh one; for any other one is made at once, unless something came over a kept one just now.

        Args:
            pieces: body in pieces, or made while it is sent; None for no body.
            silence_s: seconds without any progress after which the server counts as hung.
            body_max: bytes of body accepted.
            sink: destination of a 206 body.
            urgent: do not wait while all connections are busy, but make one more.
            tap: where the body of a 200 answer goes while it comes. Only for what is not repeatable.
        """
        async with nullcontext() if urgent else self._free:
            while True:
                connection = self._take_idle(fresh=not repeatable) or await self._connect()
                was_used = connection.reused
                try:
                    return await self._exchange(
                        connection, method, target, headers, pieces, silence_s, body_max, sink, tap
                    )
                except BrokenAnswerError:
                    raise
                except ConnectionError:
                    if not was_used or not repeatable:
                        raise

    @property
    def idle(self) -> int:
        """Return how many connections are open without a request."""
        return len(self._idle)

    def close_idle(self) -> None:
        """End the connections without a request."""
        for connection in self._idle:
            connection.close()
            self._all.discard(connection)
        self._idle.clear()

    def retire(self) -> None:
        """Keep no connection from now on: each request ends its own."""
        self._keeps = False
        self.close_idle()

    def close(self) -> None:
        """End every connection at once."""
        for connection in list(self._all):
            connection.close()
        self._all.clear()
        self._idle.clear()

    def _take_idle(self, *, fresh: bool) -> ClientConnection | None:
        """Return the kept connection that was used last; None if there is none, or none ``fresh``."""
        while self._idle:
            if fresh and self._idle[-1].quiet_s > FRESH_S:
                return None
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._all.discard(connection)
        return None

    def _lost(self, connection: ClientConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._all.discard(connection)
            self.when_lost()

    async def _exchange(
        self,
        connection: ClientConnection,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        pieces: Sequence[Buffer] | StreamedBody | None,
        silence_s: float,
        body_max: int,
        sink: memoryview | None,
        tap: AnswerTap | None,
    ) -> Answer:
        length = _length(pieces)
        chunked = pieces is not None and length is None
        host = self._addresses[0].host_header
        head = request_head(method, target, headers, host, length, chunked=chunked)
        kept = False
        try:
            if isinstance(pieces, Sequence) or length is None:
                allowance_s = silence_s + (length or 0) / SENT_BYTES_PER_S_MIN
            else:  # it can be seen how it is taken
                silence_s += min(length, WRITE_AHEAD) / SENT_BYTES_PER_S_MIN
                allowance_s = silence_s
            answer = await connection.send(head, pieces or (), body_max, sink, silence_s, allowance_s, tap)
            kept = connection.usable
            return answer
        finally:
            if kept and self._keeps:
                self._idle.append(connection)
            else:
                connection.close()
                self._all.discard(connection)

    async def _connect(self) -> ClientConnection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._first_of_addresses()
        except TimeoutError:
            raise TimeoutError(f"no connection within {self._connect_timeout_s:g} s") from None
        self._all.add(connection)
        return connection

    async def _first_of_addresses(self) -> ClientConnection:
        """Try the addresses a little apart; take the first that answers with the right key."""
        if len(self._addresses) == 1:
            return await self._connect_to(self._addresses[0])
        attempts: dict[asyncio.Task[ClientConnection], Address] = {}
        left = list(self._addresses)
        errors: list[BaseException] = []
        try:
            while left or attempts:
                if left:
                    address = left.pop(0)
                    attempts[asyncio.create_task(self._connect_to(address))] = address
                done, _ = await asyncio.wait(
                    attempts, timeout=STAGGER_S if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    address = attempts.pop(task)
                    error = task.exception()
                    if error is None:
                        self._addresses.remove(address)
                        self._addresses.insert(0, address)
                        return task.result()
                    errors.append(error)
        finally:
            for task in attempts:
                task.cancel()
            for result in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(result, ClientConnection):
                    result.close()
        raise _most_telling(errors)

    async def _connect_to(self, address: Address) -> ClientConnection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: ClientConnection(self._lost),
                address.host,
                address.port,
                ssl=self._context,
                server_hostname="",
                ssl_handshake_timeout=self._connect_timeout_s,
                ssl_shutdown_timeout=1,
            )
        except ssl.SSLError as error:
            raise ConnectionError(f"TLS failed: {error.reason}") from error
        except socket.gaierror as error:
            raise ConnectionError(f"the name {address.host} cannot be resolved") from error
        except UnicodeError as error:
            raise ConnectionError("its address is no name of a host") from error
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ConnectionError(reason) from error
        try:
            check_pin(connection.peer_certificate(), self._pinned)
        except WrongKeyError:
            connection.close()
            raise
        return connection


def _length(pieces: Sequence[Buffer] | StreamedBody | None) -> int | None:
    if pieces is None:
        return None
    return sum(map(len, pieces)) if isinstance(pieces, Sequence) else pieces.length


def _ignore() -> None:
    """Do nothing."""


def _most_telling(errors: list[BaseException]) -> BaseException:
    """Return an impostor before anything else."""
    return next((e for e in errors if isinstance(e, WrongKeyError)), errors[0])
