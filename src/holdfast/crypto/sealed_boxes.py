"""Sealed boxes: the fields of a directory's entries, each tied to its place.

AES-SIV needs no nonce that never repeats: a repeated one shows only that two boxes of a
place hold the same.

Source: docs/spec/vdrive.md, sections 3.2, 5.2 and 5.3; RFC 5297.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from holdfast.crypto.netstring import netstring
from holdfast.crypto.vdrive_keys import SEAL_KEY_SIZE, log_name, tag
from holdfast.errors import IntegrityError

SealedBox = NewType("SealedBox", bytes)
"""What a server stores without being able to look into it: empty, or at least ``OVERHEAD`` bytes."""

BoxField = Literal["n", "w", "r", "m"]
"""Name, read-write capability, read-only capability, metadata of an edge."""

BOX_FIELDS: Final[tuple[BoxField, ...]] = ("n", "w", "r", "m")
BOX_SIZE_MAX: Final[Mapping[BoxField, int]] = {"n": 1100, "w": 1100, "r": 1100, "m": 8100}  # bytes
NONCE_SIZE: Final = 16
OVERHEAD: Final = 33  # version byte, nonce, synthetic IV

_VERSION = b"\x01"
_UNITS: Final[Mapping[BoxField, int]] = {"n": 64, "w": 256, "r": 256, "m": 64}
_FIELD_BYTES: Final[Mapping[BoxField, bytes]] = {"n": b"n", "w": b"w", "r": b"r", "m": b"m"}
_FIRST_NONCE, _FIRST_SIV = 1, 1 + NONCE_SIZE


class BoxShapeError(ValueError):
    """The bytes cannot be a box."""


class BoxTooLargeError(BoxShapeError):
    """The box is larger than any of its field."""


class SealedBoxError(IntegrityError):
    """A box does not open: it was damaged, put in another place, or sealed with another key."""


def check_shape(field: BoxField, box: bytes) -> SealedBox:
    """Return ``box``, if it can be one as far as those without a key can tell.

    Raises:
        BoxTooLargeError: it is too large.
        BoxShapeError: it is too small; only the box of a write capability can be missing.
    """
    if len(box) > BOX_SIZE_MAX[field]:
        raise BoxTooLargeError(f"box {field} has more than {BOX_SIZE_MAX[field]} bytes")
    if len(box) < OVERHEAD and (box or field != "w"):
        raise BoxShapeError(f"box {field} has fewer than {OVERHEAD} bytes")
    return SealedBox(box)


class BoxCipher:
    """Seals and opens boxes of one directory with one key. Threads may share it."""

    def __init__(self, key: bytes, index: bytes) -> None:
        """``key``: 64 bytes. ``index``: of the directory, 32 bytes."""
        if len(key) != SEAL_KEY_SIZE:
            raise ValueError(f"a sealing key has {SEAL_KEY_SIZE} bytes")
        self._siv = AESSIV(key)
        self._index = index
        self._place = netstring(tag("box")) + index

    def seal(self, slot: bytes, field: BoxField, nonce: bytes, plaintext: bytes) -> SealedBox:
        """Return the box of ``plaintext`` in one field of one slot.

        Args:
            nonce: 16 random bytes.

        Raises:
            ValueError: the plaintext is too long for its field.
        """
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"a nonce has {NONCE_SIZE} bytes")
        padding = -(len(plaintext) + 1) % _UNITS[field]
        padded = b"%b\x80%b" % (plaintext, bytes(padding))
        if len(padded) + OVERHEAD > BOX_SIZE_MAX[field]:
            raise BoxTooLargeError(f"this is too long for box {field}")
        siv = self._siv.encrypt(padded, [self._place + slot + _FIELD_BYTES[field], nonce])
        return SealedBox(_VERSION + nonce + siv)

    def open(self, slot: bytes, field: BoxField, box: bytes) -> bytes:
        """Return the plaintext of ``box``, which was found in one field of one slot.

        Raises:
            SealedBoxError: it was not sealed for this place with this key.
        """
        size = len(box) - OVERHEAD
        if box[:1] != _VERSION or size <= 0 or size % _UNITS[field]:
            raise self._error(slot, field, "is malformed")
        associated = [self._place + slot + _FIELD_BYTES[field], box[_FIRST_NONCE:_FIRST_SIV]]
        try:
            padded = self._siv.decrypt(box[_FIRST_SIV:], associated)
        except InvalidTag:
            raise self._error(slot, field, "does not open") from None
        plaintext = padded.rstrip(b"\x00")
        if not plaintext.endswith(b"\x80") or size - len(plaintext) >= _UNITS[field]:
            raise self._error(slot, field, "is padded wrongly")
        return plaintext[:-1]

    def _error(self, slot: bytes, field: BoxField, what: str) -> SealedBoxError:
        where = f"directory {log_name(self._index)}, entry {log_name(slot)}"
        return SealedBoxError(f"{where}: box {field} {what}")
