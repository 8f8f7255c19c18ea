"""The network side of a virtual drive server: a request becomes a call of the engine, its outcome a status.

Every request is counted by its address before anything else is looked at, and then has to show the secret
of the service, which is compared in constant time. Secrets of single calls come in headers, and nothing
that a header says is repeated in an answer or logged.

Source: docs/spec/vdrive.md, sections 8, 12.1, 13 and 14.4.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

from holdfast.formats.vdrive.head import head_hash
from holdfast.interfaces.vdrive import DIRECTORIES_MAX
from holdfast.interfaces.vdrive_errors import (
    BadWriteEnablerError,
    HeadConflictError,
    MalformedVdriveRequestError,
    NoSuchVdriveCallError,
    NotAuthorisedToCreateError,
    NotCborError,
    VdriveRefusalError,
    VdriveTooLargeError,
    VdriveUnauthorizedError,
)
from holdfast.protocol import vdrive_calls as calls
from holdfast.protocol import vdrive_commit_messages as commit_messages
from holdfast.protocol import vdrive_headers as headers
from holdfast.protocol import vdrive_queries as queries
from holdfast.protocol import vdrive_reading_messages as reading_messages
from holdfast.protocol import vdrive_service_messages as service_messages
from holdfast.protocol.introducer_calls import presented_swissnum
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_calls import Endpoint, Match
from holdfast.protocol.vdrive_items import MessageLimitError
from holdfast.protocol.vdrive_refusals import NO_SUCH_CHILD_STATUS, encode_absence, encode_refusal
from holdfast.servers.limits import Place
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.servers.vdrive.limits import RequestLimits
from holdfast.wire.http import BodyTooLargeError, Handler, Request, Response

HEADERS = (("Content-Type", calls.MEDIA_TYPE), ("Cache-Control", "no-store"))
BODIES_MAX = 16  # of at most 8 MiB each, in memory at once
SMALL_BODY = 64 * 1024  # bytes; these do not count
BODY_S = 60.0  # for receiving one
HERE_MAX = 16 * 1024  # bytes of a body whose decoding holds up nobody else
ENTRIES_HERE_MAX = 50  # of an answer whose encoding holds up nobody else
BIG_PAGE = 1000  # entries

T = TypeVar("T")


def vdrive_handler(engine: VdriveEngine, swissnum: str) -> Handler:
    """Return what answers the requests for ``engine``. Whoever knows ``swissnum`` may ask."""
    return _Handler(engine, swissnum).answer


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that may be answered, and what it names."""

    request: Request
    endpoint: Endpoint
    match: Match
    address: str | None

    @property
    def index(self) -> bytes:
        return self.match.index

    def lease_secret(self) -> bytes:
        return headers.presented_lease_secret(self.request.headers)


class _Handler:
    def __init__(self, engine: VdriveEngine, swissnum: str) -> None:
        self._engine = engine
        self._swissnum = _digest(swissnum)
        self._limits = RequestLimits(engine.settings, engine.clock)
        self._bodies = asyncio.Semaphore(BODIES_MAX)
        self._calls: dict[str, Callable[[_Call], Awaitable[Response]]] = {
            calls.VERSION.name: self.version,
            calls.ROOT.name: self.root,
            calls.COMMIT.name: self.commit,
            calls.DESCRIBE.name: self.describe,
            calls.CHILD.name: self.child,
            calls.CONTEXT.name: self.context,
            calls.LIST.name: self.page,
            calls.HEADS.name: self.heads,
            calls.WAIT.name: self.wait,
            calls.CHANGES.name: self.changes,
            calls.TURN.name: self.turn,
            calls.ENROL.name: self.enrol,
            calls.EXPORT.name: self.export,
            calls.IMPORT.name: self.import_,
            calls.RENEW_LEASE.name: self.renew_lease,
            calls.CANCEL_LEASE.name: self.cancel_lease,
            calls.LEASE_INFO.name: self.lease_info,
            calls.ACCOUNT.name: self.account,
        }

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        address: str | None = None
        try:
            address = self._limits.count(request.peer)
            self._authorise(request)
            call = _called(request, address)
            return await self._calls[call.endpoint.name](call)
        except BodyTooLargeError:
            return _refused(VdriveTooLargeError("the body is too long"))
        except MessageLimitError as error:
            return _refused(VdriveTooLargeError(str(error)))
        except MalformedMessageError as error:
            return _refused(MalformedVdriveRequestError(str(error)))
        except VdriveRefusalError as refusal:
            self._limits.refused(address, refusal)
            if isinstance(refusal, HeadConflictError):  # it may hold thousands of entries
                return await asyncio.to_thread(_refused, refusal)
            return _refused(refusal)

    def _authorise(self, request: Request) -> None:
        # Digests of one length, so that the time says nothing of the length of a secret either.
        shown = _digest(presented_swissnum(request.header("authorization")) or "")
        if not hmac.compare_digest(shown, self._swissnum):
            raise VdriveUnauthorizedError("the secret shown is not that of this server")

    # -- the service

    async def version(self, call: _Call) -> Response:
        return _answer(service_messages.encode_version(await self._engine.version()))

    async def root(self, call: _Call) -> Response:
        return _answer(service_messages.encode_root(await self._engine.public_root()))

    async def account(self, call: _Call) -> Response:
        token = headers.presented_account(call.request.headers)
        if token is None:
            raise NotAuthorisedToCreateError("there is no account without its token")
        return _answer(service_messages.encode_account(await self._engine.account(token)))

    # -- changes

    async def commit(self, call: _Call) -> Response:
        authority = headers.presented_authority(call.request.headers)
        length = call.request.body.length
        async with self._bodies if length is None or length > SMALL_BODY else nullcontext():
            request = await _message(call, commit_messages.decode_commit_request)
            answer = await self._engine.commit(request, authority)
        return _answer(commit_messages.encode_commit_answer(answer))

    async def turn(self, call: _Call) -> Response:
        """Give out a turn, of all directories whose enablers are shown; but not to a client that has gone."""
        task = asyncio.current_task()
        assert task is not None
        call.request.when_gone(task.cancel)
        _enabler(call, call.index)
        enablers = headers.presented_enablers(call.request.headers)
        if len(enablers) > DIRECTORIES_MAX:
            raise VdriveTooLargeError(f"a turn is of at most {DIRECTORIES_MAX} directories")
        turn = await self._engine.turn(enablers)
        return _answer(commit_messages.encode_turn_answer(turn))

    async def enrol(self, call: _Call) -> Response:
        enabler = _enabler(call, call.index)
        proof = await _message(call, commit_messages.decode_enrol_request)
        await self._engine.enrol(call.index, enabler, proof)
        return _done()

    # -- reading

    async def describe(self, call: _Call) -> Response:
        info = await self._engine.describe(call.index)
        current = head_hash(info.head.head)
        tag = ("ETag", headers.entity_tag(current))
        if headers.names_head(call.request.header("if-none-match"), current):
            return Response(304, (*HEADERS[1:], tag))
        return Response(200, (*HEADERS, tag), reading_messages.encode_directory(info))

    async def child(self, call: _Call) -> Response:
        found = await self._engine.child(call.index, call.match.slot)
        if not found.entries:
            return Response(NO_SUCH_CHILD_STATUS, HEADERS, encode_absence(found))
        return _answer(reading_messages.encode_child(found))

    async def context(self, call: _Call) -> Response:
        slots = await _message(call, reading_messages.decode_context_request)
        context = await self._engine.context(call.index, slots)
        return _answer(await _encoded(reading_messages.encode_context, context, len(context.entries)))

    async def page(self, call: _Call) -> Response:
        query = queries.parse_page_query(call.request.query)
        place = self._limits.big_answer(call.address) if query.limit > BIG_PAGE else None
        try:
            page = await self._engine.page(
                call.index, at=query.at, after=query.after, limit=query.limit, names_only=query.names_only
            )
            return _answer(await _encoded(reading_messages.encode_page, page, len(page.entries)))
        finally:
            if place is not None:
                place.leave()

    async def heads(self, call: _Call) -> Response:
        query = queries.parse_heads_query(call.request.query)
        return _answer(
            reading_messages.encode_heads(await self._engine.heads(call.index, query.first, query.last))
        )

    async def changes(self, call: _Call) -> Response:
        query = queries.parse_changes_query(call.request.query)
        place = self._limits.big_answer(call.address) if query.limit > BIG_PAGE else None
        try:
            changes = await self._engine.changes(
                call.index, query.since, at=query.at, after=query.after, limit=query.limit
            )
            return _answer(await _encoded(reading_messages.encode_changes, changes, len(changes.entries)))
        finally:
            if place is not None:
                place.leave()

    async def wait(self, call: _Call) -> Response:
        """Wait for a new version, in one of so many places, and no longer than the client stays."""
        query = queries.parse_wait_query(call.request.query)
        place = self._limits.poll(call.address)
        task = asyncio.current_task()
        assert task is not None
        call.request.when_gone(task.cancel)
        try:
            head = await self._engine.wait(call.index, query.version, query.timeout_s)
        finally:
            place.leave()
        return _done() if head is None else _answer(reading_messages.encode_wait_answer(head))

    # -- leases

    async def renew_lease(self, call: _Call) -> Response:
        secret = call.lease_secret()
        seconds = await _message(call, service_messages.decode_lease_request)
        expires = await self._engine.renew_lease(call.match.refresh_id, secret, seconds)
        return _answer(service_messages.encode_lease_answer(expires))

    async def cancel_lease(self, call: _Call) -> Response:
        await self._engine.cancel_lease(call.match.refresh_id, call.lease_secret())
        return _done()

    async def lease_info(self, call: _Call) -> Response:
        info = await self._engine.lease_info(call.match.refresh_id, call.lease_secret())
        return _answer(service_messages.encode_lease_info(info))

    # -- bundles

    async def export(self, call: _Call) -> Response:
        place = self._limits.big_answer(call.address)
        bundle = self._engine.export(call.index)
        try:
            first = await anext(bundle)  # a refusal is an answer, and not the end of one
        except BaseException:
            place.leave()
            raise
        return Response(200, HEADERS, _held(place, first, bundle))

    async def import_(self, call: _Call) -> Response:
        _check_media_type(call.request)
        proofs = headers.presented_proofs(call.request.headers)
        if len(proofs) != 1:
            raise MalformedVdriveRequestError("an import is of one directory, which the proof names")
        ((index, proof),) = proofs.items()
        enabler = _enabler(call, index)
        account = headers.presented_account(call.request.headers)
        place = self._limits.big_answer(call.address)
        try:
            body = _limited(call.request, calls.IMPORT.body_max)
            committed = await self._engine.import_bundle(index, body, enabler, proof, account)
        finally:
            place.leave()
        return _answer(commit_messages.encode_import_answer(committed))


def _called(request: Request, address: str | None) -> _Call:
    match = calls.match_path(request.path)
    endpoint = None if match is None else match.endpoints.get(request.method)
    if match is None or endpoint is None:
        raise NoSuchVdriveCallError("there is no such call")
    if not endpoint.body_max and request.body.length != 0:
        raise MalformedVdriveRequestError("this call takes no body")
    if endpoint.name not in _WITH_QUERY and request.query:
        raise MalformedVdriveRequestError("this call takes no query")
    return _Call(request, endpoint, match, address)


_WITH_QUERY = {endpoint.name for endpoint in (calls.LIST, calls.HEADS, calls.WAIT, calls.CHANGES)}


async def _message(call: _Call, decode: Callable[[bytes], T]) -> T:
    """Return the body of a request, decoded."""
    _check_media_type(call.request)
    try:
        async with asyncio.timeout(BODY_S):
            body = await call.request.body.read(call.endpoint.body_max)
    except TimeoutError:
        raise MalformedVdriveRequestError(f"the body did not come within {BODY_S:g} s") from None
    if len(body) <= HERE_MAX:
        return decode(body)
    return await asyncio.to_thread(decode, body)


async def _encoded(encode: Callable[[T], bytes], answer: T, entries: int) -> bytes:
    if entries <= ENTRIES_HERE_MAX:
        return encode(answer)
    return await asyncio.to_thread(encode, answer)


def _check_media_type(request: Request) -> None:
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != calls.MEDIA_TYPE:
        raise NotCborError(f"the body has to be {calls.MEDIA_TYPE}")


def _enabler(call: _Call, index: bytes) -> bytes:
    """Return the write enabler that is shown for the one directory of a call."""
    shown = headers.presented_enablers(call.request.headers)
    if index not in shown:
        raise BadWriteEnablerError("the write enabler of the directory is missing")
    return shown[index]


async def _limited(request: Request, size_max: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in request.body.chunks():
        size += len(chunk)
        if size > size_max:
            raise VdriveTooLargeError(f"a bundle has at most {size_max} bytes")
        yield bytes(chunk)


async def _held(place: Place, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        place.leave()


def _answer(body: bytes) -> Response:
    return Response(200, HEADERS, body)


def _done() -> Response:
    return Response(204, HEADERS[1:])


def _refused(refusal: VdriveRefusalError) -> Response:
    """Return the answer to a refused request."""
    wait_s = math.ceil(refusal.retry_after_s)
    again = (("Retry-After", str(wait_s)),) if wait_s > 0 else ()
    return Response(refusal.status, (*HEADERS, *again), encode_refusal(refusal))


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
