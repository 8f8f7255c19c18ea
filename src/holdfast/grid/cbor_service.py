"""A service spoken to in CBOR over pinned HTTPS: one call, its time limits, and what its failures are called.

What a peer sends is bounded in size and time. Errors never repeat what it wrote, which may
hold the secret of the NURL.

Source: docs/spec/control-and-introducer.md, sections 3.3 and 3.10.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.protocol.nurl import Nurl
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.client_connection import Answer, BrokenAnswerError
from holdfast.wire.pinning import WrongKeyError, pinning_ssl_context

T = TypeVar("T")

CALL_S = 30.0  # for a whole call that is not meant to wait
SILENCE_S = 15.0  # without a sign of life
TRANSFER_S = 60.0  # for the bytes of an answer, beyond the time the server may wait
ANSWER_MAX = 64 * 1024  # bytes of an ordinary answer
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


class CborService:
    """One service at the place a NURL names.

    Raises of its calls: WrongServerKeyError for an impostor, RefusedCallError, and ServerError for
    everything else that keeps it from answering.
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
    ) -> T:
        """Send one request and return its decoded answer.

        Args:
            decode: raises ValueError for nonsense.
            wait_s: how long the service was asked to hold the request.
        """
        headers = [self._authorization, ("Accept", _MEDIA_TYPE)]
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
                    silence_s=wait_s + SILENCE_S,
                    body_max=answer_max,
                )
        except (WrongKeyError, TimeoutError, ConnectionError) as error:
            raise _failure(error) from None
        if answer.head.status != 200:
            raise RefusedCallError(answer.head.status, _retry_after(answer))
        return _decoded(answer, decode)

    def close(self) -> None:
        """End every connection at once."""
        self._connections.close()


def _decoded(answer: Answer, decode: Callable[[bytes], T]) -> T:
    media_type = (answer.head.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise ServerError("it answered with something else than CBOR")
    try:
        return decode(bytes(answer.body))
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
