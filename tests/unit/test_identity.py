"""What makes a server the same server for life is made once, kept private, and checked when read."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.node.storage_identity import IDENTITY_FILES, create_storage_identity, load_storage_identity
from holdfast.protocol.nurl import spki_hash


@pytest.fixture
def private(tmp_path: Path) -> Path:
    create_storage_identity(tmp_path / "private")
    return tmp_path / "private"


def certificate(private: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((private / "node.pem").read_bytes())


def key_info(private: Path) -> bytes:
    return certificate(private).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_certificate_is_version_3_self_signed_p256_and_lasts_decades(private: Path) -> None:
    made = certificate(private)
    key = made.public_key()
    assert made.version is x509.Version.v3
    assert made.subject == made.issuer
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    made.verify_directly_issued_by(made)
    now = datetime.datetime.now(datetime.UTC)
    assert made.not_valid_before_utc < now
    assert made.not_valid_after_utc > now + datetime.timedelta(days=365 * 50)


def test_the_parts_have_the_forms_that_clients_expect(private: Path) -> None:
    identity = load_storage_identity(private)
    assert identity.server_id.startswith("v0-")
    assert len(base32.decode(identity.server_id.removeprefix("v0-"))) == 32
    assert len(identity.swissnum) == 32
    assert len(base32.decode(identity.swissnum)) == 20
    assert len(identity.permutation_seed) == 32
    assert identity.server_seed == hashlib.sha256(key_info(private)).digest()[:20]
    assert identity.spki_hash == spki_hash(key_info(private))


def test_it_stays_the_same_and_no_two_are_alike(private: Path, tmp_path: Path) -> None:
    assert load_storage_identity(private) == load_storage_identity(private)
    other = create_storage_identity(tmp_path / "other")
    mine = load_storage_identity(private)
    for part in ("server_id", "spki_hash", "swissnum", "server_seed", "permutation_seed"):
        assert getattr(mine, part) != getattr(other, part)


def test_only_the_owner_can_read_it(private: Path) -> None:
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert sorted(path.name for path in private.iterdir()) == sorted(IDENTITY_FILES)
    for path in private.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_its_secrets_are_not_in_its_repr(private: Path) -> None:
    assert load_storage_identity(private).swissnum not in repr(load_storage_identity(private))


def test_an_identity_is_never_replaced(private: Path) -> None:
    before = load_storage_identity(private)
    with pytest.raises(ConfigError, match="has an identity already"):
        create_storage_identity(private)
    assert load_storage_identity(private) == before


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, calls = os.link, []

    def failing_link(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", failing_link)
    with pytest.raises(OSError, match="No space"):
        create_storage_identity(tmp_path / "private")
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.parametrize("name", IDENTITY_FILES)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:11]), "damaged"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "damaged"),
        (lambda path: path.write_bytes(b"-" * 52), "damaged"),
        (lambda path: (path.chmod(0o644), path.parent.chmod(0o755)), "open to other users"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
def test_a_missing_or_damaged_file_is_named_and_not_shown(
    private: Path, name: str, damage: Callable[[Path], object], said: str
) -> None:
    content = (private / name).read_text()
    damage(private / name)
    if (name, said) == ("swissnum", "damaged") and (private / name).read_bytes() == b"-" * 52:
        pytest.skip("a swissnum is any text of such characters")
    with pytest.raises(ConfigError) as caught:
        load_storage_identity(private)
    assert str(private / name) in str(caught.value)
    assert said in str(caught.value)
    assert content.strip() not in str(caught.value)


def test_a_certificate_of_another_key_is_refused(private: Path, tmp_path: Path) -> None:
    create_storage_identity(tmp_path / "other")
    mine = (private / "node.pem").read_text()
    other = (tmp_path / "other/node.pem").read_text()
    split = "-----END CERTIFICATE-----\n"
    (private / "node.pem").write_text(other.split(split)[0] + split + mine.split(split)[1])
    with pytest.raises(ConfigError, match="not that of the certificate"):
        load_storage_identity(private)
