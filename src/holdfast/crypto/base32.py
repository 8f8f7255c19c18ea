"""Base32 in lower case and without padding, as capabilities and paths use it.

Source: docs/spec/hashing.md, section 1.
"""

from __future__ import annotations

from holdfast.crypto.buffers import Buffer

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ALPHABET = frozenset(_CHARACTERS)
_DIGITS = str.maketrans(_CHARACTERS, "0123456789abcdefghijklmnopqrstuv")  # of numbers to the base 32
_PAIRS = [one + other for one in _CHARACTERS for other in _CHARACTERS]
_AT_ONCE = 320  # bytes, a multiple of five: large numbers are slow
_UNUSED_BITS = {0: 0, 2: 2, 4: 4, 5: 1, 7: 3}  # by number of characters modulo 8; other numbers cannot be


def encode(data: Buffer) -> str:
    """Return the text of any bytes: ceil(8 * len / 5) characters."""
    if len(data) > _AT_ONCE:
        return encode(data[:_AT_ONCE]) + encode(data[_AT_ONCE:])
    bits = 8 * len(data)
    number = int.from_bytes(data, "big") << (-bits % 10)
    pairs = [_PAIRS[number >> shift & 1023] for shift in range(bits + -bits % 10 - 10, -1, -10)]
    return "".join(pairs)[: (bits + 4) // 5]


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
    if not text:
        return b""
    return (int(text.translate(_DIGITS), 32) >> unused).to_bytes(len(text) * 5 // 8, "big")
