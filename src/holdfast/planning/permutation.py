"""The order in which the servers are asked about one file; every client computes the same.
Servers are known by their permutation seeds, which their records hold.

SHA-1 only shuffles here; it identifies and protects nothing.

Source: docs/spec/grid.md, section 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence


def position(index: bytes, seed: bytes) -> bytes:
    """Return the 20 bytes that servers are sorted by, for one storage index."""
    return hashlib.sha1(index + seed, usedforsecurity=False).digest()


def permuted(
    index: bytes, servers: Sequence[tuple[str, bytes]], preferred: Collection[str] = ()
) -> list[str]:
    """Return the ids of (id, seed) pairs in the order for this index, preferred ones first."""
    keyed = [(server_id not in preferred, position(index, seed), server_id) for server_id, seed in servers]
    return [server_id for _, _, server_id in sorted(keyed)]
