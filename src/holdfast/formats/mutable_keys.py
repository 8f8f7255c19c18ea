"""All keys of one mutable file, as its writers hold them.

Stored keys are copied byte for byte from version to version, since the capabilities are hashes of them.

Source: docs/spec/mutable.md, sections 2.1 and 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.crypto import mutable_hashes
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.rsa_keys import SigningKey, VerifyingKey
from holdfast.errors import CorruptShareError


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What every new version is signed with, and the two keys it carries. Made by ``new`` or ``stored``."""

    signing_key: SigningKey = field(repr=False)
    write_key: bytes = field(repr=False)  # 16 bytes
    public_key: bytes = field(repr=False)  # as stored in each share
    encrypted_private_key: bytes = field(repr=False)  # likewise

    @classmethod
    def new(cls, signing_key: SigningKey) -> FileKeys:
        """Return the keys of a file that is to be created with this key pair."""
        write_key = mutable_hashes.write_key(signing_key.private_der)
        encrypted = CtrCipher(write_key).update(signing_key.private_der)
        return cls(signing_key, write_key, signing_key.public_der, encrypted)

    @classmethod
    def stored(cls, write_key: bytes, public_key: bytes, encrypted_private_key: bytes) -> FileKeys:
        """Return the keys of an existing file.

        Args:
            write_key: of the capability.
            public_key: found in a share, and checked against the fingerprint of the capability.
            encrypted_private_key: found in a share; checked here.

        Raises:
            CorruptShareError: the private key is not the file's.
        """
        private_der = decrypted_private_key(write_key, encrypted_private_key)
        try:
            signing_key = SigningKey(private_der)
        except ValueError as error:
            raise CorruptShareError(f"the private key of a share cannot be used: {error}") from None
        if not _same_key(signing_key, public_key):
            raise CorruptShareError("the private key of a share does not belong to the public key")
        return cls(signing_key, write_key, public_key, encrypted_private_key)

    @property
    def read_key(self) -> bytes:
        """Encrypts the contents; 16 bytes, a secret."""
        return mutable_hashes.read_key(self.write_key)

    @property
    def storage_index(self) -> bytes:
        return mutable_hashes.storage_index(self.read_key)

    @property
    def fingerprint(self) -> bytes:
        return mutable_hashes.fingerprint(self.public_key)


def decrypted_private_key(write_key: bytes, encrypted: bytes) -> bytes:
    """Return the private key that a share holds, in DER.

    Raises:
        CorruptShareError: the write key is not the hash of it.
    """
    private_der = CtrCipher(write_key).update(encrypted)
    # A plain comparison will do: who can see how long it takes knows both sides.
    if mutable_hashes.write_key(private_der) != write_key:
        raise CorruptShareError("the private key of a share is wrong")
    return private_der


def verified_public_key(public_key: bytes, fingerprint: bytes) -> VerifyingKey:
    """Return the public key that a share holds.

    Raises:
        CorruptShareError: it has another fingerprint, or cannot be used.
    """
    if mutable_hashes.fingerprint(public_key) != fingerprint:
        raise CorruptShareError("the public key of a share is wrong")
    try:
        return VerifyingKey(public_key)
    except ValueError as error:
        raise CorruptShareError(f"the public key of a share cannot be used: {error}") from None


def _same_key(signing_key: SigningKey, public_key: bytes) -> bool:
    """Compare what the keys are, as the same key may be written in more than one way."""
    if signing_key.public_der == public_key:
        return True
    try:
        return VerifyingKey(public_key).same_as(signing_key.verifying_key)
    except ValueError:
        return False
