"""The calls of the storage protocol: one description of each endpoint for both sides,
and the headers that authorise them.

Source: docs/spec/storage-protocol.md, sections 5 and 6.2.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from holdfast.crypto import base32
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import MAX_BUCKETS, StorageIndex

LEASE_RENEW = "lease-renew-secret"
LEASE_CANCEL = "lease-cancel-secret"
UPLOAD = "upload-secret"
WRITE_ENABLER = "write-enabler"

SECRET_SIZES = {LEASE_RENEW: (32, 32), LEASE_CANCEL: (32, 32), UPLOAD: (1, 64), WRITE_ENABLER: (32, 32)}
"""Least and greatest length in bytes of each kind of secret."""

ALLOCATE_BODY_MAX = 8192  # bytes
ADVISORY_BODY_MAX = 32768


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call. ``body_max`` None: the call takes no message, or has a limit of its own."""

    name: str
    method: str
    pattern: str  # with {index} and {number}
    secrets: frozenset[str] = frozenset()
    cbor_answer: bool = False
    cbor_request: bool = False
    body_max: int | None = None


_LEASE = frozenset((LEASE_RENEW, LEASE_CANCEL))
_V1 = "/storage/v1"

VERSION = Endpoint("version", "GET", f"{_V1}/version", cbor_answer=True)
ALLOCATE = Endpoint(
    "allocate",
    "POST",
    f"{_V1}/immutable/{{index}}",
    _LEASE | {UPLOAD},
    cbor_answer=True,
    cbor_request=True,
    body_max=ALLOCATE_BODY_MAX,
)
WRITE = Endpoint("write", "PATCH", f"{_V1}/immutable/{{index}}/{{number}}", frozenset((UPLOAD,)), True)
ABORT = Endpoint("abort", "PUT", f"{_V1}/immutable/{{index}}/{{number}}/abort", frozenset((UPLOAD,)))
LIST_IMMUTABLE = Endpoint("list immutable", "GET", f"{_V1}/immutable/{{index}}/shares", cbor_answer=True)
READ_IMMUTABLE = Endpoint("read immutable", "GET", f"{_V1}/immutable/{{index}}/{{number}}")
ADVISE_IMMUTABLE = Endpoint(
    "advise immutable",
    "POST",
    f"{_V1}/immutable/{{index}}/{{number}}/corrupt",
    cbor_request=True,
    body_max=ADVISORY_BODY_MAX,
)
READ_TEST_WRITE = Endpoint(
    "read-test-write",
    "POST",
    f"{_V1}/mutable/{{index}}/read-test-write",
    _LEASE | {WRITE_ENABLER},
    cbor_answer=True,
    cbor_request=True,
)
LIST_MUTABLE = Endpoint("list mutable", "GET", f"{_V1}/mutable/{{index}}/shares", cbor_answer=True)
READ_MUTABLE = Endpoint("read mutable", "GET", f"{_V1}/mutable/{{index}}/{{number}}")
ADVISE_MUTABLE = Endpoint(
    "advise mutable",
    "POST",
    f"{_V1}/mutable/{{index}}/{{number}}/corrupt",
    cbor_request=True,
    body_max=ADVISORY_BODY_MAX,
)
LEASE = Endpoint("lease", "PUT", f"{_V1}/lease/{{index}}", _LEASE)

ENDPOINTS = (
    VERSION,
    ALLOCATE,
    WRITE,
    ABORT,
    LIST_IMMUTABLE,
    READ_IMMUTABLE,
    ADVISE_IMMUTABLE,
    READ_TEST_WRITE,
    LIST_MUTABLE,
    READ_MUTABLE,
    ADVISE_MUTABLE,
    LEASE,
)


@dataclass(frozen=True, slots=True)
class Match:
    """The endpoints of one path, by method, and what the path names."""

    endpoints: dict[str, Endpoint]
    index: StorageIndex | None = None
    number: int | None = None


def match_path(path: str) -> Match | None:
    """Return what a path of the protocol names, or None if it is no such path.

    Storage indexes and share numbers that are not in their one right form are no paths of the protocol.
    """
    for shape, endpoints in _SHAPES.get(_family(path), ()):
        found = shape.fullmatch(path)
        if found is None:
            continue
        groups = found.groupdict()
        index = number = None
        if "index" in groups:
            try:
                index = StorageIndex(base32.decode(groups["index"]))
            except ValueError:
                return None
        if "number" in groups:
            number = int(groups["number"])
            if number >= MAX_BUCKETS:
                return None
        return Match(endpoints, index, number)
    return None


def _family(path: str) -> str:
    """Return what stands behind the version of the protocol in a path, up to the next slash."""
    return path[len(_V1) :].partition("/")[2].partition("/")[0]


def _shapes() -> dict[str, list[tuple[re.Pattern[str], dict[str, Endpoint]]]]:
    by_pattern: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_pattern.setdefault(endpoint.pattern, {})[endpoint.method] = endpoint
    shapes: dict[str, list[tuple[re.Pattern[str], dict[str, Endpoint]]]] = {}
    for pattern, endpoints in by_pattern.items():
        shape = re.compile(
            pattern.replace("{index}", "(?P<index>[a-z2-7]{26})").replace(
                "{number}", "(?P<number>0|[1-9][0-9]{0,2})"
            ),
            re.ASCII,
        )
        shapes.setdefault(_family(pattern), []).append((shape, endpoints))
    return shapes


_SHAPES = _shapes()

# -- paths


@lru_cache(maxsize=256)
def _index_text(index: StorageIndex) -> str:
    return base32.encode(index)


def _path(endpoint: Endpoint, index: StorageIndex, number: int = 0) -> str:
    return endpoint.pattern.format(index=_index_text(index), number=number)


def version_path() -> str:
    return VERSION.pattern


def allocate_path(index: StorageIndex) -> str:
    return _path(ALLOCATE, index)


def share_path(index: StorageIndex, number: int) -> str:
    """Return the path to write and read an immutable share."""
    return _path(WRITE, index, number)


def abort_path(index: StorageIndex, number: int) -> str:
    return _path(ABORT, index, number)


def list_immutable_path(index: StorageIndex) -> str:
    return _path(LIST_IMMUTABLE, index)


def advise_immutable_path(index: StorageIndex, number: int) -> str:
    return _path(ADVISE_IMMUTABLE, index, number)


def read_test_write_path(index: StorageIndex) -> str:
    return _path(READ_TEST_WRITE, index)


def list_mutable_path(index: StorageIndex) -> str:
    return _path(LIST_MUTABLE, index)


def mutable_share_path(index: StorageIndex, number: int) -> str:
    return _path(READ_MUTABLE, index, number)


def advise_mutable_path(index: StorageIndex, number: int) -> str:
    return _path(ADVISE_MUTABLE, index, number)


def lease_path(index: StorageIndex) -> str:
    return _path(LEASE, index)


# -- authorisation


def authorization_value(swissnum: str) -> str:
    """Return the value of the ``Authorization`` header for a server's swissnum."""
    return "Tahoe-LAFS " + base64.b64encode(swissnum.encode("ascii")).decode("ascii")


def secret_header(kind: str, secret: bytes) -> str:
    """Return the value of one ``X-Tahoe-Authorization`` header."""
    return f"{kind} {base64.b64encode(secret).decode('ascii')}"


def parse_secret_headers(values: Sequence[str], required: frozenset[str]) -> dict[str, bytes]:
    """Return the secrets of a request by kind: exactly the required ones, each once.

    Raises:
        BadRequestError: anything else. The message repeats no secret.
    """
    secrets: dict[str, bytes] = {}
    for value in values:
        kind, space, text = value.partition(" ")
        if kind not in SECRET_SIZES or not space:
            raise BadRequestError("a secret of an unknown kind")
        if kind in secrets:
            raise BadRequestError(f"{kind} is given twice")
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequestError(f"{kind} is not base64") from None
        least, most = SECRET_SIZES[kind]
        if not least <= len(secret) <= most:
            raise BadRequestError(f"{kind} has a wrong length")
        secrets[kind] = secret
    if secrets.keys() != required:
        raise BadRequestError("secrets are missing or superfluous")
    return secrets
