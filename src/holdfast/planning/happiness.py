"""Servers of happiness: how many servers can each be credited with a share of their own.

Source: docs/spec/grid.md, section 9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from holdfast.planning.matching import Matching


def maximum_matching(servers: Sequence[str], shares_of: Mapping[str, Collection[int]]) -> dict[str, int]:
    """Match servers to shares they hold, as many as can be, one to one.

    Servers are taken in order, each tries its shares in ascending order; so the result is reproducible.
    """
    matching = Matching({server: sorted(shares_of.get(server, ())) for server in servers})
    for server in servers:
        matching.add(server)
    return matching.matched


def happiness(sharemap: Mapping[int, Collection[str]]) -> int:
    """Return the happiness of a distribution: share number to the servers that hold it."""
    if len({server for servers in sharemap.values() for server in servers}) == len(sharemap) and all(
        len(servers) == 1 for servers in sharemap.values()
    ):
        return len(sharemap)  # each share on a server of its own, as it should be
    shares_of: dict[str, list[int]] = {}
    for share in sorted(sharemap):
        for server in sharemap[share]:
            shares_of.setdefault(server, []).append(share)
    return len(maximum_matching(sorted(shares_of), shares_of))
