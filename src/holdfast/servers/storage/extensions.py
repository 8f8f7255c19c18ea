"""What Holdfast's storage server offers beyond the protocol of the grid: a description of itself that may
grow, canaries, small shares stored whole, of one file or of many, and all shares of an index read in one
request.

Source: docs/spec/storage-protocol.md, section 18; docs/spec/seed-map.md, S-026 and S-061.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import cbor2

from holdfast import __version__
from holdfast.crypto import base32
from holdfast.interfaces.storage import Allocation, LeaseSecrets, ReadTestWriteResult, StoreRequest
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import MAX_BUCKETS, MAX_HASH_LIST, MAX_UEB, StorageIndex
from holdfast.protocol import storage_calls as calls
from holdfast.protocol import storage_extensions as extensions
from holdfast.protocol import storage_messages as messages
from holdfast.protocol.store_messages import (
    STORE_ALL_BODY_MAX,
    decode_store_requests,
    encode_store_answer,
)
from holdfast.servers.storage.engine import StorageEngine
from holdfast.servers.storage.large_messages import to_send
from holdfast.wire.http import Request, Response

DATA_HEADERS = (("Content-Type", "application/octet-stream"),)

_SHARES_PATH = re.compile(r"/storage-ext/v1/immutable/([a-z2-7]{26})", re.ASCII)
_SLOT_PATH = re.compile(r"/storage-ext/v1/mutable/([a-z2-7]{26})", re.ASCII)
_CANARY_PATH = re.compile(r"/storage-ext/v1/canary/([a-z2-7]{26})", re.ASCII)


async def extension_response(engine: StorageEngine, request: Request) -> Response:
    """Answer an authorized request whose path is none of version 1 of the protocol."""
    if request.path == extensions.STORE_ALL_PATH:
        return await _store_all(engine, request)
    shares = _SHARES_PATH.fullmatch(request.path)
    if shares is not None and request.method != "GET":
        return await _store(engine, request, shares[1])
    canary = _CANARY_PATH.fullmatch(request.path)
    slot = _SLOT_PATH.fullmatch(request.path)
    if request.path != extensions.VERSION_PATH and canary is None and slot is None and shares is None:
        return Response(404)
    if request.method != "GET":
        return Response(405, (("Allow", "GET"),))
    if request.all_headers("x-tahoe-authorization"):
        raise BadRequestError("no secrets of the base protocol are used here")
    if slot is not None:
        return await _read(engine, request, slot[1], engine.read_slot)
    if shares is not None:
        return await _read(engine, request, shares[1], engine.read_shares)
    if canary is None:
        return Response(200, (("Content-Type", "application/cbor"),), describe(engine))
    try:
        index = StorageIndex(base32.decode(canary[1]))
    except ValueError:
        return Response(404)
    headers = (("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store"))
    return Response(200, headers, engine.canary(index, _upload_secret(request)))


async def _store(engine: StorageEngine, request: Request, index_text: str) -> Response:
    """Take in small shares whole."""
    try:
        index = StorageIndex(base32.decode(index_text))
    except ValueError:
        return Response(404)
    if request.method != "POST":
        return Response(405, (("Allow", "GET, POST"),))
    secrets = calls.parse_secret_headers(request.all_headers("x-tahoe-authorization"), calls.ALLOCATE.secrets)
    numbers = extensions.parse_numbers(request.header(extensions.NUMBERS_HEADER.lower()))
    body = await request.body.read(extensions.STORE_BODY_MAX)
    size, rest = divmod(len(body), len(numbers))
    if rest or not 1 <= size <= extensions.STORE_SHARE_MAX:
        raise BadRequestError("the body is not as many shares of one small length as there are numbers")
    shares = {number: body[i * size : (i + 1) * size] for i, number in enumerate(numbers)}
    lease = LeaseSecrets(secrets[calls.LEASE_RENEW], secrets[calls.LEASE_CANCEL])
    only_if_none = request.header(extensions.ONLY_IF_NONE_HEADER.lower()) is not None
    (outcome,) = await engine.store([StoreRequest(index, shares, lease, only_if_none)])
    if not isinstance(outcome, Allocation):
        raise outcome
    return Response(200, (("Content-Type", "application/cbor"),), messages.encode_allocate_answer(outcome))


async def _store_all(engine: StorageEngine, request: Request) -> Response:
    """Take in small shares of several files."""
    if request.method != "POST":
        return Response(405, (("Allow", "POST"),))
    if request.all_headers("x-tahoe-authorization"):
        raise BadRequestError("the secrets of these shares are in the body")
    requests = decode_store_requests(await request.body.read(STORE_ALL_BODY_MAX))
    return Response(200, DATA_HEADERS, encode_store_answer(await engine.store(requests)))


Read = Callable[
    [StorageIndex, Sequence[tuple[int, int]], Collection[int] | None],
    Awaitable[Mapping[int, Sequence[bytes]]],
]


async def _read(engine: StorageEngine, request: Request, index_text: str, read: Read) -> Response:
    """Read ranges of all shares of an index, or of some."""
    try:
        index = StorageIndex(base32.decode(index_text))
    except ValueError:
        return Response(404)
    data = await read(index, *extensions.parse_read_query(request.query))
    message = messages.encode_read_test_write_answer(ReadTestWriteResult(True, data))
    return Response(200, (("Content-Type", "application/cbor"),), to_send(message, engine.scratch.directory))


def describe(engine: StorageEngine) -> bytes:
    """Return the map of limits, features and versions. Clients ignore what they do not know."""
    return cbor2.dumps(
        {
            "limits": {
                "share-numbers": MAX_BUCKETS,
                "hash-list": MAX_HASH_LIST,
                "uri-extension": MAX_UEB,
                "read-test-write-body": engine.settings.read_test_write_body_max,
            },
            "features": {
                extensions.CANARY: True,
                extensions.STORE: True,
                extensions.STORE_ALL: True,
                extensions.READ_SLOT: True,
                extensions.READ_SHARES: True,
            },
            "versions": {"holdfast": __version__},
        }
    )


def _upload_secret(request: Request) -> bytes:
    values = request.all_headers(extensions.OWNER_HEADER.lower())
    try:
        secret = base64.b64decode(values[0], validate=True) if len(values) == 1 else b""
    except (binascii.Error, ValueError):
        secret = b""
    if not 1 <= len(secret) <= 64:
        raise BadRequestError("an upload secret of 1 to 64 bytes, in base64, says whose canary it is")
    return secret
