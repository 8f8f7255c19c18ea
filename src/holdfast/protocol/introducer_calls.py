"""The calls of the introducer: paths, the header that authorises, queries, and how long
bodies may be. One description for both sides.

Source: docs/spec/control-and-introducer.md, sections 3.3, 3.5 and 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from holdfast.interfaces.introducer import (
    ANNOUNCEMENT_MAX,
    ANNOUNCEMENTS_PER_PAGE,
    ANNOUNCEMENTS_PER_PUBLISH,
    WAIT_MAX_S,
)
from holdfast.protocol.announcement import SERVICE_PATTERN, key_of_server_id, server_id_of

BASE = "/introducer/v1"
VERSION_PATH = f"{BASE}/version"
PUBLISH_PATH = f"{BASE}/publish"
ANNOUNCEMENTS_PATH = f"{BASE}/announcements"
OWN_PATH = f"{BASE}/own"

SERVICES_PER_KEY = 16
EPOCH_SIZE = 16  # bytes
BODY_MAX = 256 * 1024  # bytes of a request
SMALL_ANSWER_MAX = 64 * 1024  # of what carries no announcements
PUBLISH_ANSWER_MAX = ANNOUNCEMENTS_PER_PUBLISH * (ANNOUNCEMENT_MAX + 4096)
OWN_ANSWER_MAX = SERVICES_PER_KEY * ANNOUNCEMENT_MAX + 4096
PAGE_MAX = ANNOUNCEMENTS_PER_PAGE * (ANNOUNCEMENT_MAX + 16) + 4096

_SCHEME = "Holdfast"
_SWISSNUM = re.compile(r"[!-~]+", re.ASCII)
_AUTHORIZATION = re.compile(rf"(?i:{_SCHEME}) +([!-~]+)", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_NUMBER_END = 2**63
_WAIT = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?", re.ASCII)
_EPOCH = re.compile(rf"[0-9a-f]{{{2 * EPOCH_SIZE}}}", re.ASCII)
_QUERY_FIELDS_MAX = 64

# -- authorisation


def authorization_value(swissnum: str) -> str:
    """Return the value of the ``Authorization`` header.

    Raises:
        ValueError: the swissnum has characters that a header cannot carry. The message does not repeat it.
    """
    if _SWISSNUM.fullmatch(swissnum) is None:
        raise ValueError("this swissnum does not fit into a header")
    return f"{_SCHEME} {swissnum}"


def presented_swissnum(value: str | None) -> str | None:
    """Return the swissnum in the value of an ``Authorization`` header, or None if there is none."""
    found = None if value is None else _AUTHORIZATION.fullmatch(value)
    return None if found is None else found[1]


# -- queries


@dataclass(frozen=True, slots=True)
class AnnouncementsQuery:
    """What is asked of ``announcements``. No services: all. An empty epoch: none is known yet."""

    services: frozenset[str] = frozenset()
    since: int = 0
    epoch: bytes = b""
    wait_s: float = 0.0
    limit: int = ANNOUNCEMENTS_PER_PAGE


def announcements_query(
    services: Collection[str], since: int, epoch: bytes, wait_s: float, limit: int = ANNOUNCEMENTS_PER_PAGE
) -> str:
    """Return the query of ``announcements``, in one form for one meaning; waits to the millisecond.

    Raises:
        ValueError: ``parse_announcements_query`` would not take it.
    """
    query = [("service", service) for service in sorted(set(services))]
    query.append(("since", str(since)))
    if epoch:
        query.append(("epoch", epoch.hex()))
    query += [("wait", f"{wait_s:.3f}".rstrip("0").rstrip(".")), ("limit", str(limit))]
    text = urlencode(query)
    parse_announcements_query(text)
    return text


def parse_announcements_query(query: str) -> AnnouncementsQuery:
    """Return what a query asks for.

    Raises:
        ValueError: a field is unknown, comes twice where it may not, or is out of range.
    """
    services: set[str] = set()
    fields: dict[str, str] = {}
    for name, value in _query_fields(query):
        if name == "service":
            if SERVICE_PATTERN.fullmatch(value) is None:
                raise ValueError("service: not the name of one")
            services.add(value)
        elif name not in ("since", "epoch", "wait", "limit") or name in fields:
            raise ValueError("a field of the query is unknown, or comes twice")
        else:
            fields[name] = value
    epoch = fields.get("epoch", "")
    if epoch and _EPOCH.fullmatch(epoch) is None:
        raise ValueError(f"epoch: not {EPOCH_SIZE} bytes in hexadecimal")
    limit = _number(fields.get("limit", str(ANNOUNCEMENTS_PER_PAGE)), "limit")
    if not 1 <= limit <= ANNOUNCEMENTS_PER_PAGE:
        raise ValueError(f"limit: not between 1 and {ANNOUNCEMENTS_PER_PAGE}")
    since = _number(fields.get("since", "0"), "since")
    wait_s = _wait(fields.get("wait", "0"))
    return AnnouncementsQuery(frozenset(services), since, bytes.fromhex(epoch), wait_s, limit)


def own_query(verify_key: bytes) -> str:
    """Return the query of ``own``: the verify key in its text form."""
    return urlencode([("key", server_id_of(verify_key))])


def parse_own_query(query: str) -> bytes:
    """Return the verify key, 32 bytes.

    Raises:
        ValueError: anything but one such key.
    """
    match _query_fields(query):
        case [("key", text)]:
            return key_of_server_id(text)
        case _:
            raise ValueError("the query is a key and nothing else")


def _query_fields(query: str) -> list[tuple[str, str]]:
    if not query:
        return []
    return parse_qsl(
        query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_QUERY_FIELDS_MAX
    )


def _number(text: str, name: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) >= _NUMBER_END:
        raise ValueError(f"{name}: not a number in range")
    return int(text)


def _wait(text: str) -> float:
    if _WAIT.fullmatch(text) is None or float(text) > WAIT_MAX_S:
        raise ValueError(f"wait: not seconds between 0 and {WAIT_MAX_S:.0f}")
    return float(text)
