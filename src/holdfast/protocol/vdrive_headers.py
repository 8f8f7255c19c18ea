"""Secrets that travel in the headers of calls of a virtual drive server, and the name of a
head by which caches are asked.

No error here repeats what a header says.

Source: docs/spec/vdrive.md, section 8.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from holdfast.crypto import base32
from holdfast.interfaces.vdrive import DIRECTORIES_MAX, Authority
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_items import MessageLimitError

WRITE_ENABLER = "X-Holdfast-Write-Enabler"
ENABLER_PROOF = "X-Holdfast-Enabler-Proof"
ACCOUNT = "X-Holdfast-Account"
TURN = "X-Holdfast-Turn"
LEASE_SECRET = "X-Holdfast-Lease-Secret"  # noqa: S105  (the name of the header)

SECRET_HEADERS = (WRITE_ENABLER, ENABLER_PROOF, ACCOUNT, TURN, LEASE_SECRET)
"""None of these may be logged."""

ENABLER_SIZE = 32  # bytes
PROOF_SIZE = 64
TURN_SIZE = 16
LEASE_SECRET_SIZE = 32

_INDEX_SIZE = 32
_PAIRS_MAX = 2 * DIRECTORIES_MAX  # directories made, and directories changed
_TOKEN = re.compile(r"[!-~]{1,200}", re.ASCII)

Header = tuple[str, str]


def authority_headers(authority: Authority) -> list[Header]:
    """Return the headers that show what a commit is allowed by.

    Raises:
        ValueError: the account token does not fit into a header.
    """
    headers = [_pair(WRITE_ENABLER, index, enabler) for index, enabler in authority.enablers.items()]
    headers += [_pair(TURN, index, turn) for index, turn in authority.turns.items()]
    if authority.account is not None:
        headers.append(account_header(authority.account))
    return headers


def presented_authority(headers: Iterable[Header]) -> Authority:
    """Return what the headers of a request show; their names are in lower case.

    Raises:
        MalformedMessageError: a header is not of its form, or says two things; as do all functions here.
    """
    headers = list(headers)
    return Authority(
        enablers=_presented(headers, WRITE_ENABLER, ENABLER_SIZE),
        turns=_presented(headers, TURN, TURN_SIZE),
        account=presented_account(headers),
    )


def enabler_header(index: bytes, enabler: bytes) -> Header:
    return _pair(WRITE_ENABLER, index, enabler)


def presented_enablers(headers: Iterable[Header]) -> Mapping[bytes, bytes]:
    """Return the write enablers by index."""
    return _presented(headers, WRITE_ENABLER, ENABLER_SIZE)


def proof_header(index: bytes, proof: bytes) -> Header:
    return _pair(ENABLER_PROOF, index, proof)


def presented_proofs(headers: Iterable[Header]) -> Mapping[bytes, bytes]:
    """Return the enabler proofs, 64 bytes each, by index."""
    return _presented(headers, ENABLER_PROOF, PROOF_SIZE)


def account_header(token: str) -> Header:
    """Raises ValueError if the token does not fit into a header."""
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("this account token does not fit into a header")
    return ACCOUNT, token


def presented_account(headers: Iterable[Header]) -> str | None:
    token = _only(headers, ACCOUNT)
    if token is not None and _TOKEN.fullmatch(token) is None:
        raise MalformedMessageError(f"{ACCOUNT}: not a token")
    return token


def lease_secret_header(secret: bytes) -> Header:
    return LEASE_SECRET, base32.encode(secret)


def presented_lease_secret(headers: Iterable[Header]) -> bytes:
    """Return the secret, which must be there."""
    text = _only(headers, LEASE_SECRET)
    if text is None:
        raise MalformedMessageError(f"{LEASE_SECRET}: missing")
    return _decoded(text, LEASE_SECRET, LEASE_SECRET_SIZE)


def entity_tag(head_hash: bytes) -> str:
    """Return the name of a head, for ``ETag`` and ``If-None-Match``."""
    return f'"{base32.encode(head_hash)}"'


def names_head(value: str | None, head_hash: bytes) -> bool:
    """Whether the value of ``If-None-Match`` has this head in it."""
    named = [] if value is None else [part.strip().removeprefix("W/") for part in value.split(",")]
    return "*" in named or entity_tag(head_hash) in named


def _pair(name: str, index: bytes, value: bytes) -> Header:
    return name, f"{base32.encode(index)} {base32.encode(value)}"


def _presented(headers: Iterable[Header], name: str, size: int) -> dict[bytes, bytes]:
    wanted = name.lower()
    values = [value for key, value in headers if key == wanted]
    if len(values) > _PAIRS_MAX:
        raise MessageLimitError(f"{name}: more than {_PAIRS_MAX} times")
    found: dict[bytes, bytes] = {}
    for value in values:
        index_text, _, text = value.partition(" ")
        index = _decoded(index_text, name, _INDEX_SIZE)
        if index in found:
            raise MalformedMessageError(f"{name}: it comes twice for one index")
        found[index] = _decoded(text, name, size)
    return found


def _only(headers: Iterable[Header], name: str) -> str | None:
    wanted = name.lower()
    values = [value for key, value in headers if key == wanted]
    if len(values) > 1:
        raise MalformedMessageError(f"{name}: it comes twice")
    return values[0] if values else None


def _decoded(text: str, name: str, size: int) -> bytes:
    try:
        value = base32.decode(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise MalformedMessageError(f"{name}: not {size} bytes in base32")
    return value
