"""AES-128 in counter mode, from any byte of the stream on.

Source: docs/spec/hashing.md, section 8.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from holdfast.crypto.buffers import Buffer

BLOCK_SIZE = 16


class CtrCipher:
    """One position in the key stream of a 16-byte key. Encrypting and decrypting are the same."""

    def __init__(self, key: bytes, offset: int = 0) -> None:
        """``offset``: byte of the stream to begin at. Raises ValueError for a key of another length."""
        if len(key) != BLOCK_SIZE:
            raise ValueError("the key has 16 bytes")
        counter, skip = divmod(offset, BLOCK_SIZE)
        self._cipher = Cipher(AES(key), CTR(counter.to_bytes(BLOCK_SIZE, "big"))).encryptor()
        if skip:
            self._cipher.update(bytes(skip))

    def update(self, data: Buffer) -> bytes:
        """Return ``data`` XORed with the stream, and move on."""
        return self._cipher.update(data)

    def update_into(self, data: Buffer, out: bytearray | memoryview) -> None:
        """As ``update``, into ``out``, which may be longer by any number of bytes."""
        self._cipher.update_into(data, out)
