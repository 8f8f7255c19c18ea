"""What makes a storage server the same server for life, besides the keys of its node: its
swissnum, its server seed and its permutation seed. Lose one of them, and clients no
longer find the server, or can no longer change what they stored there.

Source: docs/spec/grid.md, sections 1, 7 and 8; docs/spec/storage-protocol.md, section
3.1; docs/spec/control-and-introducer.md, section 4.1.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.crypto import base32
from holdfast.node.identity import (
    NODE_FILES,
    NodeIdentity,
    create_node_identity,
    load_node_identity,
    new_files,
)
from holdfast.node.private_files import read_base32_file
from holdfast.node.swissnums import new_swissnum, read_swissnum

SWISSNUM_FILE = "swissnum"
SERVER_SEED_FILE = "server-seed"
PERMUTATION_SEED_FILE = "permutation-seed"
IDENTITY_FILES = (*NODE_FILES, SWISSNUM_FILE, SERVER_SEED_FILE, PERMUTATION_SEED_FILE)

SEED_SIZE = 20  # bytes
PERMUTATION_SEED_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageIdentity:
    """The identity of one storage server."""

    node: NodeIdentity
    swissnum: str = field(repr=False)
    server_seed: bytes  # 20 bytes
    permutation_seed: bytes  # 32 bytes

    @property
    def server_id(self) -> str:
        """ "v0-" and 52 characters."""
        return self.node.server_id

    @property
    def spki_hash(self) -> str:
        """43 characters."""
        return self.node.spki_hash

    @property
    def tls_path(self) -> Path:
        """Certificate and key, PEM."""
        return self.node.tls_path


def create_storage_identity(private: Path) -> StorageIdentity:
    """Create a new identity in the directory ``private``, which may hold that of a node already.

    All of it is created or none; what is there is never replaced.

    Raises:
        ConfigError: a file of a storage server's identity is there already.
        OSError: the directory cannot be written.
    """
    existed = any((private / name).exists() for name in NODE_FILES)
    node = load_node_identity(private) if existed else create_node_identity(private)
    texts = {
        SWISSNUM_FILE: new_swissnum(),
        SERVER_SEED_FILE: base32.encode(node.node_id20),
        PERMUTATION_SEED_FILE: base32.encode(secrets.token_bytes(PERMUTATION_SEED_SIZE)),
    }
    try:
        with new_files(private, texts):
            return load_storage_identity(private)
    except BaseException:
        for name in NODE_FILES if not existed else ():
            (private / name).unlink(missing_ok=True)
        raise


def load_storage_identity(private: Path) -> StorageIdentity:
    """Read the identity kept in the directory ``private``.

    Raises:
        ConfigError: a file of it is missing, damaged, or open to other users; the message names the file.
    """
    return StorageIdentity(
        node=load_node_identity(private),
        swissnum=read_swissnum(private / SWISSNUM_FILE),
        server_seed=read_base32_file(private / SERVER_SEED_FILE, SEED_SIZE),
        permutation_seed=read_base32_file(private / PERMUTATION_SEED_FILE, PERMUTATION_SEED_SIZE),
    )
