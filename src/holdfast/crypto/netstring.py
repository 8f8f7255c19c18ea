"""Netstrings: a decimal length, a colon, the bytes, a comma.

Source: docs/spec/hashing.md, section 2.
"""

from __future__ import annotations

_DIGITS_MAX = 20


def netstring(value: bytes) -> bytes:
    """Return ``value`` as a netstring."""
    return b"%d:%b," % (len(value), value)


def split(data: bytes, offset: int = 0) -> tuple[bytes, int]:
    """Return the netstring's value at ``offset``, and the offset behind it.

    Raises:
        ValueError: there is no netstring, or it is cut off.
    """
    colon = data.find(b":", offset, offset + _DIGITS_MAX + 1)
    digits = data[offset : max(colon, offset)]
    if not digits.isdigit() or (len(digits) > 1 and digits.startswith(b"0")):
        raise ValueError("not a netstring: no length")
    end = colon + 1 + int(digits)
    if data[end : end + 1] != b",":
        raise ValueError("not a netstring: cut off, or no comma behind it")
    return data[colon + 1 : end], end + 1
