"""Base32 in lower case and without padding, as capabilities and paths use it.

Source: docs/spec/hashing.md, section 1.
"""

from __future__ import annotations

import base64

from holdfast.crypto.buffers import Buffer

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}


def encode(data: Buffer) -> str:
    """Return the text of any bytes: ceil(8 * len / 5) characters."""
    return base64.b32encode(bytes(data)).decode("ascii").rstrip("=").lower()


def decode(text: str) -> bytes:
    """Return the bytes of ``text``; ``encode`` of them is ``text`` again.

    Raises:
        ValueError: a character outside the alphabet, an impossible length, or unused bits that are not zero.
    """
    if len(text) % 8 in (1, 3, 6):
        raise ValueError("base32 text cannot have this length")
    number = 0
    try:
        for character in text:
            number = number << 5 | _VALUE[character]
    except KeyError:
        raise ValueError("not a character of base32") from None
    size, unused = divmod(5 * len(text), 8)
    if number & ((1 << unused) - 1):
        raise ValueError("the unused bits of base32 text are not zero")
    return (number >> unused).to_bytes(size, "big")
