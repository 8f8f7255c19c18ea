"""The two secrets of a client: one names its leases, the other makes its files converge.

Files ``private/secret`` and ``private/convergence``, base32, as tahoe-lafs keeps them, so
that several machines can share the second (docs/spec/storage-disk.md, section 1).
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from holdfast.crypto import base32
from holdfast.node.private_files import make_private_directory, read_base32_file, write_private_file

log = structlog.get_logger(__name__)

LEASE_FILE = "secret"
CONVERGENCE_FILE = "convergence"
SECRET_SIZE = 32  # bytes


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """32 bytes each."""

    lease: bytes = field(repr=False)
    convergence: bytes = field(repr=False)


def create_client_secrets(private: Path) -> None:
    """Create whichever secret is not there yet; a secret that is there is never replaced."""
    make_private_directory(private)
    for name in (LEASE_FILE, CONVERGENCE_FILE):
        path = private / name
        if not path.exists():
            with suppress(FileExistsError):  # another process was quicker
                write_private_file(
                    path, base32.encode(secrets.token_bytes(SECRET_SIZE)) + "\n", replace=False
                )


def load_client_secrets(private: Path) -> ClientSecrets:
    """Read the secrets kept in the directory ``private``; create what is missing, and log that.

    Raises:
        ConfigError: a file is damaged or open to other users; the message names it.
        OSError: a missing one cannot be created.
    """
    missing = [name for name in (LEASE_FILE, CONVERGENCE_FILE) if not (private / name).exists()]
    create_client_secrets(private)
    for name in missing:
        log.warning("a secret of this client was missing, and was made anew", file=str(private / name))
    return ClientSecrets(
        read_base32_file(private / LEASE_FILE, SECRET_SIZE),
        read_base32_file(private / CONVERGENCE_FILE, SECRET_SIZE),
    )
