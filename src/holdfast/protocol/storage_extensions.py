"""What Holdfast's storage servers offer beyond version 1 of the storage protocol, as both
sides see it: a description of the server that may grow, and canary streams.

Source: docs/spec/storage-protocol.md, section 18; docs/spec/seed-map.md, S-026 and S-061.
"""

from __future__ import annotations

import base64

from holdfast.crypto import base32
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import cbor

VERSION_PATH = "/storage-ext/v1/version"
OWNER_HEADER = "X-Holdfast-Upload-Secret"


def canary_path(index: StorageIndex) -> str:
    """Return the path of the canary streams of one index."""
    return f"/storage-ext/v1/canary/{base32.encode(index)}"


def owner_value(upload_secret: bytes) -> str:
    """Return the value of ``OWNER_HEADER``: whose canary it is."""
    return base64.b64encode(upload_secret).decode("ascii")


def decode_features(data: bytes) -> frozenset[str]:
    """Return the names of the features a server says it has; what is not understood is ignored.

    Raises:
        BadRequestError: it is no description.
    """
    try:
        message = cbor.decode(data)
    except cbor.MalformedCborError as error:
        raise BadRequestError(f"malformed CBOR: {error}") from None
    features = message.get("features") if isinstance(message, dict) else None
    if not isinstance(features, dict):
        return frozenset()
    return frozenset(name for name, value in features.items() if isinstance(name, str) and value is True)
