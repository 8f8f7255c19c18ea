"""The data that test vectors name by a seed and a length.

Source: tests/vectors/README.md.
"""

from __future__ import annotations

import hashlib


def generated_data(seed: str, size: int) -> bytes:
    """Return SHA-256 of "seed:0", of "seed:1", and so on, joined, and cut to ``size`` bytes."""
    pieces = (hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(-(-size // 32)))
    return b"".join(pieces)[:size]
