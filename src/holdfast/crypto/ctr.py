"""AES in counter mode, from any byte of the stream on.

Source: docs/spec/hashing.md, section 8.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from holdfast.crypto.buffers import Buffer

BLOCK_SIZE = 16  # bytes
KEY_SIZES = (16, 32)


class CtrCipher:
    """One position in the key stream of a key. Encrypting and decrypting are the same."""

    def __init__(self, key: bytes, offset: int = 0) -> None:
        """Begin at byte ``offset`` of the stream.

        Args:
            key: 16 bytes in every format; 32, for AES-256, work too.

        Raises:
            ValueError: the key has another length, or ``offset`` is negative.
        """
        if len(key) not in KEY_SIZES:
            raise ValueError("a key has 16 or 32 bytes")
        if offset < 0:
            raise ValueError("the offset in a key stream is not negative")
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
