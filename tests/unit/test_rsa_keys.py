"""The key pair that a mutable file is."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32, mutable_hashes
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.lease_secrets import (
    bucket_cancel_secret,
    bucket_renewal_secret,
    client_cancel_secret,
    client_renewal_secret,
    file_cancel_secret,
    file_renewal_secret,
)
from holdfast.crypto.rsa_keys import PUBLIC_KEY_SIZE_MAX, SigningKey, VerifyingKey, load_private

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mutable.json").read_text())
KEYS: dict[str, dict[str, Any]] = VECTORS["keys"]
PRIVATE_DER = base64.b64decode(KEYS["A"]["private_key_der"])
PUBLIC_DER = base64.b64decode(KEYS["A"]["public_key_der"])
KEY = SigningKey(PRIVATE_DER)

MGF = padding.MGF1(hashes.SHA256())


def library_key(private_der: bytes = PRIVATE_DER) -> rsa.RSAPrivateKey:
    key = load_der_private_key(private_der, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@pytest.mark.parametrize("case", KEYS.values(), ids=KEYS)
def test_keys_have_the_names_and_derived_keys_of_the_reference(case: dict[str, Any]) -> None:
    key = SigningKey(base64.b64decode(case["private_key_der"]))
    write_key = mutable_hashes.write_key(key.private_der)
    read_key = mutable_hashes.read_key(write_key)
    assert key.private_der == base64.b64decode(case["private_key_der"])
    assert key.public_der == base64.b64decode(case["public_key_der"])
    assert write_key.hex() == case["writekey"]
    assert read_key.hex() == case["readkey"]
    assert mutable_hashes.storage_index(read_key).hex() == case["storage_index"]
    assert mutable_hashes.fingerprint(key.public_der).hex() == case["fingerprint"]
    assert CtrCipher(write_key).update(key.private_der) == base64.b64decode(case["encrypted_private_key"])
    assert (
        case["caps"]["sdmf_write"]
        == f"URI:SSK:{base32.encode(write_key)}:{base32.encode(bytes.fromhex(case['fingerprint']))}"
    )
    example = case["datakey_example"]
    assert mutable_hashes.data_key(bytes.fromhex(example["salt"]), read_key).hex() == example["datakey"]


@pytest.mark.parametrize("case", VECTORS["server_secrets"], ids=lambda case: case["key"])
def test_secrets_of_a_server_are_those_of_the_reference(case: dict[str, str]) -> None:
    seed, lease = bytes.fromhex(case["server_seed"]), bytes.fromhex(case["lease_secret"])
    index = bytes.fromhex(KEYS[case["key"]]["storage_index"])
    master = mutable_hashes.write_enabler_master(bytes.fromhex(KEYS[case["key"]]["writekey"]))
    assert master.hex() == case["write_enabler_master"]
    assert mutable_hashes.write_enabler(master, seed).hex() == case["write_enabler"]
    renewal = file_renewal_secret(client_renewal_secret(lease), index)
    cancel = file_cancel_secret(client_cancel_secret(lease), index)
    assert bucket_renewal_secret(renewal, seed).hex() == case["renew_secret"]
    assert bucket_cancel_secret(cancel, seed).hex() == case["cancel_secret"]


@pytest.mark.parametrize("file", VECTORS["files"], ids=lambda file: file["name"])
def test_signatures_of_the_reference_are_right(file: dict[str, Any]) -> None:
    key = VerifyingKey(base64.b64decode(KEYS[file["key"]]["public_key_der"]))
    message, signature = bytes.fromhex(file["signed_prefix"]), base64.b64decode(file["signature"])
    assert key.verify(message, signature)
    assert not key.verify(message + b"\0", signature)
    assert not key.verify(message, signature + b"\0")
    assert not key.verify(message, signature[:-1])


@pytest.mark.parametrize("name", KEYS)
def test_signatures_are_right_and_never_the_same(name: str) -> None:
    key = SigningKey(base64.b64decode(KEYS[name]["private_key_der"]))
    signatures = {key.sign(b"message") for _ in range(3)}
    assert len(signatures) == 3
    assert all(len(signature) == 256 for signature in signatures)
    assert all(VerifyingKey(key.public_der).verify(b"message", signature) for signature in signatures)
    # An independent check that the salt has 32 bytes.
    library_key(key.private_der).public_key().verify(
        key.sign(b"m"), b"m", padding.PSS(MGF, 32), hashes.SHA256()
    )


@pytest.mark.parametrize("salt", [0, 20, 31, 33, padding.PSS.MAX_LENGTH])
def test_a_salt_of_another_length_is_refused(salt: int) -> None:
    signature = library_key().sign(b"m", padding.PSS(MGF, salt), hashes.SHA256())
    assert not KEY.verifying_key.verify(b"m", signature)


def test_another_mask_or_padding_is_refused() -> None:
    sha1 = padding.PSS(padding.MGF1(hashes.SHA1()), 32)
    assert not KEY.verifying_key.verify(b"m", library_key().sign(b"m", sha1, hashes.SHA256()))
    old = library_key().sign(b"m", padding.PKCS1v15(), hashes.SHA256())
    assert not KEY.verifying_key.verify(b"m", old)


@given(st.binary(max_size=600))
def test_any_bytes_are_no_signature(signature: bytes) -> None:
    assert not KEY.verifying_key.verify(b"m", signature)


@pytest.mark.parametrize("format_", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_keys_from_elsewhere_become_pkcs8(format_: PrivateFormat, encoding: Encoding) -> None:
    data = library_key().private_bytes(encoding, format_, NoEncryption())
    assert load_private(data).private_der == PRIVATE_DER
    if encoding is Encoding.DER:
        assert SigningKey(data).private_der == PRIVATE_DER


def test_private_keys_of_another_kind_or_size_are_refused() -> None:
    small = rsa.generate_private_key(65537, 1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    for key in (small, curve):
        data = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for load in (SigningKey, load_private):
            with pytest.raises(ValueError, match="RSA"):
                load(data)
    locked = library_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    for load in (SigningKey, load_private):
        with pytest.raises(ValueError, match="private key"):
            load(locked)


@given(st.integers(0, len(PRIVATE_DER) - 1), st.integers(1, 255))
def test_a_damaged_private_key_is_refused(place: int, change: int) -> None:
    data = bytearray(PRIVATE_DER)
    data[place] ^= change
    with pytest.raises(ValueError, match="RSA"):
        SigningKey(bytes(data))


@given(st.binary(max_size=100))
def test_any_bytes_are_no_key(data: bytes) -> None:
    for load in (SigningKey, VerifyingKey, load_private):
        with pytest.raises(ValueError, match="key"):
            load(data)


def test_numbers_that_fit_but_are_no_primes_do_not_sign() -> None:
    """The quick check cannot see them, so the signature is looked at before anybody gets it."""
    good = library_key().private_numbers()
    p, e = good.p, 65537
    composite = 2**1024 - 1  # divisible by 3
    d = pow(e, -1, (p - 1) * (composite - 1))
    numbers = rsa.RSAPrivateNumbers(
        p,
        composite,
        d,
        d % (p - 1),
        d % (composite - 1),
        pow(composite, -1, p),
        rsa.RSAPublicNumbers(e, p * composite),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    data = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert key.key_size == 2048
    with pytest.raises(ValueError, match="no right signatures"):
        SigningKey(data).sign(b"m")
    with pytest.raises(ValueError, match="key"):
        load_private(data)


def test_loading_a_stored_key_is_quick() -> None:
    """Each first change of a file loads its key; the library's own validation takes 0.1 s."""
    begun = time.process_time()
    for _ in range(20):
        SigningKey(PRIVATE_DER)
    assert time.process_time() - begun < 0.5


def test_public_keys_within_bounds_are_taken_with_any_exponent() -> None:
    modulus = library_key().public_key().public_numbers().n
    for exponent in (3, 17, 65537, modulus - 2):
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert VerifyingKey(data).public_der == data
    assert not VerifyingKey(PUBLIC_DER).verify(b"", b"")


@pytest.mark.parametrize(("bits", "taken"), [(2047, False), (2048, True), (8192, True), (8193, False)])
def test_the_size_of_public_keys_is_bounded(bits: int, taken: bool) -> None:
    public = rsa.RSAPublicNumbers(2 ** (bits - 1) - 1 if bits < 3000 else 65537, 2**bits - 1).public_key()
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if taken:
        assert len(data) <= PUBLIC_KEY_SIZE_MAX
        assert VerifyingKey(data).public_der == data
    else:
        with pytest.raises(ValueError, match="RSA public key"):
            VerifyingKey(data)


def test_an_error_shows_nothing_of_the_key() -> None:
    for load in (SigningKey, load_private):
        with pytest.raises(ValueError, match="key") as caught:
            load(PRIVATE_DER[:-1])
        assert caught.value.__cause__ is None
        assert len(str(caught.value)) < 80
