"""The recovery line: one line of text, for paper or a password manager, by which a client that is lost is
made again. It holds where the introducers are, and the write capability of the client's roots directory.

    hfr1-k3x9d-...

Behind the mark stands, in groups of five characters, base32 without letters that look like digits or like
each other: a checksum of five bytes, then compressed CBOR. Readers take capitals, o for 0, i and l for 1, and
do not look at dashes and spaces.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from holdfast.caps.expecting import directory_cap
from holdfast.crypto.hashing import tagged_hash
from holdfast.errors import BadCapabilityError, CapabilityError
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import MalformedCborError
from holdfast.protocol.nurl import parse_nurl

MARK = "hfr1"  # the digit is the version
LINE_MAX = 8000  # characters
INTRODUCERS_MAX = 32

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKALIKES = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None, "\t": None})
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP = 5
_CHECKSUM_SIZE = 5  # bytes
_TAG = b"holdfast:recovery-line:v1"
_PLAIN_MAX = 16_000  # bytes


class BadRecoveryLineError(BadCapabilityError):
    """The text is no recovery line; the message says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class RecoveryLine:
    """Attributes:
    introducers: NURLs of introducers of the grid.
    roots: capability of the roots directory.
    """

    introducers: tuple[str, ...] = field(repr=False)
    roots: str = field(repr=False)

    def to_text(self) -> str:
        """Return the line."""
        plain = deterministic_cbor.encode({1: self.introducers, 2: self.roots})
        data = zlib.compress(plain, 9)
        text = _encoded(_checksum(data) + data)
        groups = [text[start : start + _GROUP] for start in range(0, len(text), _GROUP)]
        return "-".join([MARK, *groups])


def parse_recovery_line(text: str) -> RecoveryLine:
    """Return what a recovery line says.

    Raises:
        BadRecoveryLineError: it is none, or was mistyped.
    """
    squeezed = text.strip().lower()
    if len(squeezed) > LINE_MAX:
        raise BadRecoveryLineError("this is too long for a recovery line")
    mark, dash, rest = squeezed.partition("-")
    if not dash or mark[:3] != MARK[:3]:
        raise BadRecoveryLineError(f"a recovery line begins with {MARK}-")
    if mark != MARK:
        raise BadRecoveryLineError("this recovery line is of another version of Holdfast")
    data = _decoded(rest.translate(_LOOKALIKES))
    if _checksum(data[_CHECKSUM_SIZE:]) != data[:_CHECKSUM_SIZE]:
        raise BadRecoveryLineError("the recovery line is incomplete, or a character of it is wrong")
    return _parsed(data[_CHECKSUM_SIZE:])


def _parsed(data: bytes) -> RecoveryLine:
    try:
        plain = zlib.decompressobj().decompress(data, _PLAIN_MAX)
        fields = deterministic_cbor.decode(plain, size_max=_PLAIN_MAX)
    except (zlib.error, MalformedCborError):
        raise BadRecoveryLineError("the recovery line is damaged") from None
    if not isinstance(fields, dict) or fields.keys() != {1, 2}:
        raise BadRecoveryLineError("the recovery line is damaged: it has other fields")
    introducers, roots = fields[1], fields[2]
    if not isinstance(introducers, list) or not 1 <= len(introducers) <= INTRODUCERS_MAX:
        raise BadRecoveryLineError("the recovery line names no introducer, or too many")
    if not isinstance(roots, str) or not all(isinstance(one, str) for one in introducers):
        raise BadRecoveryLineError("the recovery line is damaged: a field is of another kind")
    try:
        for nurl in introducers:
            parse_nurl(nurl)
        directory_cap(roots)
    except (ValueError, CapabilityError):
        raise BadRecoveryLineError("the recovery line leads nowhere: a part of it is malformed") from None
    return RecoveryLine(tuple(map(str, introducers)), roots)


def _checksum(data: bytes) -> bytes:
    return tagged_hash(_TAG, data, _CHECKSUM_SIZE)


def _encoded(data: bytes) -> str:
    bits = 8 * len(data)
    padding = -bits % 5
    number = int.from_bytes(data, "big") << padding
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(bits + padding - 5, -1, -5))


def _decoded(text: str) -> bytes:
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise BadRecoveryLineError("a character in the recovery line is none of those it is made of")
        number = number << 5 | value
    padding = 5 * len(text) % 8
    if padding >= 5 or number & ((1 << padding) - 1):
        raise BadRecoveryLineError("the recovery line is incomplete, or a character of it is wrong")
    return (number >> padding).to_bytes(5 * len(text) // 8, "big")
