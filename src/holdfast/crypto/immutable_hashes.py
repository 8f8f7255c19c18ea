"""The hashes of immutable files.

Source: docs/spec/hashing.md, sections 4.1 and 5.1.
"""

from __future__ import annotations

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.hashing import tagged_hash
from holdfast.crypto.netstring import netstring

STORAGE_INDEX_TAG = b"allmydata_immutable_key_to_storage_index_v1"
BLOCK_TAG = b"allmydata_encoded_subshare_v1"
CRYPTTEXT_SEGMENT_TAG = b"allmydata_crypttext_segment_v1"
CRYPTTEXT_TAG = b"allmydata_crypttext_v1"
PLAINTEXT_SEGMENT_TAG = b"allmydata_plaintext_segment_v1"
PLAINTEXT_TAG = b"allmydata_plaintext_v1"
UEB_TAG = b"allmydata_uri_extension_v1"
CONVERGENCE_TAG = b"allmydata_immutable_content_to_key_with_added_secret_v1+"

KEY_SIZE = 16  # bytes
STORAGE_INDEX_SIZE = 16


def storage_index(key: bytes) -> bytes:
    """Return the 16-byte storage index of a file's 16-byte key."""
    return tagged_hash(STORAGE_INDEX_TAG, key, STORAGE_INDEX_SIZE)


def block_hash(block: Buffer) -> bytes:
    """Return the hash of one block as it is stored."""
    return tagged_hash(BLOCK_TAG, block)


def crypttext_segment_hash(segment: Buffer) -> bytes:
    """Return the hash of one segment of ciphertext, without padding."""
    return tagged_hash(CRYPTTEXT_SEGMENT_TAG, segment)


def crypttext_hash(crypttext: Buffer) -> bytes:
    """Return the hash of the whole ciphertext."""
    return tagged_hash(CRYPTTEXT_TAG, crypttext)


def plaintext_segment_hash(segment: Buffer) -> bytes:
    """Return the hash of one segment of plaintext. Stored nowhere today; its tag is reserved."""
    return tagged_hash(PLAINTEXT_SEGMENT_TAG, segment)


def plaintext_hash(plaintext: Buffer) -> bytes:
    """Return the hash of the whole plaintext. Stored nowhere today; its tag is reserved."""
    return tagged_hash(PLAINTEXT_TAG, plaintext)


def ueb_hash(extension_block: bytes) -> bytes:
    """Return the hash of the serialized URI extension block."""
    return tagged_hash(UEB_TAG, extension_block)


def convergence_tag(shares_needed: int, shares_total: int, segment_size: int, secret: bytes) -> bytes:
    """Return the tag under which the plaintext hashes to its key.

    Args:
        segment_size: the actual one, shrunk to the file and rounded up to a multiple of ``shares_needed``.
        secret: any bytes; the empty secret is one like any other.

    Raises:
        ValueError: not 1 <= shares_needed <= shares_total <= 256.
    """
    if not 1 <= shares_needed <= shares_total <= 256:
        raise ValueError("1 <= shares_needed <= shares_total <= 256")
    parameters = b"%d,%d,%d" % (shares_needed, shares_total, segment_size)
    return CONVERGENCE_TAG + netstring(secret) + netstring(parameters)


def convergent_key(
    plaintext: Buffer, shares_needed: int, shares_total: int, segment_size: int, secret: bytes
) -> bytes:
    """Return the 16-byte key of ``plaintext`` by convergence."""
    return tagged_hash(
        convergence_tag(shares_needed, shares_total, segment_size, secret), plaintext, KEY_SIZE
    )
