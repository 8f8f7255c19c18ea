"""NURLs: where a server is, how to recognise it, and the permission to use it, in one line of text.

Source: docs/spec/storage-protocol.md, sections 2 and 3.2.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from holdfast.interfaces.types import MAX_NURL

DEFAULT_PORT = 443
_SPKI_HASH_SIZE = 43  # characters
_SHAPE = re.compile(
    r"(?P<scheme>pb|pb\+tor)://(?P<hash>[A-Za-z0-9_-]{43})@"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{1,5}))?"
    r"/(?P<swissnum>(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)#v=1",
    re.ASCII,
)
_SEGMENT_SAFE = "-._~!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Nurl:
    """One place where a server answers. ``host`` is lower case, IPv6 without brackets."""

    scheme: str
    spki_hash: str  # 43 characters
    host: str
    port: int
    swissnum: str = field(repr=False)  # whoever knows it may use the service

    @property
    def address(self) -> str:
        """``HOST:PORT``, an IPv6 address in brackets. It holds no secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def to_text(self) -> str:
        """Return the canonical form."""
        swissnum = quote(self.swissnum, safe=_SEGMENT_SAFE)
        return f"{self.scheme}://{self.spki_hash}@{self.address}/{swissnum}#v=1"


def parse_nurl(text: str) -> Nurl:
    """Parse a NURL.

    Raises:
        ValueError: it is none. The message does not repeat the text, which holds a secret.
    """
    if len(text) > MAX_NURL:
        raise ValueError(f"a NURL has at most {MAX_NURL} characters")
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError("not a NURL of the form pb://HASH@HOST:PORT/SWISSNUM#v=1")
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError("the port of a NURL lies between 1 and 65535")
    if _encode(base64.urlsafe_b64decode(match["hash"] + "=")) != match["hash"]:
        raise ValueError("the hash of a NURL has unused bits that are not zero")
    swissnum = unquote_to_bytes(match["swissnum"])
    if not swissnum.isascii():
        raise ValueError("the swissnum of a NURL is ASCII")
    return Nurl(match["scheme"], match["hash"], _host(match["host"]), port, swissnum.decode("ascii"))


def spki_hash(spki_der: bytes) -> str:
    """Return the 43-character hash of a DER-encoded SubjectPublicKeyInfo."""
    return _encode(hashlib.sha256(spki_der).digest())


def spki_hash_bytes(text: str) -> bytes:
    """Return the 32 bytes that a 43-character hash stands for."""
    return base64.urlsafe_b64decode(text + "=")


def spki_hash_text(digest: bytes) -> str:
    """Return the 43 characters that stand for a hash of 32 bytes."""
    return _encode(digest)


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _host(text: str) -> str:
    if not text.startswith("["):
        return text.lower()
    try:
        return str(ipaddress.IPv6Address(text[1:-1]))
    except ipaddress.AddressValueError:
        raise ValueError("the host of a NURL is no IPv6 address") from None
