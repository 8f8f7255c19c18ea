"""The chain that ties a share to the root over all shares, in the order of the reference."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.merkle import leaf_index, padded_leaf_count, uncle_chain
from holdfast.errors import CorruptShareError
from holdfast.formats.share_hash_chain import (
    CHAIN_ENTRY_SIZE,
    chain_order,
    chain_size,
    pack_chain,
    parse_chain,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())
ORDERS: dict[str, list[list[int]]] = VECTORS["share_hash_chain_order"]
HASHES = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("leaves", ORDERS)
def test_the_order_is_that_of_the_reference(leaves: str) -> None:
    total = int(leaves)
    assert [list(chain_order(total, number)) for number in range(total)] == ORDERS[leaves]


@pytest.mark.parametrize("total", [3, 5, 9, 10, 100, 255])
def test_the_order_depends_on_the_padded_tree_only(total: int) -> None:
    padded = str(padded_leaf_count(total))
    assert [list(chain_order(total, number)) for number in range(total)] == ORDERS[padded][:total]


@given(st.integers(1, 256), st.data())
def test_a_chain_holds_the_uncles_and_the_own_leaf(total: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, total - 1))
    order = chain_order(total, number)
    assert sorted(order) == sorted([*uncle_chain(total, number), leaf_index(total, number)])
    assert len(order) * CHAIN_ENTRY_SIZE == chain_size(total)
    assert total == 1 or 0 not in order


@pytest.mark.seed("S-036")
def test_the_chain_of_one_in_a_hundred_shares_has_eight_entries() -> None:
    entries = [(node, bytes([node % 256]) * 32) for node in chain_order(100, 42)]
    assert len(entries) == 8
    assert leaf_index(100, 42) in dict(entries)
    assert 0 not in dict(entries)
    packed = pack_chain(entries)
    assert len(packed) == 8 * 34
    assert list(parse_chain(packed, 100).items()) == entries


@pytest.mark.seed("S-036", "S-037")
def test_an_entry_that_cannot_be_stored_is_refused() -> None:
    pack_chain([(65_535, bytes(32))])
    for entry in ((65_536, bytes(32)), (-1, bytes(32)), (1, bytes(31)), (1, bytes(33)), (1, b"")):
        with pytest.raises(ValueError, match="share hash chain"):
            pack_chain([entry])


@given(st.integers(1, 256), st.data())
def test_any_order_and_additional_nodes_come_back(total: int, data: st.DataObject) -> None:
    nodes = st.integers(0, 2 * padded_leaf_count(total) - 2)
    entries = data.draw(st.dictionaries(nodes, HASHES, max_size=20))
    assert parse_chain(pack_chain(list(entries.items())), total) == entries


def test_a_node_twice_with_the_same_hash_is_one_node() -> None:
    assert parse_chain(pack_chain([(1, bytes(32))] * 2), 2) == {1: bytes(32)}


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        bytes(33),
        bytes(35),
        struct.pack(">H32s", 7, bytes(32)),
        struct.pack(">H32s", 65_535, bytes(32)),
        pack_chain([(1, bytes(32)), (1, b"\1" * 32)]),
        pack_chain([(1, bytes(32))] * 8),
    ],
    ids=["one byte", "short", "long", "past the tree", "far past", "contradiction", "more than nodes"],
)
def test_a_nonsense_chain_is_corruption(data: bytes) -> None:
    with pytest.raises(CorruptShareError):
        parse_chain(data, 4)


@given(st.binary(max_size=200) | st.lists(HASHES, max_size=6).map(lambda h: b"".join(b"\0\1" + x for x in h)))
def test_arbitrary_bytes_give_a_chain_or_corruption(data: bytes) -> None:
    try:
        chain = parse_chain(data, 10)
    except CorruptShareError:
        return
    assert all(0 <= node < 31 and len(value) == 32 for node, value in chain.items())
