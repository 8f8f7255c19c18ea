"""The network side of the introducer: a request becomes a call of the engine, its outcome a status.

Every request is counted by its address before anything else is looked at. The secret it shows is
compared in constant time, and says what it may do.

Source: docs/spec/control-and-introducer.md, sections 3.3, 3.5, 3.9 and 3.10.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable

from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.invitation import REDEEM_PATH, Welcome, encode_welcome, presented_secret
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.servers.introducer.engine import IntroducerEngine
from holdfast.servers.introducer.invitations import StoredInvitation
from holdfast.servers.introducer.refusals import (
    IntroducerRefusalError,
    MalformedError,
    MethodNotAllowedError,
    NotFoundError,
    PublishNotAllowedError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    WrongMediaTypeError,
)
from holdfast.servers.limits import Places, TokenBuckets, address_key
from holdfast.wire.http import BodyTooLargeError, Handler, Request, Response

CBOR = "application/cbor"
HEADERS = (("Content-Type", CBOR), ("Cache-Control", "no-store"))
PUBLISHING_MAX = 64  # requests whose bodies, of at most 256 KiB, are in memory at once
BODY_S = 20.0  # for receiving one
DECODED_HERE_MAX = 16 * 1024  # bytes of a body whose decoding holds up nobody else
POLL_RETRY_S = 30.0  # for those who find no place to wait

WelcomeOf = Callable[[StoredInvitation], Welcome]


def introducer_handler(
    engine: IntroducerEngine, publish_swissnum: str, subscribe_swissnum: str, welcome: WelcomeOf
) -> Handler:
    """Return what answers the requests for ``engine``.

    Args:
        publish_swissnum: allows to announce and to read.
        subscribe_swissnum: allows to read.
        welcome: what to tell whoever redeems an invitation. It may block: it is called in a thread.
    """
    return _Handler(engine, publish_swissnum, subscribe_swissnum, welcome).answer


class _Handler:
    def __init__(
        self, engine: IntroducerEngine, publish_swissnum: str, subscribe_swissnum: str, welcome: WelcomeOf
    ) -> None:
        settings = engine.settings
        self._engine = engine
        self._publish = _digest(publish_swissnum)
        self._subscribe = _digest(subscribe_swissnum)
        self._welcome = welcome
        self._limit_loopback = settings.limit_loopback
        self._requests = TokenBuckets(1 / settings.requests_per_s, settings.requests_burst, engine.clock)
        self._polls = Places(settings.polls_max, settings.polls_per_address)
        self._publishing = asyncio.Semaphore(PUBLISHING_MAX)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            address = self._count(request)
            method, call = self._call(request)
            if request.method != method:
                raise MethodNotAllowedError(method)
            return Response(200, HEADERS, await call(request, address))
        except BodyTooLargeError:
            return refused(TooLargeError(f"more than {calls.BODY_MAX} bytes"))
        except IntroducerRefusalError as refusal:
            return refused(refusal)

    def _count(self, request: Request) -> str | None:
        address = address_key(request.peer, limit_loopback=self._limit_loopback)
        if address is not None:
            wait_s = self._requests.take(address)
            if wait_s > 0:
                raise TooManyRequestsError("too many requests", wait_s)
        return address

    def _call(self, request: Request) -> tuple[str, _Call]:
        """Return the method that the path takes, and what answers; the right to it is checked."""
        if request.path == REDEEM_PATH:
            return "POST", self.redeem
        # Digests of one length, so that the time says nothing of the length of a secret either.
        shown = _digest(calls.presented_swissnum(request.header("authorization")) or "")
        may_publish = hmac.compare_digest(shown, self._publish)
        if not hmac.compare_digest(shown, self._subscribe) and not may_publish:
            raise UnauthorizedError("the secret shown is not one of this introducer")
        found = {
            calls.VERSION_PATH: ("GET", self.version),
            calls.PUBLISH_PATH: ("POST", self.publish),
            calls.ANNOUNCEMENTS_PATH: ("GET", self.announcements),
            calls.OWN_PATH: ("GET", self.own),
        }.get(request.path)
        if found is None:
            raise NotFoundError("there is no such call")
        if request.path == calls.PUBLISH_PATH and not may_publish:
            raise PublishNotAllowedError("this secret allows reading alone")
        return found

    async def version(self, request: Request, address: str | None) -> bytes:
        return messages.encode_version(await self._engine.version())

    async def publish(self, request: Request, address: str | None) -> bytes:
        _check_body(request)
        async with self._publishing:
            try:
                async with asyncio.timeout(BODY_S):
                    body = await request.body.read(calls.BODY_MAX)
                if len(body) <= DECODED_HERE_MAX:
                    announcements = messages.decode_publish_request(body)
                else:
                    announcements = await asyncio.to_thread(messages.decode_publish_request, body)
            except TimeoutError:
                raise MalformedError(f"the body did not come within {BODY_S:g} s") from None
            except MalformedMessageError as error:
                raise MalformedError(str(error)) from None
            return messages.encode_publish_answer(
                await self._engine.publish_from(request.peer, address, announcements)
            )

    async def announcements(self, request: Request, address: str | None) -> bytes:
        try:
            query = calls.parse_announcements_query(request.query)
        except ValueError:
            raise MalformedError("the query is none for announcements") from None
        page, may_grow = self._engine.page_now(query.services, query.since, query.epoch, query.limit)
        if query.wait_s > 0 and may_grow:
            await self._wait(request, address, query)
            page, _ = self._engine.page_now(query.services, query.since, query.epoch, query.limit)
        return page.encoded

    async def _wait(self, request: Request, address: str | None, query: calls.AnnouncementsQuery) -> None:
        """Wait for news, in a place of which there are so many, and no longer than the client stays."""
        place = self._polls.take(address)
        if place is None:
            raise TooManyRequestsError("too many wait for news", POLL_RETRY_S)
        task = asyncio.current_task()
        assert task is not None
        request.when_gone(task.cancel)
        try:
            await self._engine.wait_for_news(query.services, query.wait_s)
        finally:
            place.leave()

    async def own(self, request: Request, address: str | None) -> bytes:
        try:
            verify_key = calls.parse_own_query(request.query)
        except ValueError:
            raise MalformedError("the query is not a key and nothing else") from None
        return messages.encode_own(await self._engine.own(verify_key))

    async def redeem(self, request: Request, address: str | None) -> bytes:
        secret = presented_secret(request.header("authorization"))
        invitation = None if secret is None else await self._engine.redeem(secret)
        if invitation is None:
            raise UnauthorizedError("this invitation is unknown, expired or was used already")
        return encode_welcome(await asyncio.to_thread(self._welcome, invitation))


_Call = Callable[[Request, str | None], Awaitable[bytes]]


def refused(refusal: IntroducerRefusalError) -> Response:
    """Return the answer to a refused request."""
    body = messages.encode_error(refusal.code, str(refusal))
    return Response(refusal.status, (*HEADERS, *refusal.headers), body)


def _check_body(request: Request) -> None:
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != CBOR:
        raise WrongMediaTypeError(f"the body has to be {CBOR}")
    if (request.body.length or 0) > calls.BODY_MAX:
        raise TooLargeError(f"more than {calls.BODY_MAX} bytes")


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
