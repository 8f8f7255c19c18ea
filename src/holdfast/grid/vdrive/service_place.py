"""One place of a virtual drive server, and the connections to it.

Source: docs/spec/vdrive.md, sections 4.3 and 8.1.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from holdfast.grid.cbor_service import CborService, Refuse
from holdfast.protocol.introducer_calls import authorization_value
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.vdrive_calls import Endpoint
from holdfast.protocol.vdrive_headers import Header
from holdfast.protocol.vdrive_refusals import decode_refusal

T = TypeVar("T")

CONNECTIONS_MAX = 10
WAITING_MAX = 256  # directories that are waited for at the same time


class ServicePlace:
    """Attributes:
    nurl: where it is.
    good: it answered when it was asked last.
    """

    def __init__(self, nurl: Nurl, context: ssl.SSLContext) -> None:
        self.nurl = nurl
        self.good = False
        authorization = authorization_value(nurl.swissnum)
        self._calls = CborService(nurl, authorization, context, connections_max=CONNECTIONS_MAX)
        # Whoever waits holds nobody up.
        self._waits = CborService(nurl, authorization, context, connections_max=WAITING_MAX)

    async def call(
        self,
        endpoint: Endpoint,
        target: str,
        decode: Callable[[bytes], T],
        *,
        body: bytes | None,
        shown: Sequence[Header],
        wait_s: float,
        silence_s: float,
        empty: T | None,
        refuse: Refuse,
    ) -> T:
        """Make a call; see ``CborService.call``."""
        return await (self._waits if wait_s else self._calls).call(
            endpoint.method,
            target,
            decode,
            body=body,
            answer_max=endpoint.answer_max,
            wait_s=wait_s,
            silence_s=silence_s,
            more_headers=shown,
            empty=empty,
            refuse=refuse,
        )

    def download(self, target: str, size_max: int) -> AsyncIterator[bytes]:
        """Yield a bundle; see ``CborService.download``."""
        return self._calls.download(target, decode_refusal, size_max)

    async def upload(
        self, target: str, data: AsyncIterator[bytes], decode: Callable[[bytes], T], shown: Sequence[Header]
    ) -> T:
        """Send a bundle; see ``CborService.upload``."""
        return await self._calls.upload(target, data, decode, decode_refusal, shown)

    def close(self) -> None:
        """End every connection at once."""
        self._calls.close()
        self._waits.close()
