"""Invitations: one line by which a new node finds an introducer, recognises it, and is let in once.

Source: docs/spec/control-and-introducer.md, sections 3.3 and 3.11.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from holdfast.crypto import base32
from holdfast.formats import deterministic_cbor
from holdfast.protocol import message_items as items
from holdfast.protocol.announcement import NICKNAME_MAX
from holdfast.protocol.introducer_calls import authorization_value, presented_swissnum
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.nurl import parse_nurl, spki_hash_bytes

BASE = "/invitation/v1"
REDEEM_PATH = f"{BASE}/redeem"
SECRET_SIZE = 10  # bytes
PIN_SIZE = 16
TEXT_MAX = 400  # characters
INTRODUCERS_MAX = 16
SHARES_MAX = 256
ANSWER_MAX = 64 * 1024  # bytes of a welcome
ROLES = ("client", "server")

_TOKEN = re.compile(r"[A-Za-z0-9]{1,200}", re.ASCII)
_SHAPE = re.compile(
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+):(?P<port>[0-9]{1,5})/(?P<code>[a-z2-7]{42})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """Attributes:
    secret: 10 bytes; whoever presents them first is let in.
    pin: 16 bytes by which the introducer's TLS key is recognised.
    host: lower case; IPv6 without brackets.
    """

    secret: bytes = field(repr=False)
    pin: bytes
    host: str
    port: int

    def to_text(self) -> str:
        """Return HOST:PORT/ and 42 characters, to be handed to one person."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{base32.encode(self.secret + self.pin)}"


def parse_invitation(text: str) -> Invitation:
    """Return what an invitation says. Case and surrounding white space do not matter.

    Raises:
        ValueError: it is none. The message does not repeat the text, which holds a secret.
    """
    # Other alphabets have letters that become ASCII in lower case.
    match = _SHAPE.fullmatch(text.strip().lower()) if text.isascii() and len(text) <= TEXT_MAX else None
    if match is None:
        raise ValueError("an invitation is HOST:PORT/ and 42 letters and digits from 2 to 7")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError("the port of an invitation lies between 1 and 65535")
    code = base32.decode(match["code"])
    return Invitation(code[:SECRET_SIZE], code[SECRET_SIZE:], _host(match["host"]), port)


def pin_of(spki_hash: str) -> bytes:
    """Return the pin, 16 bytes, of the TLS key whose hash a NURL would carry in 43 characters."""
    return spki_hash_bytes(spki_hash)[:PIN_SIZE]


def redeem_authorization(secret: bytes) -> str:
    """Return the value of the ``Authorization`` header that redeems an invitation."""
    return authorization_value(base32.encode(secret))


def presented_secret(value: str | None) -> bytes | None:
    """Return the secret, 10 bytes, in the value of an ``Authorization`` header, or None if there is none."""
    text = presented_swissnum(value)
    try:
        secret = base32.decode(text or "")
    except ValueError:
        return None
    return secret if len(secret) == SECRET_SIZE else None


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a new node learns by redeeming its invitation.

    Attributes:
        role: client or server.
        nickname: for the new node; empty: it chooses.
        introducers: NURLs: for a server such that it may publish.
        encoding: shares needed, happiness, shares in all; None: the node's own defaults.
        grid: a name for people.
        vdrive: NURL of a virtual drive server, and the token of an account there; None: there is none.
    """

    role: str
    nickname: str
    introducers: tuple[str, ...] = field(repr=False)
    encoding: tuple[int, int, int] | None
    grid: str
    vdrive: tuple[str, str] | None = field(default=None, repr=False)


def encode_welcome(welcome: Welcome) -> bytes:
    message: dict[str, object] = {
        "role": welcome.role,
        "nickname": welcome.nickname,
        "introducers": welcome.introducers,
        "grid": welcome.grid,
    }
    if welcome.encoding is not None:
        message["encoding"] = welcome.encoding
    if welcome.vdrive is not None:
        message["vdrive"] = welcome.vdrive
    return deterministic_cbor.encode(message)


def decode_welcome(data: bytes) -> Welcome:
    """Return the welcome.

    Raises:
        MalformedMessageError: it is none.
    """
    required = ("role", "nickname", "introducers", "grid")
    parts = items.fields(items.decoded(data), "welcome", required, ("encoding", "vdrive"))
    role = items.text(parts["role"], "role")
    if role not in ROLES:
        raise MalformedMessageError("role: neither client nor server")
    introducers = items.array(parts["introducers"], "introducers", 1, INTRODUCERS_MAX)
    return Welcome(
        role=role,
        nickname=items.shown_text(parts["nickname"], "nickname", NICKNAME_MAX),
        introducers=tuple(_nurl(introducer) for introducer in introducers),
        encoding=_encoding(parts["encoding"]) if "encoding" in parts else None,
        grid=items.shown_text(parts["grid"], "grid", NICKNAME_MAX),
        vdrive=_account(parts["vdrive"]) if "vdrive" in parts else None,
    )


def _nurl(value: object) -> str:
    text = items.text(value, "introducer")
    try:
        parse_nurl(text)
    except ValueError as error:
        raise MalformedMessageError(f"introducer: {error}") from None
    return text


def _account(value: object) -> tuple[str, str]:
    place, token = items.array(value, "vdrive", 2, 2)
    text = items.text(token, "vdrive")
    if _TOKEN.fullmatch(text) is None:
        raise MalformedMessageError("vdrive: the token of an account is letters and digits")
    return _nurl(place), text


def _encoding(value: object) -> tuple[int, int, int]:
    numbers = [items.number(item, "encoding") for item in items.array(value, "encoding", 3, 3)]
    needed, happiness, total = numbers
    if not 1 <= needed <= total <= SHARES_MAX or not 1 <= happiness <= total:
        raise MalformedMessageError("encoding: these shares cannot be made")
    return needed, happiness, total


def _host(text: str) -> str:
    if not text.startswith("["):
        return text
    try:
        return str(ipaddress.IPv6Address(text[1:-1]))
    except ipaddress.AddressValueError:
        raise ValueError("the host of an invitation is no IPv6 address") from None
