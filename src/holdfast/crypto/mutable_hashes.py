"""The hashes of mutable files.

Source: docs/spec/hashing.md, section 4.4.
"""

from __future__ import annotations

from holdfast.crypto.hashing import tagged_hash, tagged_pair_hash
from holdfast.crypto.lease_secrets import SERVER_SEED_SIZE

KEY_SIZE = 16  # bytes
STORAGE_INDEX_SIZE = 16


def write_key(private_key_der: bytes) -> bytes:
    """Return the 16-byte write key of an RSA private key, given as unencrypted PKCS#8."""
    return tagged_hash(b"allmydata_mutable_privkey_to_writekey_v1", private_key_der, KEY_SIZE)


def fingerprint(public_key_der: bytes) -> bytes:
    """Return the 32-byte fingerprint of an RSA public key, given as SubjectPublicKeyInfo."""
    return tagged_hash(b"allmydata_mutable_pubkey_to_fingerprint_v1", public_key_der)


def read_key(write_key: bytes) -> bytes:
    """Return the 16-byte read key of a write key."""
    return tagged_hash(b"allmydata_mutable_writekey_to_readkey_v1", write_key, KEY_SIZE)


def storage_index(read_key: bytes) -> bytes:
    """Return the 16-byte storage index of a read key."""
    return tagged_hash(b"allmydata_mutable_readkey_to_storage_index_v1", read_key, STORAGE_INDEX_SIZE)


def data_key(salt: bytes, read_key: bytes) -> bytes:
    """Return the 16-byte key of the data under one 16-byte salt."""
    return tagged_pair_hash(b"allmydata_mutable_readkey_to_datakey_v1", salt, read_key, KEY_SIZE)


def write_enabler_master(write_key: bytes) -> bytes:
    """Return the 32 bytes from which the write enabler of every server is made."""
    return tagged_hash(b"allmydata_mutable_writekey_to_write_enabler_master_v1", write_key)


def write_enabler(master: bytes, server_seed: bytes) -> bytes:
    """Return the 32 bytes sent to one server. Raises ValueError for a seed not of 20 bytes."""
    if len(server_seed) != SERVER_SEED_SIZE:
        raise ValueError(f"a server seed has {SERVER_SEED_SIZE} bytes")
    tag = b"allmydata_mutable_write_enabler_master_and_nodeid_to_write_enabler_v1"
    return tagged_pair_hash(tag, master, server_seed)
