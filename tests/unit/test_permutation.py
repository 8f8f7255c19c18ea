"""All clients compute one order of the servers for a file, the deployed ones included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32
from holdfast.planning.permutation import permuted, position
from holdfast.protocol.server_record import permutation_seed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())["permutation"]
SERVERS = VECTORS["servers"]
SEEDS = {
    server["name"]: permutation_seed(server["server_id"], server["permutation_seed_base32"])
    for server in SERVERS
}
IDS = {server["name"]: server["server_id"] for server in SERVERS}


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server["name"])
def test_the_seed_is_the_announced_one_or_follows_from_the_id(server: dict[str, Any]) -> None:
    assert SEEDS[server["name"]].hex() == server["seed_hex"]


@pytest.mark.seed("X-17")
@pytest.mark.parametrize("case", VECTORS["cases"])
def test_the_order_is_that_of_the_reference_and_preferred_servers_come_first(case: dict[str, Any]) -> None:
    index = base32.decode(case["storage_index_b32"])
    names = {server_id: name for name, server_id in IDS.items()}

    digests = {name: position(index, seed).hex() for name, seed in SEEDS.items()}
    order = permuted(
        index,
        [(IDS[name], seed) for name, seed in SEEDS.items()],
        [IDS.get(preferred, preferred) for preferred in case["preferred"]],
    )

    assert digests == case["digests_hex"]
    assert [names[server_id] for server_id in order] == case["order"]


@given(
    st.permutations([(IDS[name], seed) for name, seed in SEEDS.items()]), st.binary(min_size=16, max_size=16)
)
def test_the_order_does_not_depend_on_the_order_of_the_list(
    servers: list[tuple[str, bytes]], index: bytes
) -> None:
    assert permuted(index, servers) == permuted(index, sorted(servers))


def test_the_id_decides_between_servers_of_equal_seeds() -> None:
    assert permuted(b"i" * 16, [("b", b"seed"), ("a", b"seed")]) == ["a", "b"]


def test_a_preferred_server_that_is_unknown_does_not_matter() -> None:
    assert permuted(b"i" * 16, [("a", b"seed")], ["gone"]) == ["a"]


@pytest.mark.parametrize(
    ("server_id", "announced"),
    [
        ("v0-" + "a" * 51 + "b", None),  # the unused bits of a key are zero
        ("v0-" + "A" * 52, None),
        ("name", "MFRGG"),
        ("name", "not base32"),
    ],
)
def test_a_seed_that_cannot_be_read_is_an_error(server_id: str, announced: str | None) -> None:
    with pytest.raises(ValueError):
        permutation_seed(server_id, announced)


def test_a_name_that_only_begins_like_a_key_is_a_name() -> None:
    assert len(permutation_seed("v0-short", None)) == 32
