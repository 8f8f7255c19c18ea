"""The secrets of leases: from the client's own secret to those sent to one server, and what it keeps of them.

Source: docs/spec/hashing.md, sections 4.3, 4.6 and 5.2.
"""

from __future__ import annotations

import hashlib

from holdfast.crypto.hashing import tagged_hash, tagged_pair_hash

SERVER_SEED_SIZE = 20  # bytes


def client_renewal_secret(lease_secret: bytes) -> bytes:
    """Return 32 bytes. The client's secret is the tag here, and the text the value: so it is deployed."""
    return tagged_hash(lease_secret, b"allmydata_client_renewal_secret_v1")


def client_cancel_secret(lease_secret: bytes) -> bytes:
    """Return 32 bytes; as ``client_renewal_secret``."""
    return tagged_hash(lease_secret, b"allmydata_client_cancel_secret_v1")


def file_renewal_secret(client_secret: bytes, storage_index: bytes) -> bytes:
    """Return 32 bytes for one file."""
    return tagged_pair_hash(b"allmydata_file_renewal_secret_v1", client_secret, storage_index)


def file_cancel_secret(client_secret: bytes, storage_index: bytes) -> bytes:
    """Return 32 bytes for one file."""
    return tagged_pair_hash(b"allmydata_file_cancel_secret_v1", client_secret, storage_index)


def bucket_renewal_secret(file_secret: bytes, server_seed: bytes) -> bytes:
    """Return the 32 bytes sent to one server. Raises ValueError for a seed not of 20 bytes."""
    return tagged_pair_hash(b"allmydata_bucket_renewal_secret_v1", file_secret, _seed(server_seed))


def bucket_cancel_secret(file_secret: bytes, server_seed: bytes) -> bytes:
    """Return the 32 bytes sent to one server. Raises ValueError for a seed not of 20 bytes."""
    return tagged_pair_hash(b"allmydata_bucket_cancel_secret_v1", file_secret, _seed(server_seed))


def stored_lease_secret(secret: bytes) -> bytes:
    """Return the 32 bytes a server keeps in place of a lease secret: a plain BLAKE2b, no tagged hash."""
    return hashlib.blake2b(secret, digest_size=32).digest()


def _seed(server_seed: bytes) -> bytes:
    if len(server_seed) != SERVER_SEED_SIZE:
        raise ValueError(f"a server seed has {SERVER_SEED_SIZE} bytes")
    return server_seed
