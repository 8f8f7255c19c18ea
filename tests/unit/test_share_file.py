"""Whole shares: byte for byte those of tahoe-lafs 1.20, and enough of them give the file back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps.immutable import ImmutableReadCap, LiteralCap
from holdfast.crypto import base32
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.immutable_hashes import (
    convergence_tag,
    convergent_key,
    crypttext_hash,
    crypttext_segment_hash,
    storage_index,
    ueb_hash,
)
from holdfast.crypto.kernel import SegmentDecoder
from holdfast.crypto.merkle import PartialTree, build_tree
from holdfast.formats.extension_block import verified_extension_block
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_file import build_shares
from holdfast.formats.share_hash_chain import parse_chain
from holdfast.formats.share_layout import parse_header
from holdfast.testing.generated_data import generated_data

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/immutable.json").read_text())
EXAMPLE = VECTORS["worked_example"]
KEY = bytes(range(16))


def plan_of(case: dict[str, Any]) -> Segmentation:
    return Segmentation.plan(case["size"], case["k"], case["n"], case["max_segment_size"])


def read_file(cap: ImmutableReadCap, shares: Mapping[int, bytes]) -> bytes:
    """Return the file, as any reader does it: nothing is known but the capability and k shares."""
    share_tree = PartialTree(cap.shares_total)
    plan = None
    for number, share in shares.items():
        header = parse_header(share)
        begin = header.extension + header.field_size
        size = int.from_bytes(share[header.extension : begin], "big")
        block = verified_extension_block(
            share[begin : begin + size], cap.ueb_hash, cap.shares_needed, cap.shares_total, cap.size
        )
        plan = Segmentation(cap.size, cap.shares_needed, cap.shares_total, block.segment_size)
        share_tree.set_root(block.share_root_hash)
        share_tree.offer(parse_chain(share[header.share_hashes : header.extension], cap.shares_total))
        assert share_tree.leaf(number) is not None
    assert plan is not None
    decoder = SegmentDecoder(cap.key, cap.shares_needed)
    file = bytearray(cap.size)
    for segment in range(plan.segment_count):
        blocks = []
        for share in shares.values():
            begin = parse_header(share).data + plan.block_offset(segment)
            blocks.append(share[begin : begin + plan.block_length(segment)])
        offset, size = segment * plan.segment_size, plan.segment_length(segment)
        out = memoryview(file)[offset : offset + size]
        _, hashes = decoder.decode(blocks, list(shares), offset, size, out)
        for i, (number, share) in enumerate(shares.items()):
            header = parse_header(share)
            nodes = share[header.block_hashes : header.share_hashes]
            tree = PartialTree(plan.segment_count)
            root = share_tree.leaf(number)
            assert root is not None
            tree.set_root(root)
            tree.offer(
                {n: nodes[32 * n : 32 * n + 32] for n in tree.needed(segment)},
                {segment: hashes[32 * i : 32 * i + 32]},
            )
    return bytes(file)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in VECTORS["cases"]])
def test_shares_and_capabilities_are_those_of_the_reference(case: dict[str, Any]) -> None:
    plaintext, plan = generated_data(case["seed"], case["size"]), plan_of(case)
    assert hashlib.sha256(plaintext).hexdigest() == case["plaintext_sha256"]
    if case["convergence_hex"] is None:
        key = bytes.fromhex(case["given_key_hex"])
    else:
        secret = bytes.fromhex(case["convergence_hex"])
        key = convergent_key(plaintext, case["k"], case["n"], plan.segment_size, secret)
    forced = 2 if case["layout_version"] == 2 else None  # none of the cases needs version 2
    shares, extension = build_shares(key, plaintext, plan, forced)

    assert key.hex() == case["key_hex"]
    assert storage_index(key).hex() == case["storage_index_hex"]
    assert base32.encode(storage_index(key)) == case["storage_index_b32"]
    crypttext = CtrCipher(key).update(plaintext)
    assert hashlib.sha256(crypttext).hexdigest() == case["crypttext_sha256"]
    assert extension.hex() == case["ueb_hex"]
    assert ueb_hash(extension).hex() == case["ueb_hash_hex"]
    cap = ImmutableReadCap(key, ueb_hash(extension), case["k"], case["n"], case["size"])
    assert (cap.to_text(), cap.verify_cap.to_text()) == (case["cap"], case["verify_cap"])
    assert {len(share) for share in shares} == {case["share_length"]}
    if "share_sha256" in case:
        assert [hashlib.sha256(share).hexdigest() for share in shares] == case["share_sha256"]
    if "share_hex" in case:
        assert [share.hex() for share in shares] == case["share_hex"]


@pytest.mark.seed("S-039")
@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["name"]) for c in VECTORS["cases"] if c["size"] < 10**5]
)
def test_files_come_back_from_the_last_shares_and_the_capability_alone(case: dict[str, Any]) -> None:
    plaintext = generated_data(case["seed"], case["size"])
    shares, extension = build_shares(bytes.fromhex(case["key_hex"]), plaintext, plan_of(case))
    last = dict(list(enumerate(shares))[-case["k"] :])
    cap = ImmutableReadCap(
        bytes.fromhex(case["key_hex"]), ueb_hash(extension), case["k"], case["n"], case["size"]
    )

    assert read_file(cap, last) == plaintext


@given(st.binary(min_size=1, max_size=400), st.data())
def test_any_k_shares_give_the_file_back(plaintext: bytes, data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 12))
    needed = data.draw(st.integers(1, total))
    plan = Segmentation.plan(len(plaintext), needed, total, data.draw(st.integers(1, 500)))
    shares, extension = build_shares(KEY, plaintext, plan, data.draw(st.sampled_from([None, 1, 2])))
    numbers = data.draw(st.permutations(range(total)))[:needed]

    assert extension in shares[0]
    cap = ImmutableReadCap(KEY, ueb_hash(extension), needed, total, len(plaintext))
    assert read_file(cap, {number: shares[number] for number in numbers}) == plaintext


@pytest.mark.seed("S-044")
def test_every_share_ends_with_the_same_extension_block() -> None:
    plaintext = generated_data("seed", 3000)
    shares, extension = build_shares(KEY, plaintext, Segmentation.plan(3000, 3, 10, 500))

    assert len(set(shares)) == 10
    length = len(extension).to_bytes(4, "big")
    assert all(share.endswith(length + extension) for share in shares)


@pytest.mark.parametrize("case", [pytest.param(c, id=str(c["size"])) for c in VECTORS["literal"]])
def test_literal_files_are_in_their_capability(case: dict[str, Any]) -> None:
    plaintext = generated_data(case["seed"], case["size"])
    assert plaintext.hex() == case["plaintext_hex"]
    assert LiteralCap(plaintext).to_text() == case["cap"]


def test_the_worked_example_agrees_at_every_step() -> None:
    plan, key = plan_of(EXAMPLE), bytes.fromhex(EXAMPLE["key_hex"])
    plaintext = generated_data(EXAMPLE["seed"], EXAMPLE["size"])
    secret = bytes.fromhex(EXAMPLE["convergence_hex"])
    assert plaintext.hex() == EXAMPLE["plaintext_hex"]
    assert plan.segment_size == EXAMPLE["segment_size"]
    tag = convergence_tag(plan.shares_needed, plan.shares_total, plan.segment_size, secret)
    assert tag.hex() == EXAMPLE["convergence_tag_hex"]
    assert convergent_key(plaintext, 3, 10, plan.segment_size, secret) == key
    crypttext = CtrCipher(key).update(plaintext)
    assert crypttext.hex() == EXAMPLE["crypttext_hex"]
    assert crypttext_hash(crypttext).hex() == EXAMPLE["crypttext_hash_hex"]
    starts = range(0, plan.size, plan.segment_size)
    leaves = [crypttext_segment_hash(crypttext[i : i + plan.segment_size]) for i in starts]
    assert [leaf.hex() for leaf in leaves] == EXAMPLE["crypttext_segment_hashes_hex"]
    assert [node.hex() for node in build_tree(leaves)] == EXAMPLE["crypttext_hash_tree_hex"]
    roots = [bytes.fromhex(share["block_hash_tree_hex"][0]) for share in EXAMPLE["shares"]]
    assert [node.hex() for node in build_tree(roots)] == EXAMPLE["share_hash_tree_hex"]


@pytest.mark.parametrize("case", EXAMPLE["shares"], ids=lambda case: str(case["number"]))
def test_the_shares_of_the_worked_example_have_its_parts(case: dict[str, Any]) -> None:
    plan = plan_of(EXAMPLE)
    plaintext = bytes.fromhex(EXAMPLE["plaintext_hex"])
    shares, extension = build_shares(bytes.fromhex(EXAMPLE["key_hex"]), plaintext, plan)
    share, header = shares[case["number"]], parse_header(shares[case["number"]])

    for segment, block in enumerate(case["blocks_hex"]):
        begin = header.data + plan.block_offset(segment)
        assert share[begin : begin + plan.block_length(segment)].hex() == block
    assert not any(share[header.plaintext_hashes : header.crypttext_hashes])
    assert share[header.crypttext_hashes : header.block_hashes].hex() == "".join(
        EXAMPLE["crypttext_hash_tree_hex"]
    )
    assert share[header.block_hashes : header.share_hashes].hex() == "".join(case["block_hash_tree_hex"])
    chain = parse_chain(share[header.share_hashes : header.extension], 10)
    assert [[node, value.hex()] for node, value in chain.items()] == case["share_hash_chain"]
    assert extension.hex() == EXAMPLE["ueb_hex"]
    assert share.hex() == case["share_hex"]
    assert [int.from_bytes(share[i : i + 4], "big") for i in range(0, 36, 4)] == EXAMPLE["header_fields"]


def test_a_plaintext_of_another_size_than_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="100 bytes, not 101"):
        build_shares(KEY, bytes(100), Segmentation.plan(101, 3, 10, 100))
