"""Announcements: what a node says of one of its services, signed by its node key, each
location vouched for by the TLS key that answers there.

Introducers store and hand on the signed bytes unchanged, so that they can withhold, but
not forge, alter or redirect. Whoever holds a ``SignedAnnouncement`` holds one whose
signature and proofs were checked.

Source: docs/spec/control-and-introducer.md, sections 3.4 and 3.9, appendices A and B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.crypto import base32, signatures
from holdfast.crypto.netstring import netstring
from holdfast.interfaces.introducer import ANNOUNCEMENT_MAX, LOCATIONS_MAX
from holdfast.interfaces.types import MAX_NURL
from holdfast.protocol import deterministic_cbor
from holdfast.protocol.cbor import MalformedCborError, TaggedSet
from holdfast.protocol.nurl import parse_nurl, spki_hash

FORMAT = 1
SERVICE_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
NICKNAME_MAX = 64  # characters
NESTING_MAX = 8  # of the properties, which count as the first level
LIFE_DEFAULT_S = 7 * 86400
LIFE_MAX_S = 30 * 86400
CLOCK_TOLERANCE_S = 3600  # how far ahead of the reader's clock an announcement may be issued

_INTEGER_END = 2**63
_SPKI_MAX = 600  # bytes
_PROOF_MIN, _PROOF_MAX = 64, 512  # bytes
# What is signed travels as [ann, signature], which adds a head of 1, 3 and 2 bytes and the signature.
_ANN_MAX = ANNOUNCEMENT_MAX - 6 - signatures.SIGNATURE_SIZE
_ANNOUNCEMENT_TAG = netstring(b"holdfast:introducer:v1:announcement")
_LOCATION_TAG = netstring(b"holdfast:introducer:v1:location")
_ID_PREFIX = "v0-"
# Names are shown on terminals: nothing in them moves the cursor, breaks the line or turns the text around.
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_FORMAT, _SERVICE, _VERIFY_KEY, _SEQUENCE, _ISSUED, _EXPIRES = 1, 2, 3, 4, 5, 6
_LOCATIONS, _NICKNAME, _VERSION, _PROPERTIES, _WITHDRAWN = 7, 8, 9, 10, 11
_REQUIRED = frozenset(range(_FORMAT, _WITHDRAWN))
_NURL, _SPKI, _PROOF = 1, 2, 3


class BadAnnouncementError(ValueError):
    """The announcement is malformed, forged, or says what it may not. The message repeats none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """One place where a service answers.

    Attributes:
        spki: the SubjectPublicKeyInfo, DER, of the TLS key that answers there.
        proof: that key's signature over verify key and NURL.
    """

    nurl: str = field(repr=False)
    spki: bytes
    proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is said of one service of one node. ``issued`` and ``expires`` in Unix seconds.

    Attributes:
        verify_key: the node's, 32 bytes. Together with ``service`` it names the announcement.
        sequence: of several with one name, the one with the highest number counts.
        version: of the node's software, and the oldest it can talk to.
        properties: by text; what they mean depends on the service.
        withdrawn: the service is gone for good; there are no locations then.
    """

    service: str
    verify_key: bytes
    sequence: int
    issued: int
    expires: int
    locations: tuple[Location, ...]
    nickname: str = ""
    version: tuple[str, str]
    properties: Mapping[str, object] = field(repr=False)
    withdrawn: bool = False

    @property
    def server_id(self) -> str:
        """The text form of the verify key: "v0-" and 52 characters."""
        return server_id_of(self.verify_key)

    @property
    def nurls(self) -> tuple[str, ...]:
        """The NURLs of the locations, in order, each once. They hold secrets."""
        return tuple(dict.fromkeys(location.nurl for location in self.locations))


@dataclass(frozen=True, slots=True)
class SignedAnnouncement:
    """An announcement that was verified, and the bytes in which it travels."""

    announcement: Announcement
    ann: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def bytes_pair(self) -> tuple[bytes, bytes]:
        return self.ann, self.signature


def server_id_of(verify_key: bytes) -> str:
    """Return the text form of a verify key."""
    return _ID_PREFIX + base32.encode(verify_key)


def key_of_server_id(text: str) -> bytes:
    """Return the verify key, 32 bytes, that a server id stands for.

    Raises:
        ValueError: it stands for none.
    """
    key = base32.decode(text.removeprefix(_ID_PREFIX)) if text.startswith(_ID_PREFIX) else b""
    if len(key) != signatures.VERIFY_KEY_SIZE:
        raise ValueError(f'a server id is "{_ID_PREFIX}" and 52 characters of base32')
    return key


# -- making


def prove_location(verify_key: bytes, nurl: str, tls_key: PrivateKeyTypes) -> Location:
    """Return the location, vouched for by the TLS key that answers there.

    Raises:
        ValueError: no NURL, one of another TLS key, or a key of a kind that is not allowed.
    """
    spki = tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if parse_nurl(nurl).spki_hash != spki_hash(spki):
        raise ValueError("the NURL names another TLS key")
    proof = signatures.sign_with_tls_key(tls_key, _location_message(verify_key, nurl))
    return Location(nurl=nurl, spki=spki, proof=proof)


def sign_announcement(announcement: Announcement, seed: bytes) -> SignedAnnouncement:
    """Sign with the node key whose seed is given, and check the outcome as any reader will.

    Raises:
        BadAnnouncementError: no reader would take it: too large, say, or the seed is another node's.
    """
    try:
        ann = deterministic_cbor.encode(_to_map(announcement))
    except ValueError as error:
        raise BadAnnouncementError(f"it cannot be encoded: {error}") from None
    return verified_announcement(ann, signatures.sign(seed, _ANNOUNCEMENT_TAG + ann))


def _to_map(announcement: Announcement) -> dict[int, object]:
    result: dict[int, object] = {
        _FORMAT: FORMAT,
        _SERVICE: announcement.service,
        _VERIFY_KEY: announcement.verify_key,
        _SEQUENCE: announcement.sequence,
        _ISSUED: announcement.issued,
        _EXPIRES: announcement.expires,
        _LOCATIONS: [
            {_NURL: place.nurl, _SPKI: place.spki, _PROOF: place.proof} for place in announcement.locations
        ],
        _NICKNAME: announcement.nickname,
        _VERSION: list(announcement.version),
        _PROPERTIES: announcement.properties,
    }
    if announcement.withdrawn:
        result[_WITHDRAWN] = True
    return result


def _location_message(verify_key: bytes, nurl: str) -> bytes:
    return _LOCATION_TAG + netstring(verify_key) + netstring(nurl.encode("utf-8"))


# -- reading


def verified_announcement(ann: bytes, signature: bytes) -> SignedAnnouncement:
    """Return what the bytes say, once form, signature and the proof of each location are shown to be right.

    The times are not compared with a clock: ``check_times`` does.

    Raises:
        BadAnnouncementError: anything is wrong; the message says what.
    """
    if len(ann) > _ANN_MAX:
        raise BadAnnouncementError(f"it is larger than {ANNOUNCEMENT_MAX} bytes with its signature")
    try:
        item = deterministic_cbor.decode(ann, size_max=_ANN_MAX)
    except MalformedCborError as error:
        raise BadAnnouncementError(f"it is not what CBOR allows here: {error}") from None
    announcement = _from_item(item)
    if not signatures.verify(announcement.verify_key, _ANNOUNCEMENT_TAG + ann, signature):
        raise BadAnnouncementError("its signature is not that of its node key")
    _check_locations(announcement)
    return SignedAnnouncement(announcement, ann, signature)


def check_issued(announcement: Announcement, now: float) -> None:
    """Check that it was not issued in the future, where it would outlive all others.

    Raises:
        BadAnnouncementError: it was, by more than CLOCK_TOLERANCE_S.
    """
    if announcement.issued > now + CLOCK_TOLERANCE_S:
        raise BadAnnouncementError("it was issued in the future: a clock is wrong")


def check_times(announcement: Announcement, now: float) -> None:
    """Check the times as an introducer does that is to store the announcement.

    Raises:
        BadAnnouncementError: it was issued in the future, or is expired.
    """
    check_issued(announcement, now)
    if announcement.expires <= now:
        raise BadAnnouncementError("it is expired")


def _from_item(item: object) -> Announcement:
    """Return the announcement, of which neither signature nor proofs are checked yet."""
    _check(
        isinstance(item, dict) and item.keys() - {_WITHDRAWN} == _REQUIRED, "its keys are not those of one"
    )
    assert isinstance(item, dict)
    _check(_number(item[_FORMAT]) == FORMAT, "it has another format than 1")
    withdrawn = item.get(_WITHDRAWN, True)
    _check(withdrawn is True, "withdrawn is true, or left out")
    announcement = Announcement(
        service=_service(item[_SERVICE]),
        verify_key=_octets(item[_VERIFY_KEY], signatures.VERIFY_KEY_SIZE, signatures.VERIFY_KEY_SIZE),
        sequence=_number(item[_SEQUENCE]),
        issued=_number(item[_ISSUED]),
        expires=_number(item[_EXPIRES]),
        locations=_locations(item[_LOCATIONS]),
        nickname=_shown_text(item[_NICKNAME], NICKNAME_MAX),
        version=_version(item[_VERSION]),
        properties=_properties(item[_PROPERTIES]),
        withdrawn=_WITHDRAWN in item,
    )
    life_s = announcement.expires - announcement.issued
    _check(0 < life_s <= LIFE_MAX_S, f"its life is not between 0 and {LIFE_MAX_S} seconds")
    _check(not (announcement.withdrawn and announcement.locations), "it is withdrawn, and has locations")
    return announcement


def _check_locations(announcement: Announcement) -> None:
    for location in announcement.locations:
        try:
            nurl = parse_nurl(location.nurl)
        except ValueError as error:
            raise BadAnnouncementError(f"a location: {error}") from None
        _check(location.spki == announcement.locations[0].spki, "its locations have several TLS keys")
        _check(nurl.spki_hash == spki_hash(location.spki), "a location's NURL names another TLS key")
        message = _location_message(announcement.verify_key, location.nurl)
        proven = signatures.verify_with_tls_key(location.spki, message, location.proof)
        _check(proven, "a location is not vouched for by its TLS key")


def _locations(value: object) -> tuple[Location, ...]:
    items = _list(value)
    _check(len(items) <= LOCATIONS_MAX, f"it has more than {LOCATIONS_MAX} locations")
    return tuple(_location(item) for item in items)


def _location(value: object) -> Location:
    _check(isinstance(value, dict) and value.keys() == {_NURL, _SPKI, _PROOF}, "a location has other keys")
    assert isinstance(value, dict)
    return Location(
        nurl=_text(value[_NURL], MAX_NURL),
        spki=_octets(value[_SPKI], 1, _SPKI_MAX),
        proof=_octets(value[_PROOF], _PROOF_MIN, _PROOF_MAX),
    )


def _version(value: object) -> tuple[str, str]:
    items = _list(value)
    _check(len(items) == 2, "its version is not a pair")
    return _shown_text(items[0], ANNOUNCEMENT_MAX), _shown_text(items[1], ANNOUNCEMENT_MAX)


def _properties(value: object) -> Mapping[str, object]:
    _check(
        isinstance(value, dict) and all(isinstance(key, str) for key in value), "its properties have no names"
    )
    assert isinstance(value, dict)
    _check(_nesting(value) <= NESTING_MAX, f"its properties are nested deeper than {NESTING_MAX} levels")
    return value


def _nesting(value: object) -> int:
    """Return how many arrays and maps lie around the innermost item."""
    if isinstance(value, TaggedSet):
        value = value.items
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_nesting, value), default=0) if isinstance(value, list) else 0


def _service(value: object) -> str:
    _check(isinstance(value, str) and SERVICE_PATTERN.fullmatch(value) is not None, "no name of a service")
    assert isinstance(value, str)
    return value


def _shown_text(value: object, length_max: int) -> str:
    text = _text(value, length_max)
    _check(_NOT_SHOWN.search(text) is None, "a text holds control characters")
    return text


def _text(value: object, length_max: int) -> str:
    _check(isinstance(value, str) and len(value) <= length_max, f"no text of at most {length_max} characters")
    assert isinstance(value, str)
    return value


def _number(value: object) -> int:
    _check(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INTEGER_END, "no number")
    assert isinstance(value, int)
    return value


def _octets(value: object, size_min: int, size_max: int) -> bytes:
    _check(
        isinstance(value, bytes) and size_min <= len(value) <= size_max, "bytes that are too few or too many"
    )
    assert isinstance(value, bytes)
    return value


def _list(value: object) -> Sequence[object]:
    _check(isinstance(value, list), "not a list")
    assert isinstance(value, list)
    return value


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadAnnouncementError(otherwise)
