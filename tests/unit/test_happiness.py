"""Happiness is the size of a maximum matching of servers to shares."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.planning.happiness import happiness, maximum_matching

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())["happiness"]

SHAREMAPS = st.dictionaries(st.integers(0, 5), st.sets(st.sampled_from("abcde")), max_size=6)


@pytest.mark.seed("X-18")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_happiness_is_that_of_the_vectors(vector: dict[str, Any]) -> None:
    sharemap = {int(share): servers for share, servers in vector["sharemap"].items()}

    assert happiness(sharemap) == vector["happiness"]


def by_trying_all(sharemap: dict[int, set[str]]) -> int:
    """Credit every share to every server, or to none."""
    choices = [[None, *sorted(servers)] for servers in sharemap.values()]
    best = 0
    for choice in itertools.product(*choices):
        credited = [server for server in choice if server is not None]
        if len(set(credited)) == len(credited):
            best = max(best, len(credited))
    return best


@given(SHAREMAPS)
def test_happiness_is_the_largest_number_of_servers_with_a_share_of_their_own(
    sharemap: dict[int, set[str]],
) -> None:
    assert happiness(sharemap) == by_trying_all(sharemap)


@given(SHAREMAPS, st.integers(0, 9), st.sampled_from("abcdefg"))
def test_another_share_never_makes_unhappy(sharemap: dict[int, set[str]], share: int, server: str) -> None:
    more = {number: set(servers) for number, servers in sharemap.items()}
    more.setdefault(share, set()).add(server)

    assert happiness(sharemap) <= happiness(more) <= happiness(sharemap) + 1


@given(SHAREMAPS)
def test_a_matching_credits_each_server_with_a_share_it_holds_and_no_share_twice(
    sharemap: dict[int, set[str]],
) -> None:
    shares_of = {
        server: {share for share, servers in sharemap.items() if server in servers} for server in "abcde"
    }

    matched = maximum_matching("abcde", shares_of)

    assert all(share in shares_of[server] for server, share in matched.items())
    assert len(set(matched.values())) == len(matched)


def test_the_first_server_gets_its_lowest_share() -> None:
    assert maximum_matching(["b", "a"], {"a": [5, 4], "b": [4, 3]}) == {"b": 3, "a": 4}


def test_a_server_moves_to_another_share_for_the_sake_of_a_later_one() -> None:
    assert maximum_matching(["a", "b"], {"a": [1, 2], "b": [1]}) == {"a": 2, "b": 1}


def test_a_chain_as_long_as_there_can_be_needs_no_deep_recursion() -> None:
    sharemap = {share: {f"s{share:03}", f"s{share + 1:03}"} for share in range(256)}
    sharemap[0] = {"s000"}

    assert happiness(sharemap) == 256
