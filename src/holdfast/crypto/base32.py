"""Base32 in lower case and without padding, as capabilities and paths use it.

Source: docs/spec/hashing.md, section 1.
"""

from __future__ import annotations

import base64

from holdfast.crypto.buffers import Buffer

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ALPHABET = frozenset(_CHARACTERS)
_UNUSED_BITS = {0: 0, 2: 2, 4: 4, 5: 1, 7: 3}  # by number of characters modulo 8; other numbers cannot be


def encode(data: Buffer) -> str:
    """Return the text of any bytes: ceil(8 * len / 5) characters."""
    return base64.b32encode(bytes(data)).decode("ascii").rstrip("=").lower()


def decode(text: str) -> bytes:
    """Return the bytes of ``text``; ``encode`` of them is ``text`` again.

    Raises:
        ValueError: a character outside the alphabet, an impossible length, or unused bits that are not zero.
    """
    unused = _UNUSED_BITS.get(len(text) % 8)
    if unused is None:
        raise ValueError("base32 text cannot have this length")
    if not _ALPHABET.issuperset(text):
        raise ValueError("not a character of base32")
    if text and _CHARACTERS.index(text[-1]) & ((1 << unused) - 1):
        raise ValueError("the unused bits of base32 text are not zero")
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
