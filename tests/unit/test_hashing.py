"""Every hash in use, against values of the reference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import (
    base32,
    directory_hashes,
    fallback,
    immutable_hashes,
    lease_secrets,
    merkle,
    mutable_hashes,
)
from holdfast.crypto.hashing import HASH_SIZE, TaggedHasher, sha256d, tagged_hash, tagged_pair_hash
from holdfast.crypto.netstring import split
from holdfast.formats.containers import MUTABLE_MAGICS
from holdfast.interfaces.types import HASH_SIZE as INTERFACE_HASH_SIZE
from holdfast.interfaces.types import check_hash

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hashing.json").read_text())
STORAGE = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())


def _children(contents: bytes) -> list[tuple[bytes, bytes]]:
    values = []
    offset = 0
    while offset < len(contents):
        value, offset = split(contents, offset)
        values.append(value)
    return list(zip(values[0::2], values[1::2], strict=True))


def _magic_tail(text: bytes) -> bytes:
    return next(magic[len(text) :] for magic in MUTABLE_MAGICS.values() if magic.startswith(text))


NAMED: dict[str, Callable[..., bytes]] = {
    "backupdb_dirhash": lambda contents: directory_hashes.backup_directory_hash(_children(contents)),
    "block_hash": immutable_hashes.block_hash,
    "bucket_cancel_secret": lease_secrets.bucket_cancel_secret,
    "bucket_renewal_secret": lease_secrets.bucket_renewal_secret,
    "client_cancel_secret": lease_secrets.client_cancel_secret,
    "client_renewal_secret": lease_secrets.client_renewal_secret,
    "crypttext_hash": immutable_hashes.crypttext_hash,
    "crypttext_segment_hash": immutable_hashes.crypttext_segment_hash,
    "dirnode_child_capkey": directory_hashes.child_key,
    "dirnode_child_mac": directory_hashes.child_mac,
    "dirnode_child_salt": directory_hashes.child_salt,
    "file_cancel_secret": lease_secrets.file_cancel_secret,
    "file_renewal_secret": lease_secrets.file_renewal_secret,
    "immutable_storage_index": immutable_hashes.storage_index,
    "merkle_empty_leaf": merkle.empty_leaf,
    "merkle_pair": lambda left, right: fallback.hash_parents(left + right),
    "mutable_container_v2_magic_tail": _magic_tail,
    "plaintext_hash": immutable_hashes.plaintext_hash,
    "plaintext_segment_hash": immutable_hashes.plaintext_segment_hash,
    "ssk_pubkey_fingerprint": mutable_hashes.fingerprint,
    "ssk_readkey": mutable_hashes.read_key,
    "ssk_readkey_data": mutable_hashes.data_key,
    "ssk_storage_index": mutable_hashes.storage_index,
    "ssk_write_enabler": lambda key, seed: mutable_hashes.write_enabler(
        mutable_hashes.write_enabler_master(key), seed
    ),
    "ssk_write_enabler_master": mutable_hashes.write_enabler_master,
    "ssk_writekey": mutable_hashes.write_key,
    "stored_lease_secret_v2": lease_secrets.stored_lease_secret,
    "uri_extension_hash": immutable_hashes.ueb_hash,
}
NAMED_CASES = [case for case in VECTORS["named"] if case["name"] != "permute_server"]  # the planner's


@pytest.mark.parametrize("case", NAMED_CASES, ids=lambda case: case["name"])
def test_every_named_hash_is_that_of_the_reference(case: dict[str, Any]) -> None:
    inputs = [bytes.fromhex(v) if isinstance(v, str) else v for v in case["in"].values()]
    value = NAMED[case["name"]](*inputs)
    assert value.hex() == case["out_hex"]
    assert len(value) == case["out_len"]


@pytest.mark.parametrize("case", VECTORS["sha256d"], ids=lambda case: case["in_hex"][:20] or "empty")
def test_sha256d(case: dict[str, Any]) -> None:
    assert sha256d(bytes.fromhex(case["in_hex"])).hex() == case["out_hex"]


@pytest.mark.parametrize("case", VECTORS["tagged_hash"], ids=lambda case: case["out_hex"][:8])
def test_tagged_hash_and_its_truncation(case: dict[str, Any]) -> None:
    tag, value = bytes.fromhex(case["tag_hex"]), bytes.fromhex(case["value_hex"])
    size = case["truncate_to"] or HASH_SIZE
    assert tagged_hash(tag, value, size).hex() == case["out_hex"]


@pytest.mark.parametrize("case", VECTORS["tagged_pair_hash"], ids=lambda case: case["out_hex"][:8])
def test_pair_hash_wraps_both_values(case: dict[str, Any]) -> None:
    tag, a, b = (bytes.fromhex(case[key]) for key in ("tag_hex", "value1_hex", "value2_hex"))
    size = case["truncate_to"] or HASH_SIZE
    assert tagged_pair_hash(tag, a, b, size).hex() == case["out_hex"]


@given(st.binary(max_size=20), st.lists(st.binary(max_size=200), max_size=6), st.sampled_from([16, 32]))
def test_a_hash_fed_in_pieces_is_the_hash_of_the_whole(tag: bytes, pieces: list[bytes], size: int) -> None:
    hasher = TaggedHasher(tag, size)
    for piece in pieces:
        hasher.update(memoryview(piece))
    whole = tagged_hash(tag, b"".join(pieces), size)
    assert hasher.digest() == hasher.digest() == whole
    inner = hashlib.sha256(b"%d:%b,%b" % (len(tag), tag, b"".join(pieces))).digest()
    assert whole == hashlib.sha256(inner).digest()[:size]


def test_a_finished_hash_takes_no_more() -> None:
    hasher = TaggedHasher(b"tag")
    hasher.digest()
    with pytest.raises(RuntimeError, match="finished"):
        hasher.update(b"more")


@pytest.mark.parametrize(
    "case", VECTORS["convergent_key"], ids=lambda case: f"{case['k']}-{case['n']}-{case['key_hex'][:6]}"
)
def test_convergent_keys_are_those_of_the_reference(case: dict[str, Any]) -> None:
    parameters = (case["k"], case["n"], case["segment_size"], bytes.fromhex(case["convergence_hex"]))
    assert immutable_hashes.convergence_tag(*parameters).hex() == case["tag_hex"]
    key = immutable_hashes.convergent_key(bytes.fromhex(case["data_hex"]), *parameters)
    assert key.hex() == case["key_hex"]


@pytest.mark.parametrize(("needed", "total"), [(0, 1), (4, 3), (3, 257), (-1, 3), (257, 257)])
def test_impossible_parameters_are_refused_before_hashing(needed: int, total: int) -> None:
    with pytest.raises(ValueError, match="shares_needed"):
        immutable_hashes.convergence_tag(needed, total, 100, b"")


@pytest.mark.parametrize("case", STORAGE["lease_secrets"], ids=lambda case: case["server_seed_b32"])
def test_lease_secrets_lead_from_the_client_to_what_one_server_keeps(case: dict[str, str]) -> None:
    master, index, seed = (
        base32.decode(case[key]) for key in ("lease_secret_b32", "storage_index_b32", "server_seed_b32")
    )
    client = lease_secrets.client_renewal_secret(master), lease_secrets.client_cancel_secret(master)
    file = (
        lease_secrets.file_renewal_secret(client[0], index),
        lease_secrets.file_cancel_secret(client[1], index),
    )
    bucket = (
        lease_secrets.bucket_renewal_secret(file[0], seed),
        lease_secrets.bucket_cancel_secret(file[1], seed),
    )
    stored = [lease_secrets.stored_lease_secret(secret) for secret in bucket]
    for kind, *chain in zip(("renew", "cancel"), client, file, bucket, stored, strict=True):
        names = (f"client_{kind}", f"file_{kind}", f"bucket_{kind}", f"bucket_{kind}_stored_v2")
        assert [value.hex() for value in chain] == [case[f"{name}_hex"] for name in names]


@pytest.mark.parametrize("case", STORAGE["write_enablers"], ids=lambda case: case["server_seed_b32"])
def test_write_enablers_are_made_from_the_write_key_and_the_server(case: dict[str, str]) -> None:
    master = mutable_hashes.write_enabler_master(base32.decode(case["writekey_b32"]))
    assert master.hex() == case["master_hex"]
    enabler = mutable_hashes.write_enabler(master, base32.decode(case["server_seed_b32"]))
    assert enabler.hex() == case["write_enabler_hex"]


@pytest.mark.parametrize("size", [0, 19, 21, 32])
def test_a_server_seed_of_another_length_is_refused(size: int) -> None:
    for made in (
        lease_secrets.bucket_renewal_secret,
        lease_secrets.bucket_cancel_secret,
        mutable_hashes.write_enabler,
    ):
        with pytest.raises(ValueError, match="seed"):
            made(bytes(32), bytes(size))


def test_the_order_of_children_does_not_matter_to_a_backup() -> None:
    children = [(b"b", b"URI:LIT:"), (b"a", b"URI:LIT:ae")]
    once, again = (directory_hashes.backup_directory_hash(c) for c in (children, children[::-1]))
    assert once == again


@pytest.mark.seed("S-001")
def test_a_hash_has_32_bytes_everywhere() -> None:
    assert HASH_SIZE == INTERFACE_HASH_SIZE == 32
    assert len(tagged_hash(b"", b"")) == len(tagged_pair_hash(b"", b"", b"")) == len(sha256d(b"")) == 32
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            check_hash(bytes(size))


@pytest.mark.seed("S-002")
@given(st.binary(min_size=32, max_size=32))
def test_a_hash_is_32_bytes_of_type_bytes(value: bytes) -> None:
    assert check_hash(value) == value == base32.decode(base32.encode(check_hash(value)))
    for other in (bytearray(value), memoryview(value), value.hex(), base32.encode(value), None):
        with pytest.raises(TypeError):
            check_hash(other)
