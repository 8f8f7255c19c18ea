"""The share hash chain: what ties one share to the root over all shares.

Source: docs/spec/immutable.md, section 9.5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from holdfast.crypto.merkle import leaf_index, padded_leaf_count, uncle_chain
from holdfast.errors import CorruptShareError

CHAIN_ENTRY_SIZE = 34  # bytes: a node number and a hash
_ENTRY = struct.Struct(">H32s")
_PROBES = 9  # neighbours tried in the reference's hash table before it jumps


def chain_size(shares_total: int) -> int:
    """Return the bytes of the chain a writer stores."""
    return CHAIN_ENTRY_SIZE * padded_leaf_count(shares_total).bit_length()


@lru_cache(maxsize=4096)
def chain_order(shares_total: int, number: int) -> tuple[int, ...]:
    """Return the nodes of a share's chain in the order in which the reference stores them.

    The order comes from the hash table the reference keeps them in; it means nothing, but shares are
    byte-identical only with it.
    """
    nodes = [*uncle_chain(shares_total, number), leaf_index(shares_total, number)]
    if len(nodes) <= 4:
        return tuple(_place(nodes, 8))
    return tuple(_place([*_place(nodes[:5], 8), *nodes[5:]], 32))


def pack_chain(entries: Sequence[tuple[int, bytes]]) -> bytes:
    """Return (node, hash) entries as stored.

    Raises:
        ValueError: a node above 65,535, or a hash not of 32 bytes.
    """
    parts = []
    for node, value in entries:
        if not 0 <= node <= 0xFFFF or len(value) != 32:
            raise ValueError("an entry of a share hash chain is a node below 65,536 and a hash of 32 bytes")
        parts.append(_ENTRY.pack(node, value))
    return b"".join(parts)


def parse_chain(data: bytes, shares_total: int) -> dict[int, bytes]:
    """Return the entries of a stored chain, by node number.

    Raises:
        CorruptShareError: a ragged length, a node outside the tree, or one node with two hashes.
    """
    nodes = 2 * padded_leaf_count(shares_total) - 1
    if len(data) % CHAIN_ENTRY_SIZE or len(data) > CHAIN_ENTRY_SIZE * nodes:
        raise CorruptShareError("corruption in the share hash chain: impossible length")
    chain: dict[int, bytes] = {}
    for node, value in _ENTRY.iter_unpack(data):
        if node >= nodes or chain.setdefault(node, value) != value:
            raise CorruptShareError("corruption in the share hash chain: impossible node")
    return chain


def _place(values: Sequence[int], slots: int) -> list[int]:
    """Put ``values`` into an open hash table as the reference's does, and read it out slot by slot."""
    table: list[int | None] = [None] * slots
    for value in values:
        slot, perturb = value % slots, value
        while True:
            last = slot + _PROBES if slot + _PROBES <= slots - 1 else slot
            free = next((s for s in range(slot, last + 1) if table[s] is None), None)
            if free is not None:
                table[free] = value
                break
            perturb //= 32
            slot = (5 * slot + 1 + perturb) % slots
    return [value for value in table if value is not None]
