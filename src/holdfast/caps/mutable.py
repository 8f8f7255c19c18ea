"""Capabilities of mutable files: write, read, verify, in the formats SSK (SDMF) and MDMF.

Source: docs/spec/capabilities.md, sections 3.3 and 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from holdfast.crypto import base32, mutable_hashes

MutableFormat = Literal["SSK", "MDMF"]
"""The label of a family. Attenuation stays within it, and it is part of what a capability is."""


@dataclass(frozen=True, slots=True)
class MutableVerifyCap:
    """Lets its holder check and repair a file, not read it."""

    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False
    usable: ClassVar[bool] = True

    format: MutableFormat
    storage_index: bytes  # 16 bytes
    fingerprint: bytes  # of the public key, 32 bytes

    @property
    def kind(self) -> str:
        return f"{self.format}-Verifier"

    @property
    def verify_cap(self) -> MutableVerifyCap:
        return self

    @property
    def read_only(self) -> MutableVerifyCap:
        return self

    def to_text(self) -> str:
        return _text(self.kind, self.storage_index, self.fingerprint)


@dataclass(frozen=True, slots=True)
class MutableReadCap:
    """Lets its holder read a file whose contents may change."""

    mutable: ClassVar[bool] = True
    writable: ClassVar[bool] = False
    usable: ClassVar[bool] = True

    format: MutableFormat
    read_key: bytes = field(repr=False)  # 16 bytes
    fingerprint: bytes

    @property
    def kind(self) -> str:
        return f"{self.format}-RO"

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
        return _text(self.kind, self.read_key, self.fingerprint)


@dataclass(frozen=True, slots=True)
class MutableWriteCap:
    """Lets its holder change and read a file."""

    mutable: ClassVar[bool] = True
    writable: ClassVar[bool] = True
    usable: ClassVar[bool] = True

    format: MutableFormat
    write_key: bytes = field(repr=False)  # 16 bytes
    fingerprint: bytes

    @property
    def kind(self) -> str:
        return self.format

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
        return _text(self.kind, self.write_key, self.fingerprint)


def _text(kind: str, first: bytes, fingerprint: bytes) -> str:
    return f"URI:{kind}:{base32.encode(first)}:{base32.encode(fingerprint)}"
