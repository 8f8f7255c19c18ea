"""Signatures are right or not; no bytes make a verifier fail in another way."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.signatures import sign, sign_with_tls_key, verify, verify_key_of, verify_with_tls_key

SEED = bytes(range(32))
P256 = ec.generate_private_key(ec.SECP256R1())
RSA2048 = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
ALLOWED: dict[str, PrivateKeyTypes] = {"P-256": P256, "RSA": RSA2048, "Ed25519": ED25519}
REFUSED: dict[str, PrivateKeyTypes] = {
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "small RSA": rsa.generate_private_key(65537, 1024),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "DSA": dsa.generate_private_key(2048),
    "X25519": x25519.X25519PrivateKey.generate(),
}


def _spki(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_ed25519_gives_the_signature_of_rfc_8032() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify_key_of(seed) == key
    assert sign(seed, b"\x72") == signature
    assert verify(key, b"\x72", signature)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_node_signature_fits_its_message_and_key_only(message: bytes, other: bytes) -> None:
    key, signature = verify_key_of(SEED), sign(SEED, message)
    assert verify(key, message, signature)
    assert verify(key, other, signature) == (other == message)
    assert not verify(verify_key_of(SEED[::-1]), message, signature)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_a_key_or_signature_of_any_bytes_is_just_wrong(key: bytes, signature: bytes) -> None:
    assert not verify(key, b"message", signature)
    assert not verify(verify_key_of(SEED), b"message", signature)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError):
        verify_key_of(bytes(size))
    with pytest.raises(ValueError):
        sign(bytes(size), b"")


@pytest.mark.parametrize("name", ALLOWED)
def test_a_tls_signature_fits_its_message_and_key_only(name: str) -> None:
    key = ALLOWED[name]
    signature = sign_with_tls_key(key, b"message")
    assert verify_with_tls_key(_spki(key), b"message", signature)
    assert not verify_with_tls_key(_spki(key), b"massage", signature)
    assert not verify_with_tls_key(_spki(key), b"message", signature[:-1])
    assert not verify_with_tls_key(_spki(key), b"message", bytes((signature[0] ^ 1,)) + signature[1:])
    for other in ALLOWED.values():
        assert verify_with_tls_key(_spki(other), b"message", signature) == (other is key)


@pytest.mark.parametrize("name", REFUSED)
def test_tls_keys_of_other_kinds_neither_sign_nor_verify(name: str) -> None:
    key = REFUSED[name]
    with pytest.raises(ValueError, match="TLS key must be"):
        sign_with_tls_key(key, b"message")
    assert not verify_with_tls_key(_spki(key), b"message", bytes(64))
    if isinstance(key, ec.EllipticCurvePrivateKey):  # right in itself, but of a curve that is not allowed
        assert not verify_with_tls_key(_spki(key), b"m", key.sign(b"m", ec.ECDSA(hashes.SHA256())))


def test_rsa_signs_with_pss_and_a_salt_as_long_as_the_hash_only() -> None:
    def signed(how: padding.AsymmetricPadding) -> bytes:
        return RSA2048.sign(b"m", how, hashes.SHA256())

    mask = padding.MGF1(hashes.SHA256())
    assert verify_with_tls_key(_spki(RSA2048), b"m", signed(padding.PSS(mask, 32)))
    assert not verify_with_tls_key(_spki(RSA2048), b"m", signed(padding.PSS(mask, 20)))
    assert not verify_with_tls_key(_spki(RSA2048), b"m", signed(padding.PKCS1v15()))


def test_an_rsa_key_with_a_huge_exponent_is_refused_for_its_slowness() -> None:
    numbers = RSA2048.private_numbers()
    # The two exponents exchanged: what was short and public is now private.
    public = rsa.RSAPublicNumbers(numbers.d, numbers.public_numbers.n)
    short, p, q = numbers.public_numbers.e, numbers.p, numbers.q
    slow = rsa.RSAPrivateNumbers(
        p, q, short, short % (p - 1), short % (q - 1), numbers.iqmp, public
    ).private_key()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = slow.sign(b"m", pss, hashes.SHA256())
    slow.public_key().verify(signature, b"m", pss, hashes.SHA256())  # right in itself
    assert not verify_with_tls_key(_spki(slow), b"m", signature)
    with pytest.raises(ValueError, match="TLS key must be"):
        sign_with_tls_key(slow, b"m")


def test_another_encoding_of_the_same_key_is_refused() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    signature = sign_with_tls_key(P256, b"m")
    assert not verify_with_tls_key(header + point, b"m", signature)
    assert not verify_with_tls_key(_spki(P256) + b"\x00", b"m", signature)


@given(st.sampled_from(sorted(ALLOWED)), st.data())
def test_a_damaged_key_or_signature_is_just_wrong(name: str, data: st.DataObject) -> None:
    spki, signature = _spki(ALLOWED[name]), sign_with_tls_key(ALLOWED[name], b"message")
    index = data.draw(st.integers(0, len(spki) - 1))
    bad = bytearray(spki)
    bad[index] ^= data.draw(st.integers(1, 255))
    assert not verify_with_tls_key(bytes(bad), b"message", signature)
    assert not verify_with_tls_key(spki[:index], b"message", signature)
    assert not verify_with_tls_key(data.draw(st.binary(max_size=100)), b"message", signature)
    assert not verify_with_tls_key(spki, b"message", data.draw(st.binary(max_size=300)))
