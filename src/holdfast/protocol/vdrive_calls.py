"""The calls of a virtual drive server: methods, paths, and how long bodies may be. One
description for both sides.

Source: docs/spec/vdrive.md, sections 3.2 and 8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.crypto import base32

BASE = "/vdrive/v1"
MEDIA_TYPE = "application/cbor"

COMMIT_BODY_MAX = 8 << 20  # bytes of a request
CONTEXT_BODY_MAX = 40 * 1024
SMALL_BODY_MAX = 4096
BUNDLE_MAX = 64 << 30

ENTRIES_ANSWER_MAX = 8 << 20  # bytes of the entries in an answer; a server gives fewer rather than more
PAGE_ANSWER_MAX = ENTRIES_ANSWER_MAX + (4 << 20)
CONTEXT_ANSWER_MAX = 16 << 20
CONFLICT_ANSWER_MAX = 16 << 20  # with more a server leaves the contexts out
HEADS_ANSWER_MAX = 1 << 20
SMALL_ANSWER_MAX = 64 * 1024  # of whatever carries neither entries nor heads


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call.

    Attributes:
        pattern: path, with {index}, {slot} and {rid} in it.
        body_max: bytes; 0 for a call without a body.
        cbor: the body is a message; it is a bundle otherwise.
        answer_max: bytes of an answer that is no bundle.
    """

    name: str
    method: str
    pattern: str
    body_max: int = 0
    cbor: bool = True
    answer_max: int = SMALL_ANSWER_MAX


_DIRECTORY = f"{BASE}/d/{{index}}"
_LEASE = f"{BASE}/lease/{{rid}}"

VERSION = Endpoint("version", "GET", f"{BASE}/version")
ROOT = Endpoint("root", "GET", f"{BASE}/root")
COMMIT = Endpoint("commit", "POST", f"{BASE}/commit", COMMIT_BODY_MAX, answer_max=CONFLICT_ANSWER_MAX)
DESCRIBE = Endpoint("describe", "GET", _DIRECTORY)
CHILD = Endpoint("child", "GET", f"{_DIRECTORY}/c/{{slot}}")
CONTEXT = Endpoint(
    "context", "POST", f"{_DIRECTORY}/context", CONTEXT_BODY_MAX, answer_max=CONTEXT_ANSWER_MAX
)
LIST = Endpoint("list", "GET", f"{_DIRECTORY}/c", answer_max=PAGE_ANSWER_MAX)
HEADS = Endpoint("heads", "GET", f"{_DIRECTORY}/heads", answer_max=HEADS_ANSWER_MAX)
WAIT = Endpoint("wait", "GET", f"{_DIRECTORY}/wait")
CHANGES = Endpoint("changes", "GET", f"{_DIRECTORY}/changes", answer_max=PAGE_ANSWER_MAX)
TURN = Endpoint("turn", "POST", f"{_DIRECTORY}/turn")
ENROL = Endpoint("enrol", "POST", f"{_DIRECTORY}/enrol", SMALL_BODY_MAX)
EXPORT = Endpoint("export", "GET", f"{_DIRECTORY}/bundle")
IMPORT = Endpoint("import", "POST", f"{BASE}/import", BUNDLE_MAX, cbor=False)
RENEW_LEASE = Endpoint("renew lease", "POST", _LEASE, SMALL_BODY_MAX)
CANCEL_LEASE = Endpoint("cancel lease", "DELETE", _LEASE)
LEASE_INFO = Endpoint("lease", "GET", _LEASE)
ACCOUNT = Endpoint("account", "GET", f"{BASE}/account")

ENDPOINTS = (
    VERSION,
    ROOT,
    COMMIT,
    DESCRIBE,
    CHILD,
    CONTEXT,
    LIST,
    HEADS,
    WAIT,
    CHANGES,
    TURN,
    ENROL,
    EXPORT,
    IMPORT,
    RENEW_LEASE,
    CANCEL_LEASE,
    LEASE_INFO,
    ACCOUNT,
)


@dataclass(frozen=True, slots=True)
class Match:
    """The endpoints of one path, by method, and what the path names, 32 bytes each; empty if it does not."""

    endpoints: dict[str, Endpoint]
    index: bytes = b""
    slot: bytes = b""
    refresh_id: bytes = b""


def path(endpoint: Endpoint, *, index: bytes = b"", slot: bytes = b"", refresh_id: bytes = b"") -> str:
    """Return the path of a call."""
    return endpoint.pattern.format(
        index=base32.encode(index), slot=base32.encode(slot), rid=base32.encode(refresh_id)
    )


def match_path(text: str) -> Match | None:
    """Return what a path names, or None if it is no path of the protocol."""
    for shape, endpoints in _SHAPES:
        found = shape.fullmatch(text)
        if found is None:
            continue
        try:
            named = {name: base32.decode(value) for name, value in found.groupdict().items()}
        except ValueError:
            return None
        return Match(endpoints, named.get("index", b""), named.get("slot", b""), named.get("rid", b""))
    return None


def _shapes() -> list[tuple[re.Pattern[str], dict[str, Endpoint]]]:
    by_pattern: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_pattern.setdefault(endpoint.pattern, {})[endpoint.method] = endpoint
    return [
        (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[a-z2-7]{52})", pattern), re.ASCII), endpoints)
        for pattern, endpoints in by_pattern.items()
    ]


_SHAPES = _shapes()
