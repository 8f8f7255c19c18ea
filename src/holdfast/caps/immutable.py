"""Capabilities of immutable files: literal, read, verify.

Source: docs/spec/capabilities.md, sections 3.1, 3.2 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from holdfast.crypto import base32, immutable_hashes


@dataclass(frozen=True, slots=True)
class LiteralCap:
    """A file small enough to be in its capability. There is nothing to verify."""

    kind: ClassVar[str] = "LIT"
    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False
    usable: ClassVar[bool] = True
    storage_index: ClassVar[None] = None
    verify_cap: ClassVar[None] = None

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def read_only(self) -> LiteralCap:
        return self

    def to_text(self) -> str:
        return "URI:LIT:" + base32.encode(self.data)


@dataclass(frozen=True, slots=True)
class ImmutableVerifyCap:
    """Lets its holder check and repair a file, not read it."""

    kind: ClassVar[str] = "CHK-Verifier"
    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False

    storage_index: bytes  # 16 bytes
    ueb_hash: bytes  # of the URI extension block, 32 bytes
    shares_needed: int
    shares_total: int
    size: int  # bytes of plaintext

    @property
    def verify_cap(self) -> ImmutableVerifyCap:
        return self

    @property
    def read_only(self) -> ImmutableVerifyCap:
        return self

    @property
    def usable(self) -> bool:
        """True if its numbers are possible; others can be stored and shown, but never used."""
        return 1 <= self.shares_needed <= self.shares_total <= 256 and self.size >= 1

    def to_text(self) -> str:
        return _text(self.storage_index, self)


@dataclass(frozen=True, slots=True)
class ImmutableReadCap:
    """Lets its holder read a file."""

    kind: ClassVar[str] = "CHK"
    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False

    key: bytes = field(repr=False)  # 16 bytes
    ueb_hash: bytes
    shares_needed: int
    shares_total: int
    size: int

    @property
    def storage_index(self) -> bytes:
        return immutable_hashes.storage_index(self.key)

    @property
    def verify_cap(self) -> ImmutableVerifyCap:
        return ImmutableVerifyCap(
            self.storage_index, self.ueb_hash, self.shares_needed, self.shares_total, self.size
        )

    @property
    def read_only(self) -> ImmutableReadCap:
        return self

    @property
    def usable(self) -> bool:
        """True if its numbers are possible; others can be stored and shown, but never used."""
        return self.verify_cap.usable

    def to_text(self) -> str:
        return _text(self.key, self)


def _text(first: bytes, cap: ImmutableReadCap | ImmutableVerifyCap) -> str:
    hashes = f"{base32.encode(first)}:{base32.encode(cap.ueb_hash)}"
    return f"URI:{cap.kind}:{hashes}:{cap.shares_needed}:{cap.shares_total}:{cap.size}"
