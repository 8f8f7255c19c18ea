"""The order in which the servers are asked about one file; every client computes the same.

SHA-1 only shuffles here; it identifies and protects nothing.

Source: docs/spec/grid.md, section 8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence

from holdfast.crypto import base32

_KEY_ID = re.compile(r"v0-([a-z2-7]{52})", re.ASCII)


def permutation_seed(server_id: str, announced_base32: str | None) -> bytes:
    """Return what places a server in the order, any number of bytes.

    Raises:
        ValueError: the announced seed is not base32, or the id looks like a key and is none.
    """
    if announced_base32 is not None:
        return base32.decode(announced_base32)
    key = _KEY_ID.fullmatch(server_id)
    if key is not None:
        return base32.decode(key[1])
    return hashlib.sha256(server_id.encode("utf-8")).digest()


def position(index: bytes, seed: bytes) -> bytes:
    """Return the 20 bytes that servers are sorted by, for one storage index."""
    return hashlib.sha1(index + seed, usedforsecurity=False).digest()


def permuted(
    index: bytes, servers: Sequence[tuple[str, bytes]], preferred: Collection[str] = ()
) -> list[str]:
    """Return the ids of (id, seed) pairs in the order for this index, preferred ones first."""
    keyed = [(server_id not in preferred, position(index, seed), server_id) for server_id, seed in servers]
    return [server_id for _, _, server_id in sorted(keyed)]
