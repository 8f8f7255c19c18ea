"""A server is recognised by the hash of its public key, and by nothing else.

Source: docs/spec/storage-protocol.md, section 3.
"""

from __future__ import annotations

import hmac
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.protocol.nurl import spki_hash


class WrongKeyError(Exception):
    """The peer presented another key than the one pinned, or none.

    Attributes:
        seen: the hash of the key presented, base64url, or None.
    """

    def __init__(self, seen: str | None) -> None:
        super().__init__("the server presented another TLS key")
        self.seen = seen


def pinning_ssl_context() -> ssl.SSLContext:
    """Return a client context that takes any certificate: the pin is checked right after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    return context


def certificate_spki_hash(certificate_der: bytes) -> str:
    """Return the 43-character SPKI hash of a DER certificate. Raises ValueError for nonsense."""
    public_key = x509.load_der_x509_certificate(certificate_der).public_key()
    return spki_hash(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def check_pin(certificate_der: bytes | None, pinned: str) -> None:
    """Return if the certificate carries the pinned key.

    Raises:
        WrongKeyError: it does not, or there is none.
    """
    seen: str | None = None
    if certificate_der is not None:
        try:
            seen = certificate_spki_hash(certificate_der)
        except ValueError:
            seen = None
    if seen is None or not hmac.compare_digest(seen.encode(), pinned.encode()):
        raise WrongKeyError(seen)
