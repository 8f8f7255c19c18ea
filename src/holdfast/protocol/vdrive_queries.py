"""What follows the path of calls of a virtual drive server: which part of a listing, which
heads, how long to wait.

Source: docs/spec/vdrive.md, sections 8.6 and 8.7.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from holdfast.crypto import base32
from holdfast.formats.vdrive.tree import SLOT_SIZE
from holdfast.interfaces.vdrive import PAGE_DEFAULT, PAGE_MAX, WAIT_MAX_S
from holdfast.protocol.message_items import INTEGER_END, MalformedMessageError
from holdfast.protocol.vdrive_items import MessageLimitError

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3})?", re.ASCII)
_FIELDS_MAX = 8


class PageQuery(NamedTuple):
    """Which part of which version is listed, as in ``VirtualDriveServer.page``."""

    at: int | None = None
    after: bytes | None = None
    limit: int = PAGE_DEFAULT
    names_only: bool = False


class HeadsQuery(NamedTuple):
    """Versions whose heads are asked for, both included."""

    first: int
    last: int


class WaitQuery(NamedTuple):
    """The version that is known already, and how long to wait for another."""

    version: int
    timeout_s: float


class ChangesQuery(NamedTuple):
    """Between which versions, and which part, as in ``VirtualDriveServer.changes``."""

    since: int
    at: int | None = None
    after: bytes | None = None
    limit: int = PAGE_DEFAULT


def page_query(query: PageQuery) -> str:
    fields = _part_fields(query.at, query.after, query.limit)
    return urlencode([*fields, ("names", "1")] if query.names_only else fields)


def parse_page_query(text: str) -> PageQuery:
    """Return what a query asks for.

    Raises:
        MessageLimitError: more than a server gives at a time.
        MalformedMessageError: a field is unknown, missing, comes twice, or is not of its form. As do all
            functions here that take a query apart.
    """
    fields = _fields(text, ("at", "after", "limit", "names"))
    names = fields.get("names", "0")
    if names not in ("0", "1"):
        raise MalformedMessageError("names: neither 0 nor 1")
    return PageQuery(*_part(fields), names == "1")


def heads_query(query: HeadsQuery) -> str:
    return urlencode([("from", query.first), ("to", query.last)])


def parse_heads_query(text: str) -> HeadsQuery:
    """More heads may be asked for than a server gives at a time."""
    fields = _fields(text, ("from", "to"), ("from", "to"))
    query = HeadsQuery(_number(fields["from"], "from"), _number(fields["to"], "to"))
    if query.first > query.last:
        raise MalformedMessageError("from: beyond the end")
    return query


def wait_query(query: WaitQuery) -> str:
    """Return the query; times are rounded to milliseconds, and at most ``WAIT_MAX_S``."""
    seconds = f"{min(query.timeout_s, WAIT_MAX_S):.3f}".rstrip("0").rstrip(".")
    return urlencode([("version", query.version), ("timeout", seconds)])


def parse_wait_query(text: str) -> WaitQuery:
    fields = _fields(text, ("version", "timeout"), ("version",))
    timeout = fields.get("timeout", str(WAIT_MAX_S))
    if _SECONDS.fullmatch(timeout) is None:
        raise MalformedMessageError("timeout: not a number of seconds")
    if float(timeout) > WAIT_MAX_S:
        raise MessageLimitError(f"timeout: more than {WAIT_MAX_S:.0f} s")
    return WaitQuery(_number(fields["version"], "version"), float(timeout))


def changes_query(query: ChangesQuery) -> str:
    return urlencode([("since", str(query.since)), *_part_fields(query.at, query.after, query.limit)])


def parse_changes_query(text: str) -> ChangesQuery:
    fields = _fields(text, ("since", "at", "after", "limit"), ("since",))
    query = ChangesQuery(_number(fields["since"], "since"), *_part(fields))
    if query.at is not None and query.at < query.since:
        raise MalformedMessageError("at: before since")
    return query


def _part_fields(at: int | None, after: bytes | None, limit: int) -> list[tuple[str, str]]:
    fields = [] if at is None else [("at", str(at))]
    if after is not None:
        fields.append(("after", base32.encode(after)))
    return [*fields, ("limit", str(limit))]


def _part(fields: dict[str, str]) -> tuple[int | None, bytes | None, int]:
    """Return version, last slot received, and limit."""
    at = _number(fields["at"], "at") if "at" in fields else None
    after = _slot(fields["after"]) if "after" in fields else None
    limit = _number(fields.get("limit", str(PAGE_DEFAULT)), "limit")
    if limit > PAGE_MAX:
        raise MessageLimitError(f"limit: more than {PAGE_MAX}")
    if limit < 1:
        raise MalformedMessageError("limit: nothing")
    return at, after, limit


def _fields(text: str, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError:  # UnicodeDecodeError, too
        raise MalformedMessageError("the query is not of its form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs) or not set(required) <= fields.keys() <= set(allowed):
        raise MalformedMessageError("a field of the query is unknown, missing, or comes twice")
    return fields


def _number(text: str, name: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) >= INTEGER_END:
        raise MalformedMessageError(f"{name}: not a number in range")
    return int(text)


def _slot(text: str) -> bytes:
    try:
        slot = base32.decode(text)
    except ValueError:
        slot = b""
    if len(slot) != SLOT_SIZE:
        raise MalformedMessageError("after: not a slot")
    return slot
