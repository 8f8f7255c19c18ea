"""The keys of a virtual drive directory: everything derived from the one write key, and what each key proves.

Source: docs/spec/vdrive.md, sections 3.1, 4.1 and 12.1.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.crypto import base32
from holdfast.crypto.hashing import tagged_hash
from holdfast.crypto.netstring import netstring

KEY_SIZE: Final = 32  # bytes: write key, read key, verify key, index, slot, enabler, refresh id
SEAL_KEY_SIZE: Final = 64
SIGNATURE_SIZE: Final = 64
LOG_NAME_SIZE: Final = 8  # characters

_PREFIX = b"holdfast:vdrive:v1:"


def tag(name: str) -> bytes:
    """Return what tells one use of a hash, key or signature from every other one."""
    return _PREFIX + name.encode("ascii")


def tagged(name: str, value: bytes) -> bytes:
    """Return the 32-byte hash of one value, ``th`` in the specification."""
    return tagged_hash(tag(name), value)


def tagged_values(name: str, *values: bytes) -> bytes:
    """Return the 32-byte hash of several values, ``tph`` in the specification."""
    return tagged_hash(tag(name), b"".join(map(netstring, values)))


def derived_key(key: bytes, name: str, length: int) -> bytes:
    """Return a key of ``length`` bytes for one purpose, ``kdf`` in the specification."""
    return HKDF(SHA256(), length, salt=None, info=tag(name)).derive(key)


# Derived values are kept, for a directory is read and written with the same ones again and again; that
# takes a dictionary per object, so these two have no slots.
@dataclass(frozen=True)
class ReadKeys:
    """What a reader has: it opens names, read-only capabilities and metadata, and checks signatures."""

    read_key: bytes = field(repr=False)  # 32 bytes
    verify_key: bytes  # Ed25519, 32 bytes

    @cached_property
    def commitment(self) -> bytes:
        """What a server and verifiers know of the read key."""
        return tagged("read-commit", self.read_key)

    @cached_property
    def index(self) -> bytes:
        """The name of the directory."""
        return index_of(self.commitment, self.verify_key)

    @cached_property
    def refresh_id(self) -> bytes:
        """The name of the directory for those who renew its leases."""
        return refresh_id(self.index)

    @cached_property
    def name_key(self) -> bytes:
        """Turns names into slots, see ``slot_of``."""
        return derived_key(self.read_key, "name-mac", KEY_SIZE)

    @cached_property
    def seal_key(self) -> bytes:
        """Seals names, read-only capabilities and metadata; 64 bytes."""
        return derived_key(self.read_key, "seal-read", SEAL_KEY_SIZE)


@dataclass(frozen=True)
class WriteKeys:
    """What a writer has."""

    write_key: bytes = field(repr=False)  # 32 bytes

    @cached_property
    def signing_seed(self) -> bytes:
        """The Ed25519 private key, 32 bytes."""
        return derived_key(self.write_key, "sign", KEY_SIZE)

    @cached_property
    def verify_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return self._signer.public_key().public_bytes_raw()

    @cached_property
    def seal_key(self) -> bytes:
        """Seals read-write capabilities; 64 bytes."""
        return derived_key(self.write_key, "seal-write", SEAL_KEY_SIZE)

    @cached_property
    def read(self) -> ReadKeys:
        """The keys of those who may only read."""
        return ReadKeys(tagged("read-key", self.write_key), self.verify_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes; that of a message is always the same."""
        return self._signer.sign(message)

    @cached_property
    def _signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.signing_seed)


def index_of(commitment: bytes, verify_key: bytes) -> bytes:
    """Return the index of the directory that these two, 32 bytes each, belong to."""
    return tagged_values("index", commitment, verify_key)


def refresh_id(index: bytes) -> bytes:
    """Return the 32 bytes by which leases of the directory are renewed."""
    return tagged("refresh-id", index)


def slot_of(name_key: bytes, name: str) -> bytes:
    """Return the 32 bytes under which a server keeps the entry of this name, however it is composed.

    Raises:
        ValueError: the name is no text that UTF-8 can express.
    """
    return slot_of_bytes(name_key, unicodedata.normalize("NFC", name).encode("utf-8"))


def slot_of_bytes(name_key: bytes, name: bytes) -> bytes:
    """Return the slot of a name that is in Normalization Form C and UTF-8 already."""
    return hmac.digest(name_key, name, "sha256")


def write_enabler(write_key: bytes, sid: bytes) -> bytes:
    """Return the 32 bytes that a writer shows to the service with this id."""
    return tagged_values("write-enabler", write_key, sid)


def stored_enabler(enabler: bytes) -> bytes:
    """Return what a service keeps of an enabler, 32 bytes."""
    return tagged("we-store", enabler)


def enabler_proof(keys: WriteKeys, sid: bytes) -> bytes:
    """Return the signature, 64 bytes, that says that a writer chose the enabler for this service."""
    stored = stored_enabler(write_enabler(keys.write_key, sid))
    return keys.sign(_enabler_statement(keys.read.index, sid, stored))


def enabler_proof_holds(verify_key: bytes, index: bytes, sid: bytes, stored: bytes, proof: bytes) -> bool:
    """Tell whether a writer of the directory chose the enabler of which ``stored`` is kept."""
    return signature_holds(verify_key, _enabler_statement(index, sid, stored), proof)


def signature_holds(verify_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the Ed25519 signature is right. Keys and signatures of a wrong length are not."""
    try:
        Ed25519PublicKey.from_public_bytes(verify_key).verify(signature, message)
    except (ValueError, InvalidSignature):
        return False
    return True


def lease_secret(seed: bytes, refresh_id: bytes) -> bytes:
    """Return the 32-byte secret of a node's lease, from the lease seed of the node."""
    return tagged_values("lease-secret", seed, refresh_id)


def stored_lease_secret(secret: bytes) -> bytes:
    """Return what a service keeps of a lease secret, 32 bytes."""
    return tagged("lease-store", secret)


def log_name(index: bytes) -> str:
    """Return what a directory is called in logs and messages: 8 characters, from which nothing can be had."""
    return base32.encode(index[:5])


def _enabler_statement(index: bytes, sid: bytes, stored: bytes) -> bytes:
    return netstring(tag("enabler")) + index + sid + stored
