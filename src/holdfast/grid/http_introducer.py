"""An introducer, spoken to over pinned HTTPS.

Source: docs/spec/control-and-introducer.md, sections 3.3 and 3.5.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Sequence

from holdfast.errors import ServerError
from holdfast.grid.cbor_service import CborService
from holdfast.interfaces.introducer import (
    ANNOUNCEMENTS_PER_PAGE,
    WAIT_MAX_S,
    AnnouncementPage,
    IntroducerVersion,
    PublishResult,
    SignedBytes,
)
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.nurl import Nurl
from holdfast.wire.pinning import pinning_ssl_context


class HttpIntroducer:
    """Implements ``interfaces.introducer.Introducer``. Close it after use.

    A call that waits has a connection of its own, so that it holds nothing else up.

    Every method raises ServerError for an introducer that is gone, hung, breaks the protocol or
    refuses (``cbor_service.RefusedCallError``), WrongServerKeyError for one with another TLS key.
    """

    def __init__(self, nurl: Nurl, context: ssl.SSLContext | None = None) -> None:
        """``context`` is what ``pinning_ssl_context`` gives; several introducers may share one."""
        context = context or pinning_ssl_context()
        authorization = calls.authorization_value(nurl.swissnum)
        self._calls = CborService(nurl, authorization, context)
        self._polls = CborService(nurl, authorization, context, connections_max=1)

    async def version(self) -> IntroducerVersion:
        return await self._calls.call("GET", calls.VERSION_PATH, messages.decode_version)

    async def publish(self, announcements: Sequence[SignedBytes]) -> list[PublishResult]:
        results = await self._calls.call(
            "POST",
            calls.PUBLISH_PATH,
            messages.decode_publish_answer,
            body=messages.encode_publish_request(announcements),
            answer_max=calls.PUBLISH_ANSWER_MAX,
        )
        if len(results) != len(announcements):
            raise ServerError("its answer is malformed: results are missing, or there are too many")
        return results

    async def announcements(
        self,
        services: Collection[str],
        since: int,
        epoch: bytes,
        *,
        wait_s: float,
        limit: int = ANNOUNCEMENTS_PER_PAGE,
    ) -> AnnouncementPage:
        wait_s = min(wait_s, WAIT_MAX_S)
        query = calls.announcements_query(services, since, epoch, wait_s, limit)
        return await (self._polls if wait_s else self._calls).call(
            "GET",
            f"{calls.ANNOUNCEMENTS_PATH}?{query}",
            messages.decode_page,
            answer_max=calls.PAGE_MAX,
            wait_s=wait_s,
        )

    async def own(self, verify_key: bytes) -> list[SignedBytes]:
        target = f"{calls.OWN_PATH}?{calls.own_query(verify_key)}"
        return await self._calls.call("GET", target, messages.decode_own, answer_max=calls.OWN_ANSWER_MAX)

    def close(self) -> None:
        """End every connection at once."""
        self._calls.close()
        self._polls.close()
