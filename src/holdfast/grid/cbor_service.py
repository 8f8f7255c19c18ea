"""A service spoken to in CBOR over pinned HTTPS: one call, its time limits, and what its failures are called.

What a peer sends is bounded in size and time. Errors never repeat what it wrote, which may
hold the secret of the NURL.

Source: docs/spec/control-and-introducer.md, sections 3.3 and 3.10.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.protocol.nurl import Nurl
from holdfast.wire.answer_tap import AnswerTap
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.client_connection import Answer, BrokenAnswerError
from holdfast.wire.pinning import WrongKeyError, pinning_ssl_context
from holdfast.wire.streamed_body import ChunkedBody

T = TypeVar("T")

CALL_S = 30.0  # for a whole call that is not meant to wait
SILENCE_S = 15.0  # without a sign of life
TRANSFER_S = 60.0  # for the bytes of an answer, beyond the time the server may wait
ANSWER_MAX = 64 * 1024  # bytes of an ordinary answer
DECODED_AT_ONCE = 16 * 1024  # bytes decoded without a thread
RETRY_AFTER_MAX_S = 300.0
_MEDIA_TYPE = "application/cbor"

_REFUSALS = {
    400: "it found the request malformed",
    401: "it does not accept our permission; the NURL may have been replaced",
    403: "our permission does not allow this",
    404: "it knows nothing of this",
    413: "the request is too large for it",
    429: "it has too many requests",
    503: "it is not ready yet",
    507: "it is full",
}


class RefusedCallError(ServerError):
    """The service answered that it does not do this.

    Attributes:
        status: of HTTP.
        retry_after_s: seconds the service asks us to wait; 0 if it says nothing.
    """

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(_REFUSALS.get(status, f"it failed with status {status}"))
        self.status = status
        self.retry_after_s = retry_after_s


Refuse = Callable[[int, bytes, float], Exception]
"""From status, body and seconds to wait to the error that a refusal is; raises ValueError for nonsense."""


class CborService:
    """One service at the place a NURL names.

    Raises of its calls: WrongServerKeyError for an impostor, RefusedCallError (or what ``refuse`` makes of a
    refusal), and ServerError for everything else that keeps it from answering.
    """

    def __init__(
        self,
        nurl: Nurl,
        authorization: str,
        context: ssl.SSLContext | None = None,
        *,
        connections_max: int = 2,
    ) -> None:
        self._authorization = ("Authorization", authorization)
        self._connections = ServerConnections(
            [Address(nurl.host, nurl.port)],
            nurl.spki_hash,
            context or pinning_ssl_context(),
            connections_max=connections_max,
        )

    async def call(
        self,
        method: str,
        target: str,
        decode: Callable[[bytes], T],
        *,
        body: bytes | None = None,
        answer_max: int = ANSWER_MAX,
        wait_s: float = 0.0,
        silence_s: float = SILENCE_S,
        more_headers: Sequence[tuple[str, str]] = (),
        empty: T | None = None,
        refuse: Refuse | None = None,
    ) -> T:
        """Send one request and return its decoded answer.

        Args:
            decode: raises ValueError for nonsense.
            wait_s: how long the service was asked to hold the request.
            silence_s: after which, beyond that, it counts as hung.
            empty: what an answer without content (204) means; None if it means nothing.
            refuse: None for services whose refusals have no body.
        """
        headers = [self._authorization, ("Accept", _MEDIA_TYPE), *more_headers]
        if body is not None:
            headers.append(("Content-Type", _MEDIA_TYPE))
        try:
            # A peer that sends a byte now and then is never silent, hence the second limit.
            async with asyncio.timeout(wait_s + (TRANSFER_S if wait_s else CALL_S)):
                answer = await self._connections.request(
                    method,
                    target,
                    headers,
                    None if body is None else [body],
                    silence_s=wait_s + silence_s,
                    body_max=answer_max,
                )
        except (WrongKeyError, TimeoutError, ConnectionError) as error:
            raise _failure(error) from None
        if answer.head.status == HTTPStatus.NO_CONTENT and empty is not None:
            return empty
        if answer.head.status != HTTPStatus.OK:
            raise await _refusal(answer, refuse)
        return await _decoded(answer, decode)

    async def download(self, target: str, refuse: Refuse, size_max: int) -> AsyncIterator[bytes]:
        """Yield the body of an answer while it comes, however long that takes, if the service stays alive.

        Raises: as ``call``; in the middle, too.
        """
        tap = AnswerTap()
        request = asyncio.ensure_future(
            self._connections.request(
                "GET",
                target,
                [self._authorization],
                None,
                silence_s=SILENCE_S,
                body_max=size_max,
                repeatable=False,
                tap=tap,
            )
        )
        try:
            async for piece in tap.pieces(request):
                yield piece
            answer = await request
        except (WrongKeyError, TimeoutError, ConnectionError) as error:
            raise _failure(error) from None
        finally:
            request.cancel()
        if answer.head.status != HTTPStatus.OK:
            raise await _refusal(answer, refuse)

    async def upload(
        self,
        target: str,
        data: AsyncIterator[bytes],
        decode: Callable[[bytes], T],
        refuse: Refuse,
        more_headers: Sequence[tuple[str, str]],
    ) -> T:
        """Send a body of unknown length while it is made, once, and return the decoded answer."""
        headers = [self._authorization, ("Accept", _MEDIA_TYPE), ("Content-Type", _MEDIA_TYPE), *more_headers]
        try:
            answer = await self._connections.request(
                "POST",
                target,
                headers,
                ChunkedBody(data),
                silence_s=TRANSFER_S,
                body_max=ANSWER_MAX,
                repeatable=False,
            )
        except (WrongKeyError, TimeoutError, ConnectionError) as error:
            raise _failure(error) from None
        if answer.head.status != HTTPStatus.OK:
            raise await _refusal(answer, refuse)
        return await _decoded(answer, decode)

    def close(self) -> None:
        """End every connection at once."""
        self._connections.close()


async def _refusal(answer: Answer, refuse: Refuse | None) -> Exception:
    status, retry_after_s = answer.head.status, _retry_after(answer)
    if refuse is None or not answer.body:
        return RefusedCallError(status, retry_after_s)
    return await _decoded(answer, lambda body: refuse(status, body, retry_after_s))


async def _decoded(answer: Answer, decode: Callable[[bytes], T]) -> T:
    media_type = (answer.head.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise ServerError("it answered with something else than CBOR")
    try:
        if len(answer.body) <= DECODED_AT_ONCE:
            return decode(bytes(answer.body))
        return await asyncio.to_thread(decode, bytes(answer.body))
    except ValueError:
        raise ServerError("its answer is malformed") from None


def _failure(error: Exception) -> ServerError:
    if isinstance(error, WrongKeyError):
        seen = error.seen or "none"
        return WrongServerKeyError(f"it presented another TLS key ({seen}); nothing was sent to it")
    if isinstance(error, TimeoutError):
        return ServerError(f"it is hung: {error}" if str(error) else "it is hung: no answer in time")
    if isinstance(error, BrokenAnswerError):
        return ServerError("it broke the protocol")
    return ServerError(f"it cannot be reached: {error}")


def _retry_after(answer: Answer) -> float:
    text = answer.head.header("retry-after") or ""
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else 0.0
