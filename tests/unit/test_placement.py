"""Shares are placed for the best happiness possible, moving nothing that is in place, and reproducibly."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.planning.happiness import happiness
from holdfast.planning.placement import Placement, place, placement_happiness

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())["placement"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_placement_is_exactly_that_of_the_vectors(vector: dict[str, Any]) -> None:
    placement = place(
        vector["servers_in_permuted_order"],
        vector["readonly"],
        vector["total_shares"],
        vector["existing"],
    )

    assert placement.servers == {int(share): server for share, server in vector["placement"].items()}
    reached = placement_happiness(placement, vector["existing"])
    assert reached == vector["happiness_if_all_accept"]
    assert reached >= max(vector["tahoe_1_20_happiness_seen"])


class Situation:
    """What an upload finds, small enough to try every placement."""

    def __init__(self, read_only: int, writable: int, total: int, held: list[tuple[int, int]]) -> None:
        self.servers = [f"r{i}" for i in range(read_only)] + [f"w{i}" for i in range(writable)]
        self.read_only = self.servers[:read_only]
        self.writable = self.servers[read_only:]
        self.total = total
        self.existing: dict[str, set[int]] = {}
        for server, share in held:
            if self.servers:
                self.existing.setdefault(self.servers[server % len(self.servers)], set()).add(share)

    def place(self) -> Placement:
        return place(self.servers, self.read_only, self.total, self.existing)

    def best_happiness(self) -> int:
        """Try to send every share to every writable server."""
        best = 0
        for choice in itertools.product([None, *self.writable], repeat=self.total):
            sharemap = {share: {server} for share, server in enumerate(choice) if server is not None}
            for server, shares in self.existing.items():
                for share in shares:
                    if share < self.total:
                        sharemap.setdefault(share, set()).add(server)
            best = max(best, happiness(sharemap))
        return best


SITUATIONS = st.builds(
    Situation,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8),
)


@pytest.mark.seed("X-18")
@given(SITUATIONS)
def test_no_other_placement_gives_more_happiness(situation: Situation) -> None:
    existing = {
        server: {share for share in shares if share < situation.total}
        for server, shares in situation.existing.items()
    }

    assert placement_happiness(situation.place(), existing) == situation.best_happiness()


@given(SITUATIONS)
def test_read_only_servers_get_nothing_new(situation: Situation) -> None:
    for share, server in situation.place().servers.items():
        if server in situation.read_only:
            assert share in situation.existing[server]


@given(SITUATIONS)
def test_every_share_has_a_place_where_a_server_can_be_written(situation: Situation) -> None:
    placed = situation.place().servers

    assert set(placed) <= set(range(situation.total))
    if situation.writable:
        assert set(placed) == set(range(situation.total))


@given(SITUATIONS)
def test_a_second_upload_moves_nothing(situation: Situation) -> None:
    first = situation.place().servers
    existing = {server: set(shares) for server, shares in situation.existing.items()}
    for share, server in first.items():
        existing.setdefault(server, set()).add(share)

    again = place(situation.servers, situation.read_only, situation.total, existing).servers

    assert all(share in existing[server] for share, server in again.items())


@given(st.integers(1, 12), st.integers(1, 40))
def test_a_fresh_upload_spreads_evenly(server_count: int, total: int) -> None:
    servers = [f"s{i}" for i in range(server_count)]

    placed = list(place(servers, (), total, {}).servers.values())

    loads = [placed.count(server) for server in servers]
    assert max(loads) - min(loads) <= 1


@pytest.mark.parametrize("read_only", [0, 128, 256])
@pytest.mark.parametrize(
    "held",
    [
        pytest.param(lambda i: range(i + 1), id="ever more"),
        pytest.param(lambda i: range(256 - i), id="ever fewer"),
        pytest.param(lambda i: range(256), id="everything everywhere"),
        pytest.param(lambda i: (i, (i + 1) % 256), id="a ring"),
    ],
)
def test_the_largest_case_takes_less_than_a_second(
    held: Callable[[int], Iterable[int]], read_only: int
) -> None:
    servers = [f"s{i}" for i in range(256)]
    existing = {server: set(held(i)) for i, server in enumerate(servers)}

    began = time.process_time()
    placement = place(servers, servers[:read_only], 256, existing)
    reached = placement_happiness(placement, existing)

    assert time.process_time() - began < 1
    assert reached == 256
