"""Sizes as people write them: ``10G``, ``5 MB``, ``500Gi``.

Source: docs/spec/seed-map.md, X-11; docs/spec/storage-disk.md, section 1.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]+)\s*(?:([kmgtpe])(i?))?b?", re.ASCII | re.IGNORECASE)
_POWERS = "kmgtpe"


def parse_size(text: str) -> int:
    """Return the number of bytes that ``text`` names.

    Digits, then optionally K, M, G, T, P or E for a power of 1000 (with ``i``: of 1024) and B; either case.

    Raises:
        ValueError: it names no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    digits, letter, binary = match.groups()
    if letter is None:
        return int(digits)
    size = int(digits)
    for _ in range(_POWERS.index(letter.lower()) + 1):
        size *= 1024 if binary else 1000
    return size
