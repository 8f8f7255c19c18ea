"""Decide which server gets which share of an upload. It is given what the servers
hold, and asks nobody; the same input gives the same placement.

Source: docs/spec/grid.md, section 10.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from holdfast.planning.happiness import happiness, maximum_matching


@dataclass(frozen=True, slots=True)
class Placement:
    """Share number to the server it goes to (or stays on). Shares without a place are left out."""

    servers: Mapping[int, str]


def place(
    servers: Sequence[str],
    read_only: Collection[str],
    total: int,
    existing: Mapping[str, Collection[int]],
) -> Placement:
    """Place the shares ``0 .. total - 1`` on servers given in permuted order.

    Args:
        read_only: servers that take nothing new.
        existing: server to the numbers it holds; numbers from ``total`` on do not count.
    """
    held = {server: {n for n in existing.get(server, ()) if 0 <= n < total} for server in servers}
    fixed = [server for server in servers if server in read_only]
    writable = [server for server in servers if server not in read_only]
    on_read_only = maximum_matching(fixed, held)
    taken = set(on_read_only.values())
    on_writable = maximum_matching(writable, {server: held[server] - taken for server in writable})
    placed = {share: server for server, share in (on_read_only | on_writable).items()}
    free = [server for server in writable if server not in on_writable]
    missing = [share for share in range(total) if share not in placed]
    placed.update(zip(missing, free, strict=False))
    _place_rest(placed, total, writable, held)
    return Placement(dict(sorted(placed.items())))


def placement_happiness(placement: Placement, existing: Mapping[str, Collection[int]]) -> int:
    """Return the happiness reached if every server accepts what is placed on it."""
    sharemap: dict[int, set[str]] = {share: {server} for share, server in placement.servers.items()}
    for server, shares in existing.items():
        for share in shares:
            sharemap.setdefault(share, set()).add(server)
    return happiness(sharemap)


def _place_rest(
    placed: dict[int, str], total: int, writable: Sequence[str], held: Mapping[str, Collection[int]]
) -> None:
    """Give the shares still without a place to whoever holds them, else to the least loaded server."""
    if not writable:
        return
    order = {server: i for i, server in enumerate(writable)}
    load = dict.fromkeys(writable, 0)
    for server in placed.values():
        if server in load:
            load[server] += 1
    heap = [(load[server], order[server], server) for server in writable]
    heapq.heapify(heap)
    for share in range(total):
        if share in placed:
            continue
        holder = next((s for s in writable if share in held[s]), None)
        server = holder or _least_loaded(heap, load)
        placed[share] = server
        load[server] += 1
        heapq.heappush(heap, (load[server], order[server], server))


def _least_loaded(heap: list[tuple[int, int, str]], load: Mapping[str, int]) -> str:
    """Take the server with the fewest shares, the first in order if several, off the heap."""
    while True:
        count, rank, server = heapq.heappop(heap)
        if count == load[server]:
            return server
        heapq.heappush(heap, (load[server], rank, server))  # its load has grown since it was put here
