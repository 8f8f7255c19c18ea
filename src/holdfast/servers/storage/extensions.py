"""What Holdfast's storage server offers beyond the protocol of the grid: a description of
itself that may grow, and canaries.

Source: docs/spec/storage-protocol.md, section 18; docs/spec/seed-map.md, S-026 and S-061.
"""

from __future__ import annotations

import base64
import binascii
import re

import cbor2

from holdfast import __version__
from holdfast.crypto import base32
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import MAX_BUCKETS, MAX_HASH_LIST, MAX_UEB, StorageIndex
from holdfast.protocol.storage_extensions import OWNER_HEADER, VERSION_PATH
from holdfast.servers.storage.engine import StorageEngine
from holdfast.wire.http import Request, Response

_CANARY_PATH = re.compile(r"/storage-ext/v1/canary/([a-z2-7]{26})", re.ASCII)


async def extension_response(engine: StorageEngine, request: Request) -> Response:
    """Answer an authorized request whose path is none of version 1 of the protocol."""
    canary = _CANARY_PATH.fullmatch(request.path)
    if request.path != VERSION_PATH and canary is None:
        return Response(404)
    if request.method != "GET":
        return Response(405, (("Allow", "GET"),))
    if request.all_headers("x-tahoe-authorization"):
        raise BadRequestError("no secrets of the base protocol are used here")
    if canary is None:
        return Response(200, (("Content-Type", "application/cbor"),), describe(engine))
    try:
        index = base32.decode(canary[1])
    except ValueError:
        return Response(404)
    headers = (("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store"))
    return Response(200, headers, engine.canary(StorageIndex(index), _upload_secret(request)))


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
            "features": {"canary": True},
            "versions": {"holdfast": __version__},
        }
    )


def _upload_secret(request: Request) -> bytes:
    values = request.all_headers(OWNER_HEADER.lower())
    try:
        secret = base64.b64decode(values[0], validate=True) if len(values) == 1 else b""
    except (binascii.Error, ValueError):
        secret = b""
    if not 1 <= len(secret) <= 64:
        raise BadRequestError("an upload secret of 1 to 64 bytes, in base64, says whose canary it is")
    return secret
