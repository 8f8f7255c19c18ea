"""Servers of happiness: how many servers can each be credited with a share of their own.

Source: docs/spec/grid.md, section 9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def maximum_matching(servers: Sequence[str], shares_of: Mapping[str, Collection[int]]) -> dict[str, int]:
    """Match servers to shares they hold, as many as can be, one to one.

    Servers are taken in order, each tries its shares in ascending order; so the result is reproducible.
    """
    holder: dict[int, str] = {}
    matched: dict[str, int] = {}
    for server in servers:
        path = _augmenting_path(server, shares_of, holder)
        for free_server, share in path:
            holder[share] = free_server
            matched[free_server] = share
    return matched


def happiness(sharemap: Mapping[int, Collection[str]]) -> int:
    """Return the happiness of a distribution: share number to the servers that hold it."""
    shares_of: dict[str, list[int]] = {}
    for share in sorted(sharemap):
        for server in sharemap[share]:
            shares_of.setdefault(server, []).append(share)
    return len(maximum_matching(sorted(shares_of), shares_of))


def _augmenting_path(
    start: str, shares_of: Mapping[str, Collection[int]], holder: Mapping[int, str]
) -> list[tuple[str, int]]:
    """Return (server, share) pairs that make one more match, or none. Every share is visited once."""
    visited: set[int] = set()
    # Depth first, with a stack of our own: (server, its shares still to try, the share taken from it).
    stack = [(start, iter(sorted(shares_of.get(start, ()))))]
    taken: list[int] = []
    while stack:
        share = next((s for s in stack[-1][1] if s not in visited), None)
        if share is None:
            stack.pop()
            if taken:
                taken.pop()
            continue
        visited.add(share)
        taken.append(share)
        if share not in holder:
            return [(frame[0], s) for frame, s in zip(stack, taken, strict=True)]
        owner = holder[share]
        stack.append((owner, iter(sorted(shares_of.get(owner, ())))))
    return []
