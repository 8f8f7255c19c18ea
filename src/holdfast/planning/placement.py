"""Decide which server gets which share of an upload. It is given what the servers
hold, and asks nobody; the same input gives the same placement.

Source: docs/spec/grid.md, section 10.
"""

from __future__ import annotations

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
    writable = [server for server in servers if server not in read_only]
    if len(writable) == total and not any(existing.values()):
        return Placement(dict(enumerate(writable)))
    held = {server: {n for n in existing.get(server, ()) if 0 <= n < total} for server in servers}
    fixed = [server for server in servers if server in read_only]
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
    load = dict.fromkeys(writable, 1)  # each has one by now, or there is nothing left to place
    for share in range(total):
        if share not in placed:
            holder = next((server for server in writable if share in held[server]), None)
            placed[share] = holder or min(writable, key=load.__getitem__)  # of equals the first
            load[placed[share]] += 1
