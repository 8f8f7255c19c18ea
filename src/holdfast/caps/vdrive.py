"""Capabilities of the directories of a virtual drive server: write, read, verify, refresh.

They say where the server is, too, so that whoever gets one needs nothing else.

Source: docs/spec/vdrive.md, sections 4.1 to 4.4.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final

from holdfast.crypto import base32
from holdfast.crypto.vdrive_keys import KEY_SIZE, ReadKeys, WriteKeys, refresh_id

SID_SIZE: Final = 32  # bytes
HINTS_SIZE_MAX: Final = 400  # characters, all locations together

_PORT_MAX = 65535
_SWISSNUM = re.compile(r"[a-z2-7]{16,64}", re.ASCII)
_HINT = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[(?P<ipv6>[0-9a-f:.]+)\]|tor:[a-z0-9.-]+\.onion)"
    r":(?P<port>[1-9][0-9]{0,4})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class VdrivePlace:
    """The service that keeps a directory, and where it was when the capability was made.

    Attributes:
        sid: SHA-256 of the service's TLS key, 32 bytes.
        swissnum: 16 to 64 characters of base32; whoever knows it may talk to the service.
        hints: ``host:port``, ``[ipv6]:port`` or ``tor:name.onion:port``, in lower case; there may be none.

    Raises:
        ValueError: one of them is something else.
    """

    sid: bytes
    swissnum: str = field(repr=False)
    hints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.sid) != SID_SIZE:
            raise ValueError(f"the id of a virtual drive server has {SID_SIZE} bytes")
        if _SWISSNUM.fullmatch(self.swissnum) is None:
            raise ValueError("the swissnum of a virtual drive server has 16 to 64 characters of base32")
        if sum(len(hint) + 1 for hint in self.hints) > HINTS_SIZE_MAX:
            raise ValueError("a capability has no room for so many locations")
        if not all(map(_is_location, self.hints)):
            raise ValueError("a location is HOST:PORT, [IPV6]:PORT or tor:NAME.onion:PORT, in lower case")

    def to_text(self) -> str:
        """Return the three fields that all capabilities of a service have in common."""
        hints = base32.encode(",".join(self.hints).encode("ascii"))
        return f"{base32.encode(self.sid)}:{self.swissnum}:{hints}"


@dataclass(frozen=True, slots=True)
class VdriveRefreshCap:
    """Lets its holder renew leases of a directory, and fetch nothing. It cannot be a child."""

    kind: ClassVar[str] = "DIR-Refresh"

    place: VdrivePlace
    refresh_id: bytes  # 32 bytes

    def to_text(self) -> str:
        return _text(self.kind, self.place, self.refresh_id)


@dataclass(frozen=True, slots=True)
class VdriveVerifyCap:
    """Lets its holder fetch a directory and check all of it, without opening anything."""

    kind: ClassVar[str] = "DIR-Verifier"
    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False
    usable: ClassVar[bool] = True
    storage_index: ClassVar[None] = None  # it has no shares

    place: VdrivePlace
    index: bytes  # 32 bytes

    @property
    def verify_cap(self) -> VdriveVerifyCap:
        return self

    @property
    def read_only(self) -> VdriveVerifyCap:
        return self

    @property
    def refresh_cap(self) -> VdriveRefreshCap:
        return VdriveRefreshCap(self.place, refresh_id(self.index))

    def to_text(self) -> str:
        return _text(self.kind, self.place, self.index)


# The keys of these two are kept, hence no slots.
@dataclass(frozen=True)
class VdriveReadCap:
    """Lets its holder list a directory that others may change."""

    kind: ClassVar[str] = "DIR-RO"
    mutable: ClassVar[bool] = True
    writable: ClassVar[bool] = False
    usable: ClassVar[bool] = True
    storage_index: ClassVar[None] = None

    place: VdrivePlace
    read_key: bytes = field(repr=False)  # 32 bytes
    verify_key: bytes  # 32 bytes

    @cached_property
    def keys(self) -> ReadKeys:
        return ReadKeys(self.read_key, self.verify_key)

    @property
    def index(self) -> bytes:
        return self.keys.index

    @property
    def verify_cap(self) -> VdriveVerifyCap:
        return VdriveVerifyCap(self.place, self.index)

    @property
    def read_only(self) -> VdriveReadCap:
        return self

    @property
    def refresh_cap(self) -> VdriveRefreshCap:
        return self.verify_cap.refresh_cap

    def to_text(self) -> str:
        return _text(self.kind, self.place, self.read_key, self.verify_key)


@dataclass(frozen=True)
class VdriveWriteCap:
    """Lets its holder change and list a directory."""

    kind: ClassVar[str] = "DIR"
    mutable: ClassVar[bool] = True
    writable: ClassVar[bool] = True
    usable: ClassVar[bool] = True
    storage_index: ClassVar[None] = None

    place: VdrivePlace
    write_key: bytes = field(repr=False)  # 32 bytes

    @cached_property
    def keys(self) -> WriteKeys:
        return WriteKeys(self.write_key)

    @property
    def index(self) -> bytes:
        return self.keys.read.index

    @property
    def verify_cap(self) -> VdriveVerifyCap:
        return VdriveVerifyCap(self.place, self.index)

    @cached_property
    def read_only(self) -> VdriveReadCap:
        read = self.keys.read
        return VdriveReadCap(self.place, read.read_key, read.verify_key)

    @property
    def refresh_cap(self) -> VdriveRefreshCap:
        return self.verify_cap.refresh_cap

    def to_text(self) -> str:
        return _text(self.kind, self.place, self.write_key)


def vdrive_write_cap(fields: bytes) -> VdriveWriteCap:
    """Parse what is behind the label; as do the three that follow.

    Raises:
        ValueError: it does not have the form of this kind, in every respect.
    """
    place, (write_key,) = _place_and_values(fields, 1)
    return VdriveWriteCap(place, write_key)


def vdrive_read_cap(fields: bytes) -> VdriveReadCap:
    place, (read_key, verify_key) = _place_and_values(fields, 2)
    return VdriveReadCap(place, read_key, verify_key)


def vdrive_verify_cap(fields: bytes) -> VdriveVerifyCap:
    place, (index,) = _place_and_values(fields, 1)
    return VdriveVerifyCap(place, index)


def vdrive_refresh_cap(fields: bytes) -> VdriveRefreshCap:
    place, (refresh_id,) = _place_and_values(fields, 1)
    return VdriveRefreshCap(place, refresh_id)


def _place_and_values(fields: bytes, count: int) -> tuple[VdrivePlace, list[bytes]]:
    """Return the place, and ``count`` values of 32 bytes behind it."""
    sid, swissnum, hints, *values = fields.decode("ascii").split(":")
    if len(values) != count:
        raise ValueError("a capability of this kind has another number of fields")
    joined = base32.decode(hints).decode("ascii")
    place = VdrivePlace(base32.decode(sid), swissnum, tuple(joined.split(",")) if joined else ())
    return place, [_key(value) for value in values]


def _key(text: str) -> bytes:
    key = base32.decode(text)
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes")
    return key


def _is_location(text: str) -> bool:
    match = _HINT.fullmatch(text)
    if match is None or int(match["port"]) > _PORT_MAX:
        return False
    ipv6 = match["ipv6"]
    try:
        return ipv6 is None or str(ipaddress.IPv6Address(ipv6)) == ipv6
    except ipaddress.AddressValueError:
        return False


def _text(kind: str, place: VdrivePlace, *values: bytes) -> str:
    return ":".join(("URI", kind, place.to_text(), *map(base32.encode, values)))
