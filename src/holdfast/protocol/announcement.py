"""Announcements: what a node says of one of its services, signed by its node key, each
location vouched for by the TLS key that answers there.

Introducers store and hand on the signed bytes unchanged, so that they can withhold, but
not forge, alter or redirect. Whoever holds a ``SignedAnnouncement`` holds one whose
signature and proofs were checked.

Source: docs/spec/control-and-introducer.md, sections 3.4 and 3.9, appendices A and B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.crypto import base32, signatures
from holdfast.crypto.netstring import netstring
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import MalformedCborError, TaggedSet
from holdfast.interfaces.introducer import ANNOUNCEMENT_MAX, LOCATIONS_MAX
from holdfast.interfaces.types import MAX_NURL
from holdfast.protocol import message_items as items
from holdfast.protocol.nurl import parse_nurl, spki_hash

FORMAT = 1
SERVICE_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
NICKNAME_MAX = 64  # characters
NESTING_MAX = 8  # of the properties, which count as the first level
LIFE_DEFAULT_S = 7 * 86400
LIFE_MAX_S = 30 * 86400
CLOCK_TOLERANCE_S = 3600  # how far ahead of the reader's clock an announcement may be issued

_SPKI_MAX = 600  # bytes
_PROOF_MIN, _PROOF_MAX = 64, 512  # bytes
# What is signed travels as [ann, signature], which adds a head of 1, 3 and 2 bytes and the signature.
_ANN_MAX = ANNOUNCEMENT_MAX - 6 - signatures.SIGNATURE_SIZE
_ANNOUNCEMENT_TAG = netstring(b"holdfast:introducer:v1:announcement")
_LOCATION_TAG = netstring(b"holdfast:introducer:v1:location")
_ID_PREFIX = "v0-"

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
        raise BadAnnouncementError(f"it has more than {ANNOUNCEMENT_MAX} bytes, signed")
    try:
        announcement = _from_item(deterministic_cbor.decode(ann, size_max=_ANN_MAX))
    except MalformedCborError as error:
        raise BadAnnouncementError(f"malformed CBOR: {error}") from None
    except items.MalformedMessageError as error:
        raise BadAnnouncementError(str(error)) from None
    if not signatures.verify(announcement.verify_key, _ANNOUNCEMENT_TAG + ann, signature):
        raise BadAnnouncementError("its signature is not that of its node key")
    for location in announcement.locations:
        _check_location(location, announcement)
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
    parts = items.fields(item, "announcement", _REQUIRED, (_WITHDRAWN,))
    if items.number(parts[_FORMAT], "format") != FORMAT:
        raise BadAnnouncementError("it has another format than 1")
    if parts.get(_WITHDRAWN, True) is not True:
        raise BadAnnouncementError("withdrawn is true, or left out")
    announcement = Announcement(
        service=_service(parts[_SERVICE]),
        verify_key=items.octets(parts[_VERIFY_KEY], "verify key", signatures.VERIFY_KEY_SIZE),
        sequence=items.number(parts[_SEQUENCE], "sequence number"),
        issued=items.number(parts[_ISSUED], "issued"),
        expires=items.number(parts[_EXPIRES], "expires"),
        locations=tuple(map(_location, items.array(parts[_LOCATIONS], "locations", 0, LOCATIONS_MAX))),
        nickname=items.shown_text(parts[_NICKNAME], "nickname", NICKNAME_MAX),
        version=_version(parts[_VERSION]),
        properties=_properties(parts[_PROPERTIES]),
        withdrawn=_WITHDRAWN in parts,
    )
    if not 0 < announcement.expires - announcement.issued <= LIFE_MAX_S:
        raise BadAnnouncementError(f"its life is not between 0 and {LIFE_MAX_S} seconds")
    if announcement.withdrawn and announcement.locations:
        raise BadAnnouncementError("it is withdrawn, and has locations")
    return announcement


def _check_location(location: Location, announcement: Announcement) -> None:
    try:
        nurl = parse_nurl(location.nurl)
    except ValueError as error:
        raise BadAnnouncementError(f"a location: {error}") from None
    if location.spki != announcement.locations[0].spki:
        raise BadAnnouncementError("its locations have several TLS keys")
    if nurl.spki_hash != spki_hash(location.spki):
        raise BadAnnouncementError("a NURL names another TLS key than its location")
    message = _location_message(announcement.verify_key, location.nurl)
    if not signatures.verify_with_tls_key(location.spki, message, location.proof):
        raise BadAnnouncementError("a location is not vouched for by its TLS key")


def _location(value: object) -> Location:
    parts = items.fields(value, "location", (_NURL, _SPKI, _PROOF))
    return Location(
        nurl=items.text(parts[_NURL], "NURL", MAX_NURL),
        spki=items.octets(parts[_SPKI], "SPKI", 1, _SPKI_MAX),
        proof=items.octets(parts[_PROOF], "proof", _PROOF_MIN, _PROOF_MAX),
    )


def _version(value: object) -> tuple[str, str]:
    mine, oldest = items.array(value, "version", 2, 2)
    return items.shown_text(mine, "version"), items.shown_text(oldest, "oldest version")


def _properties(value: object) -> Mapping[str, object]:
    properties = items.text_map(value, "properties")
    if _nesting(properties) > NESTING_MAX:
        raise BadAnnouncementError(f"its properties are nested deeper than {NESTING_MAX} levels")
    return properties


def _nesting(value: object) -> int:
    """Return how many arrays and maps lie around the innermost item."""
    if isinstance(value, TaggedSet):
        value = value.items
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_nesting, value), default=0) if isinstance(value, list) else 0


def _service(value: object) -> str:
    name = items.text(value, "service")
    if SERVICE_PATTERN.fullmatch(name) is None:
        raise BadAnnouncementError("its service has no proper name")
    return name
