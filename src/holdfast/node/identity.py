"""What makes a storage server the same server for life: its TLS key, its swissnum, its
node key, its server seed and its permutation seed. Lose one of them, and clients no
longer find the server, or can no longer change what they stored there.

Source: docs/spec/grid.md, sections 1, 7 and 8; docs/spec/storage-protocol.md, section
3.1; docs/spec/control-and-introducer.md, section 4.1.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.node.private_files import (
    make_private_directory,
    read_base32_file,
    read_private_file,
    write_private_file,
)
from holdfast.protocol.nurl import spki_hash

TLS_FILE = "node.pem"
NODE_KEY_FILE = "node.key"
SWISSNUM_FILE = "swissnum"
SERVER_SEED_FILE = "server-seed"
PERMUTATION_SEED_FILE = "permutation-seed"
IDENTITY_FILES = (TLS_FILE, NODE_KEY_FILE, SWISSNUM_FILE, SERVER_SEED_FILE, PERMUTATION_SEED_FILE)

SWISSNUM_SIZE = 20  # bytes, 32 characters of base32
SEED_SIZE = 20
KEY_SIZE = 32
VALIDITY_YEARS = 100
_SWISSNUM = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_KEY_PREFIX = "priv-v0-"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageIdentity:
    """The identity of one storage server."""

    server_id: str  # "v0-" and 52 characters
    spki_hash: str  # 43 characters
    swissnum: str = field(repr=False)
    server_seed: bytes  # 20 bytes
    permutation_seed: bytes  # 32 bytes
    tls_path: Path  # certificate and key, PEM


def create_identity(private: Path) -> StorageIdentity:
    """Create a new identity in the directory ``private``, made with mode 0700 if need be.

    All of it is created or none; what is there is never replaced.

    Raises:
        ConfigError: a file of an identity is there already.
        OSError: the directory cannot be written.
    """
    make_private_directory(private)
    for name in IDENTITY_FILES:
        if (private / name).exists():
            raise ConfigError(f"{private / name} exists: this node has an identity already")
    written: list[Path] = []
    try:
        for name, text in _new_identity().items():
            write_private_file(private / name, text + "\n", replace=False)
            written.append(private / name)
        return load_identity(private)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def load_identity(private: Path) -> StorageIdentity:
    """Read the identity kept in the directory ``private``.

    Raises:
        ConfigError: a file of it is missing, damaged, or open to other users; the message names the file.
    """
    tls_path = private / TLS_FILE
    swissnum = read_private_file(private / SWISSNUM_FILE)
    if _SWISSNUM.fullmatch(swissnum) is None:
        raise ConfigError(f"{private / SWISSNUM_FILE} is damaged: it is not a swissnum")
    return StorageIdentity(
        server_id=_server_id(private / NODE_KEY_FILE),
        spki_hash=spki_hash(_tls_key_info(tls_path)),
        swissnum=swissnum,
        server_seed=read_base32_file(private / SERVER_SEED_FILE, SEED_SIZE),
        permutation_seed=read_base32_file(private / PERMUTATION_SEED_FILE, KEY_SIZE),
        tls_path=tls_path,
    )


def _new_identity() -> dict[str, str]:
    """Return the texts of the files, by name."""
    tls_key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(tls_key).public_bytes(Encoding.PEM)
    key = tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    spki = tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        TLS_FILE: (certificate + key).decode("ascii").rstrip(),
        NODE_KEY_FILE: _KEY_PREFIX + base32.encode(secrets.token_bytes(KEY_SIZE)),
        SWISSNUM_FILE: base32.encode(secrets.token_bytes(SWISSNUM_SIZE)),
        SERVER_SEED_FILE: base32.encode(hashlib.sha256(spki).digest()[:SEED_SIZE]),
        PERMUTATION_SEED_FILE: base32.encode(secrets.token_bytes(KEY_SIZE)),
    }


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "holdfast")])
    now = datetime.datetime.now(datetime.UTC)
    # A day early, for peers whose clock is behind; the reference's clients look at the dates.
    begin = now - datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=365 * VALIDITY_YEARS))
        .sign(key, hashes.SHA256())
    )


def _tls_key_info(path: Path) -> bytes:
    """Return the SubjectPublicKeyInfo of the certificate, which must belong to the key beside it."""
    pem = read_private_file(path).encode()
    try:
        key = load_pem_private_key(pem, None).public_key()
        certificate = x509.load_pem_x509_certificate(pem).public_key()
    except (ValueError, TypeError):
        raise ConfigError(f"{path} is damaged: it must hold a certificate and its key, PEM") from None
    info = certificate.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != info:
        raise ConfigError(f"{path} is damaged: the key is not that of the certificate")
    return info


def _server_id(path: Path) -> str:
    text = read_private_file(path)
    try:
        seed = base32.decode(text.removeprefix(_KEY_PREFIX)) if text.startswith(_KEY_PREFIX) else b""
        key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    except ValueError:
        raise ConfigError(
            f'{path} is damaged: it must hold "{_KEY_PREFIX}" and 52 base32 characters'
        ) from None
    return "v0-" + base32.encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
