"""The hashes around directories: the protection of their children's write capabilities, and the name under
which a backup remembers a directory it has stored.

Source: docs/spec/hashing.md, sections 4.5, 4.6, 5.3 and 5.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from holdfast.crypto.hashing import tagged_hash, tagged_pair_hash
from holdfast.crypto.netstring import netstring

CHILD_SALT_SIZE = 16  # bytes
CHILD_KEY_SIZE = 16
CHILD_MAC_SIZE = 32

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def child_salt(write_cap: bytes) -> bytes:
    """Return the 16-byte salt for the text of a child's read-write capability."""
    return tagged_hash(b"allmydata_dirnode_child_rwcap_to_salt_v1", write_cap, CHILD_SALT_SIZE)


def child_key(salt: bytes, write_key: bytes) -> bytes:
    """Return the 16-byte key of a child's write capability in the directory with this write key."""
    tag = b"allmydata_mutable_writekey_and_salt_to_dirnode_child_capkey_v1"
    return tagged_pair_hash(tag, salt, write_key, CHILD_KEY_SIZE)


def child_mac(key: bytes, data: bytes) -> bytes:
    """Return the 32 bytes behind a child's encrypted write capability.

    This is no HMAC: the key is not padded to the block of the hash, which is plain SHA-256.

    Args:
        key: 16 bytes, from ``child_key``.
        data: salt and ciphertext, joined.
    """
    inner = hashlib.sha256(key.translate(_INNER) + data).digest()
    return hashlib.sha256(key.translate(_OUTER) + inner).digest()


def backup_directory_hash(children: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return 32 bytes that stand for a directory's (name in UTF-8, capability) pairs, in any order."""
    contents = b"".join(netstring(name) + netstring(cap) for name, cap in sorted(children))
    return tagged_hash(b"allmydata_backupdb_dirhash_v1", contents)
