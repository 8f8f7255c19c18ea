"""Capabilities of mutable files: write, read, verify, in the formats SSK (SDMF) and MDMF.

Source: docs/spec/capabilities.md, sections 3.3 and 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from holdfast.crypto import base32, mutable_hashes

MutableFormat = Literal["SSK", "MDMF"]
"""The label of a family. Attenuation stays within it, and it is part of what a capability is."""


@dataclass(frozen=True, slots=True)
class MutableVerifyCap:
    """Lets its holder check and repair a file, not read it."""

    format: MutableFormat
    storage_index: bytes  # 16 bytes
    fingerprint: bytes  # of the public key, 32 bytes

    @property
    def verify_cap(self) -> MutableVerifyCap:
        return self

    @property
    def read_only(self) -> MutableVerifyCap:
        return self

    def to_text(self) -> str:
        return _text(f"{self.format}-Verifier", self.storage_index, self.fingerprint)


@dataclass(frozen=True, slots=True)
class MutableReadCap:
    """Lets its holder read a file whose contents may change."""

    format: MutableFormat
    read_key: bytes = field(repr=False)  # 16 bytes
    fingerprint: bytes

    @property
    def storage_index(self) -> bytes:
        return mutable_hashes.storage_index(self.read_key)

    @property
    def verify_cap(self) -> MutableVerifyCap:
        return MutableVerifyCap(self.format, self.storage_index, self.fingerprint)

    @property
    def read_only(self) -> MutableReadCap:
        return self

    def to_text(self) -> str:
        return _text(f"{self.format}-RO", self.read_key, self.fingerprint)


@dataclass(frozen=True, slots=True)
class MutableWriteCap:
    """Lets its holder change and read a file."""

    format: MutableFormat
    write_key: bytes = field(repr=False)  # 16 bytes
    fingerprint: bytes

    @property
    def storage_index(self) -> bytes:
        return self.read_only.storage_index

    @property
    def verify_cap(self) -> MutableVerifyCap:
        return self.read_only.verify_cap

    @property
    def read_only(self) -> MutableReadCap:
        return MutableReadCap(self.format, mutable_hashes.read_key(self.write_key), self.fingerprint)

    def to_text(self) -> str:
        return _text(self.format, self.write_key, self.fingerprint)


def _text(label: str, first: bytes, fingerprint: bytes) -> str:
    return f"URI:{label}:{base32.encode(first)}:{base32.encode(fingerprint)}"
