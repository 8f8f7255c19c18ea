"""The RSA key pair that a mutable file is: loading, signing, verifying.

Keys are not made here, since that needs randomness; the salt inside a signature is drawn by OpenSSL.

Source: docs/spec/mutable.md, section 2.1.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)

PRIVATE_KEY_BITS = 2048  # of the modulus
PUBLIC_KEY_BITS_MIN = 2048
PUBLIC_KEY_BITS_MAX = 8192  # a larger one would make verifying slow
PUBLIC_KEY_SIZE_MAX = 2200  # bytes: a modulus and an exponent of the largest size, and what is around them

_SHA256 = hashes.SHA256()
_PSS = padding.PSS(padding.MGF1(_SHA256), 32)  # the salt has 32 bytes, neither more nor "auto"


class SigningKey:
    """The private key of a mutable file: 2048 bits, any public exponent."""

    def __init__(self, private_der: bytes) -> None:
        """Take a key in DER, PKCS#8 or bare PKCS#1.

        The numbers have to fit each other; whether the factors are primes is not tested, as that takes a
        hundred times longer: for keys from elsewhere ``load_private`` does.

        Raises:
            ValueError: not an unencrypted RSA key of 2048 bits; the message holds nothing of it.
        """
        # The library's validation is skipped for the one below, without tests for primality. The key has to
        # pass it before it is used for anything, since impossible numbers could crash OpenSSL.
        try:
            key = load_der_private_key(private_der, None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("not an RSA private key") from None
        self._key = _checked(key)
        self._private_der = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public_key = self._key.public_key()
        self._public_der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._verifying_key = VerifyingKey(self._public_der)

    @property
    def private_der(self) -> bytes:
        """The key as PKCS#8, which the write key of a new file is the hash of. A secret."""
        return self._private_der

    @property
    def public_der(self) -> bytes:
        """The public key as SubjectPublicKeyInfo."""
        return self._public_der

    @property
    def verifying_key(self) -> VerifyingKey:
        return self._verifying_key

    def sign(self, message: bytes) -> bytes:
        """Return a signature, 256 bytes, never the same twice.

        Raises:
            ValueError: the key makes none that are right, so it is no proper key.
        """
        signature = self._key.sign(message, _PSS, _SHA256)
        if not self._verifying_key.verify(message, signature):
            raise ValueError("the RSA private key makes no right signatures")
        return signature


class VerifyingKey:
    """The public key of a mutable file: 2048 to 8192 bits, any public exponent."""

    def __init__(self, public_der: bytes) -> None:
        """Take a SubjectPublicKeyInfo in DER. Raises ValueError for anything else."""
        if len(public_der) > PUBLIC_KEY_SIZE_MAX:
            raise ValueError("an RSA public key is not that long")
        try:
            key = load_der_public_key(public_der)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("not an RSA public key") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("the public key is not an RSA key")
        if not PUBLIC_KEY_BITS_MIN <= key.key_size <= PUBLIC_KEY_BITS_MAX:
            raise ValueError(f"an RSA public key has {PUBLIC_KEY_BITS_MIN} to {PUBLIC_KEY_BITS_MAX} bits")
        self._key = key
        self._public_der = public_der

    @property
    def public_der(self) -> bytes:
        """The key, byte for byte as it was given."""
        return self._public_der

    def same_as(self, other: VerifyingKey) -> bool:
        """Tell whether the keys are equal, be they written differently."""
        return self._key.public_numbers() == other._key.public_numbers()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is right."""
        try:
            self._key.verify(signature, message, _PSS, _SHA256)
        except InvalidSignature:
            return False
        return True


def load_private(data: bytes) -> SigningKey:
    """Return a key somebody supplies, in DER or PEM, PKCS#8 or PKCS#1. It is validated thoroughly (0.1 s).

    Raises:
        ValueError: not a valid unencrypted RSA key of 2048 bits; the message holds nothing of it.
    """
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            key = load_pem_private_key(data, None)
        else:
            key = load_der_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a valid unencrypted private key in PEM or DER") from None
    return SigningKey(
        _checked(key).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


def _checked(key: object) -> rsa.RSAPrivateKey:
    """Return ``key`` if it is an RSA key of the one size whose numbers belong together."""
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the private key is not an RSA key")
    if key.key_size != PRIVATE_KEY_BITS:
        raise ValueError(f"the RSA private key has {key.key_size} bits, not {PRIVATE_KEY_BITS}")
    if not _consistent(key.private_numbers()):
        raise ValueError("the numbers of the RSA private key do not belong together")
    return key


def _consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    p, q, d, e = numbers.p, numbers.q, numbers.d, numbers.public_numbers.e
    return (
        p > 2
        and q > 2
        and p != q
        and p * q == numbers.public_numbers.n
        and p % 2 == q % 2 == e % 2 == 1
        and 1 < e < numbers.public_numbers.n
        and 1 < d < numbers.public_numbers.n
        and e * d % (p - 1) == e * d % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and 0 < numbers.iqmp < p
        and numbers.iqmp * q % p == 1
    )
