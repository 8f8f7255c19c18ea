"""Signatures: Ed25519 by node keys, and what a node's TLS key signs, whatever its kind.

Source: docs/spec/control-and-introducer.md, section 3.4.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

SEED_SIZE = 32  # bytes
VERIFY_KEY_SIZE = 32
SIGNATURE_SIZE = 64
RSA_SIZE_MIN = 2048  # bits of the modulus
RSA_EXPONENT_MAX = 2**64  # a larger one makes a verification as slow as a signature

_SHA256 = hashes.SHA256()
_ECDSA = ec.ECDSA(_SHA256)
_PSS = padding.PSS(padding.MGF1(_SHA256), padding.PSS.DIGEST_LENGTH)


def verify_key_of(seed: bytes) -> bytes:
    """Return the verify key, 32 bytes, of an Ed25519 key. Raises ValueError unless the seed has 32 bytes."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the signature, 64 bytes, by an Ed25519 key. Raises ValueError unless the seed has 32 bytes."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verify(verify_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the Ed25519 signature is right. Keys and signatures of a wrong length are not."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(verify_key).verify(signature, message)
    except (ValueError, InvalidSignature):
        return False
    return True


def sign_with_tls_key(key: PrivateKeyTypes, message: bytes) -> bytes:
    """Return the signature by a TLS key.

    Raises:
        ValueError: a key of a kind or size that ``verify_with_tls_key`` would not take.
    """
    if not _is_allowed(key.public_key()):
        raise ValueError("the TLS key must be ECDSA P-256, Ed25519, or RSA of 2048 bits or more")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, _ECDSA)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, _PSS, _SHA256)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(message)


def verify_with_tls_key(spki_der: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the signature is right for a TLS key, given as its SubjectPublicKeyInfo.

    ECDSA on P-256 with SHA-256 (signature in DER), Ed25519, and RSA of at least 2048 bits with PSS,
    SHA-256 and a salt of 32 bytes. Anything else, and anything malformed, is not right.
    """
    try:
        key = load_der_public_key(spki_der)
        # Servers are known by the hash of this encoding; another one of the same key would be another server.
        if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki_der:
            return False
        return _is_allowed(key) and _verified(key, message, signature)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        return False


def _is_allowed(key: PublicKeyTypes) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= RSA_SIZE_MIN and key.public_numbers().e < RSA_EXPONENT_MAX
    return isinstance(key, ed25519.Ed25519PublicKey)


def _verified(key: PublicKeyTypes, message: bytes, signature: bytes) -> bool:
    """Return true, or raise InvalidSignature."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, _ECDSA)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, _PSS, _SHA256)
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        key.verify(signature, message)
    return True
