"""The network side of the storage server: a request becomes a call of the engine, its
outcome a status.

The order of the checks is that of docs/spec/storage-protocol.md, section 5.3; the table of requests and
answers is section 15.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from holdfast.interfaces.storage import LeaseSecrets
from holdfast.interfaces.storage_errors import BadRequestError, StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_calls as calls
from holdfast.protocol import storage_messages as messages
from holdfast.servers.storage.catalog import Kind
from holdfast.servers.storage.engine import StorageEngine
from holdfast.servers.storage.extensions import extension_response
from holdfast.servers.storage.large_messages import (
    IN_MEMORY_MAX,
    Vectors,
    needs_little,
    received,
    to_send,
    vectors_in,
)
from holdfast.servers.storage.negotiation import CBOR, accepts_cbor, is_cbor, requested_range, sent_range
from holdfast.servers.storage.scratch import ScratchFile
from holdfast.wire.http import BodyTooLargeError, FileRange, Handler, Request, RequestBody, Response

log = logging.getLogger(__name__)

CBOR_HEADERS = (("Content-Type", CBOR),)
DATA_HEADERS = (("Content-Type", "application/octet-stream"),)
TEXT_HEADERS = (("Content-Type", "text/plain; charset=utf-8"),)

LARGE_WAITING_MAX = 64  # large messages being received, or waiting to be looked at

Secrets = dict[str, bytes]
_Call = Callable[["_Handler", Request, calls.Match, Secrets], Awaitable[Response]]


def storage_handler(engine: StorageEngine, swissnum: str) -> Handler:
    """Return what answers the requests for ``engine``, from whoever knows ``swissnum``."""
    return _Handler(engine, swissnum).answer


class _Handler:
    def __init__(self, engine: StorageEngine, swissnum: str) -> None:
        self._engine = engine
        self._authorization = _digest(calls.authorization_value(swissnum))
        self._waiting = asyncio.Semaphore(LARGE_WAITING_MAX)
        self._looking = asyncio.Lock()  # one large message is looked at at a time
        # Their data are copied by threads that others need, too.
        self._copying = asyncio.Semaphore(max(1, engine.settings.workers // 2))

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if not self._is_authorized(request):
            return Response(401)
        try:
            match = calls.match_path(request.path)
            if match is None:
                return await extension_response(self._engine, request)
            method = "GET" if request.method == "HEAD" else request.method
            endpoint = match.endpoints.get(method)
            if endpoint is None:
                return Response(405, (("Allow", ", ".join(sorted(match.endpoints))),))
            secrets = calls.parse_secret_headers(
                request.all_headers("x-tahoe-authorization"), endpoint.secrets
            )
            if endpoint.cbor_answer and not accepts_cbor(request.all_headers("accept")):
                return Response(406)
            if endpoint.cbor_request and not is_cbor(request.header("content-type")):
                return Response(415)
            length = request.body.length
            if endpoint.body_max is not None and length is not None and length > endpoint.body_max:
                return Response(413)
            return await _CALLS[endpoint](self, request, match, secrets)
        except StorageRefusalError as refusal:
            return refused(refusal)
        except BodyTooLargeError:
            return Response(413)

    def _is_authorized(self, request: Request) -> bool:
        # Digests of one length, so that the time says nothing of the length of the secret either.
        return hmac.compare_digest(_digest(request.header("authorization") or ""), self._authorization)

    async def version(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        return _cbor(messages.encode_version(await self._engine.version()))

    async def allocate(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        index = _index(match)
        body = await request.body.read(calls.ALLOCATE_BODY_MAX)
        try:
            numbers, size = messages.decode_allocate_request(body)
        except BadRequestError:
            await self._engine.check_kind(index, Kind.IMMUTABLE)
            raise
        allocation = await self._engine.allocate(index, numbers, size, secrets[calls.UPLOAD], _lease(secrets))
        return _cbor(messages.encode_allocate_answer(allocation))

    async def write(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        begin, end, total = sent_range(request.all_headers("content-range"))
        index, number = _share(match)
        secret = secrets[calls.UPLOAD]
        self._engine.check_upload(index, number, secret)
        length = request.body.length
        if length is not None and length != end - begin:
            raise BadRequestError("the body is not as long as its range")
        required = await self._engine.write(
            index, number, secret, begin, request.body.chunks(), end - begin, total
        )
        return _cbor(messages.encode_write_answer(required), 200 if required else 201)

    async def abort(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        index, number = _share(match)
        await self._engine.abort(index, number, secrets[calls.UPLOAD])
        return Response(200)

    async def list_immutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        return _cbor(messages.encode_share_set(await self._engine.list_immutable(_index(match))))

    async def list_mutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        return _cbor(messages.encode_share_set(await self._engine.list_mutable(_index(match))))

    async def read_immutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        return await self._read(request, match, Kind.IMMUTABLE)

    async def read_mutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        return await self._read(request, match, Kind.MUTABLE)

    async def _read(self, request: Request, match: calls.Match, kind: Kind) -> Response:
        wanted = requested_range(request.all_headers("range"))
        waiting = self._engine.waiting_share(*_share(match), kind)
        if waiting is not None:
            return _part_of(waiting, wanted)
        share = await self._engine.open_share(*_share(match), kind)
        if wanted is None:
            return Response(
                200, DATA_HEADERS, FileRange(share.descriptor, share.container.data_offset, share.size)
            )
        begin, end = wanted[0], min(wanted[1], share.size)
        if begin >= end:
            os.close(share.descriptor)
            return Response(204)
        headers = (*DATA_HEADERS, ("Content-Range", f"bytes {begin}-{end - 1}/{share.size}"))
        body = FileRange(share.descriptor, share.container.data_offset + begin, end - begin)
        return Response(206, headers, body)

    async def advise_immutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        index, number = _share(match)
        await self._engine.check_share(index, number, Kind.IMMUTABLE)
        reason = messages.decode_advisory(await request.body.read(calls.ADVISORY_BODY_MAX))
        await self._engine.advise_corrupt_immutable(index, number, reason)
        return Response(200)

    async def advise_mutable(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        index, number = _share(match)
        await self._engine.check_share(index, number, Kind.MUTABLE)
        reason = messages.decode_advisory(await request.body.read(calls.ADVISORY_BODY_MAX))
        await self._engine.advise_corrupt_mutable(index, number, reason)
        return Response(200)

    async def lease(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        await self._engine.add_lease(_index(match), _lease(secrets))
        return Response(204)

    async def read_test_write(self, request: Request, match: calls.Match, secrets: Secrets) -> Response:
        index, enabler, body = _index(match), secrets[calls.WRITE_ENABLER], request.body
        if body.length is None or body.length > IN_MEMORY_MAX:
            return await self._large_read_test_write(body, index, secrets)
        message = await body.read(IN_MEMORY_MAX)
        try:
            vectors, reads = messages.decode_read_test_write_request(message)
        except BadRequestError:
            await self._engine.check_write_enabler(index, enabler)
            raise
        return await self._read_test_write(index, secrets, vectors, reads)

    async def _large_read_test_write(
        self, body: RequestBody, index: StorageIndex, secrets: Secrets
    ) -> Response:
        limit = self._engine.settings.read_test_write_body_max
        if body.length is not None and body.length > limit:
            raise BodyTooLargeError
        async with self._waiting:
            await self._engine.check_message(index, secrets[calls.WRITE_ENABLER], body.length or 0)
            file = await received(body, limit, self._engine.scratch)
            # The file is used to the end, also if the server is stopped meanwhile.
            return await self._engine.to_its_end(self._read_test_write_in(file, index, secrets))

    async def _read_test_write_in(self, file: ScratchFile, index: StorageIndex, secrets: Secrets) -> Response:
        try:
            async with AsyncExitStack() as looking:
                await looking.enter_async_context(self._looking)
                vectors, reads = await asyncio.to_thread(vectors_in, file)
                if needs_little(vectors, reads):
                    await looking.aclose()
                async with self._copying:
                    file.use()
                    return await self._read_test_write(index, secrets, vectors, reads)
        except BadRequestError:
            await self._engine.check_write_enabler(index, secrets[calls.WRITE_ENABLER])
            raise
        finally:
            await asyncio.to_thread(file.close)

    async def _read_test_write(
        self, index: StorageIndex, secrets: Secrets, vectors: Vectors, reads: Sequence[tuple[int, int]]
    ) -> Response:
        enabler = secrets[calls.WRITE_ENABLER]
        result = await self._engine.read_test_write(index, enabler, _lease(secrets), vectors, reads)
        message = messages.encode_read_test_write_answer(result)
        return Response(200, CBOR_HEADERS, to_send(message, self._engine.scratch.directory))


_CALLS: dict[calls.Endpoint, _Call] = {
    calls.VERSION: _Handler.version,
    calls.ALLOCATE: _Handler.allocate,
    calls.WRITE: _Handler.write,
    calls.ABORT: _Handler.abort,
    calls.LIST_IMMUTABLE: _Handler.list_immutable,
    calls.READ_IMMUTABLE: _Handler.read_immutable,
    calls.ADVISE_IMMUTABLE: _Handler.advise_immutable,
    calls.READ_TEST_WRITE: _Handler.read_test_write,
    calls.LIST_MUTABLE: _Handler.list_mutable,
    calls.READ_MUTABLE: _Handler.read_mutable,
    calls.ADVISE_MUTABLE: _Handler.advise_mutable,
    calls.LEASE: _Handler.lease,
}


def refused(refusal: StorageRefusalError) -> Response:
    """Return the answer to a refused request. Only a malformed one is explained, never with a secret."""
    if refusal.status == BadRequestError.status:
        return Response(refusal.status, TEXT_HEADERS, str(refusal).encode("utf-8"))
    return Response(refusal.status)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _cbor(message: bytes, status: int = 200) -> Response:
    return Response(status, CBOR_HEADERS, message)


def _part_of(share: bytes, wanted: tuple[int, int] | None) -> Response:
    if wanted is None:
        return Response(200, DATA_HEADERS, share)
    begin, end = wanted[0], min(wanted[1], len(share))
    if begin >= end:
        return Response(204)
    headers = (*DATA_HEADERS, ("Content-Range", f"bytes {begin}-{end - 1}/{len(share)}"))
    return Response(206, headers, share[begin:end])


def _lease(secrets: Secrets) -> LeaseSecrets:
    return LeaseSecrets(secrets[calls.LEASE_RENEW], secrets[calls.LEASE_CANCEL])


def _index(match: calls.Match) -> StorageIndex:
    assert match.index is not None
    return match.index


def _share(match: calls.Match) -> tuple[StorageIndex, int]:
    assert match.number is not None
    return _index(match), match.number
