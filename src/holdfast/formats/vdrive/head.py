"""The head of a directory: what a writer signs at each change.

Source: docs/spec/vdrive.md, section 6.4.
"""

from __future__ import annotations

from typing import NamedTuple


class SignedHead(NamedTuple):
    """A head as it travels.

    Attributes:
        head: deterministic CBOR, at most 512 bytes.
        signature: Ed25519, 64 bytes.
    """

    head: bytes
    signature: bytes
