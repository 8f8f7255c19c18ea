"""How the write capability of a child is kept from those who may only read the directory.

The code at the end of a field is written and never checked, because it protects nothing:
who can change the directory can make it anew.

Source: docs/spec/directories.md, section 2.3.
"""

from __future__ import annotations

from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.directory_hashes import CHILD_MAC_SIZE, CHILD_SALT_SIZE, child_key, child_mac, child_salt


def encrypted_write_cap(write_cap: bytes, write_key: bytes) -> bytes:
    """Return the field for a write capability, the empty one included: 48 bytes more.

    The same capability gives the same field in the same directory.

    Args:
        write_key: that of the directory, 16 bytes.
    """
    salt = child_salt(write_cap)
    key = child_key(salt, write_key)
    sealed = salt + (CtrCipher(key).update(write_cap) if write_cap else b"")
    return sealed + child_mac(key, sealed)


def decrypted_write_cap(field: bytes, write_key: bytes) -> bytes:
    """Return the capability in a field of any bytes. With another key than the field's it is noise."""
    ciphertext = field[CHILD_SALT_SIZE:-CHILD_MAC_SIZE]
    if not ciphertext:
        return b""
    return CtrCipher(child_key(field[:CHILD_SALT_SIZE], write_key)).update(ciphertext)
