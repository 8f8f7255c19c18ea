"""Who a node is: its TLS key, by which peers recognise it when they connect, and its node
key, which names it and signs what it announces. Made once, and the same for life.

Source: docs/spec/grid.md, section 1; docs/spec/control-and-introducer.md, section 4.1.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.interfaces.types import NodeId, NodeId20
from holdfast.node.private_files import (
    damaged_file,
    make_private_directory,
    read_private_file,
    write_private_file,
)
from holdfast.protocol.nurl import spki_hash

TLS_FILE = "node.pem"
NODE_KEY_FILE = "node.key"
NODE_FILES = (TLS_FILE, NODE_KEY_FILE)

KEY_SIZE = 32  # bytes
VALIDITY_YEARS = 100
_KEY_PREFIX = "priv-v0-"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """The two keys of a node."""

    verify_key: bytes  # Ed25519, 32 bytes
    signing_seed: bytes = field(repr=False)  # 32 bytes
    key_info: bytes = field(repr=False)  # SubjectPublicKeyInfo of the TLS key, DER
    tls_path: Path  # certificate and key, PEM

    @property
    def server_id(self) -> str:
        """ "v0-" and 52 characters: the name of this node everywhere."""
        return "v0-" + base32.encode(self.verify_key)

    @property
    def spki_hash(self) -> str:
        """43 characters: what stands in every NURL of this node."""
        return spki_hash(self.key_info)

    @property
    def node_id(self) -> NodeId:
        return NodeId(hashlib.sha256(self.key_info).digest())

    @property
    def node_id20(self) -> NodeId20:
        return NodeId20(self.node_id[:20])

    def tls_key(self) -> PrivateKeyTypes:
        """Return the private TLS key."""
        return load_pem_private_key(self.tls_path.read_bytes(), None)


def create_node_identity(private: Path) -> NodeIdentity:
    """Create a new identity in the directory ``private``, made with mode 0700 if need be.

    Raises:
        ConfigError: a file of an identity is there already; nothing was changed.
        OSError: the directory cannot be written.
    """
    with new_files(private, _new_identity()):
        return load_node_identity(private)


def load_node_identity(private: Path) -> NodeIdentity:
    """Read the identity kept in the directory ``private``.

    Raises:
        ConfigError: a file of it is missing, damaged, or open to other users; the message names the file.
    """
    seed = _signing_seed(private / NODE_KEY_FILE)
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return NodeIdentity(
        verify_key=key.public_bytes(Encoding.Raw, PublicFormat.Raw),
        signing_seed=seed,
        key_info=_tls_key_info(private / TLS_FILE),
        tls_path=private / TLS_FILE,
    )


@contextmanager
def new_files(private: Path, texts: Mapping[str, str]) -> Iterator[None]:
    """Write secret files, none of which may exist; take them away again if the block fails.

    Raises:
        ConfigError: one exists; nothing was changed.
    """
    make_private_directory(private)
    for name in texts:
        if (private / name).exists():
            raise ConfigError(f"{private / name} exists: this node has an identity already")
    written: list[Path] = []
    try:
        for name, text in texts.items():
            write_private_file(private / name, text + "\n", replace=False)
            written.append(private / name)
        yield
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _new_identity() -> dict[str, str]:
    """Return the texts of the files, by name."""
    tls_key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(tls_key).public_bytes(Encoding.PEM)
    key = tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        TLS_FILE: (certificate + key).decode("ascii").rstrip(),
        NODE_KEY_FILE: _KEY_PREFIX + base32.encode(secrets.token_bytes(KEY_SIZE)),
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
        raise damaged_file(path, "it must hold a certificate and its key, PEM") from None
    info = certificate.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != info:
        raise damaged_file(path, "the key is not that of the certificate")
    return info


def _signing_seed(path: Path) -> bytes:
    text = read_private_file(path)
    try:
        seed = base32.decode(text.removeprefix(_KEY_PREFIX)) if text.startswith(_KEY_PREFIX) else b""
    except ValueError:
        seed = b""
    if len(seed) != KEY_SIZE:
        raise damaged_file(path, f'it must hold "{_KEY_PREFIX}" and 52 base32 characters')
    return seed
