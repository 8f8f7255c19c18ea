"""Capabilities of directories: that of the file a directory is stored in, under another label.

Source: docs/spec/capabilities.md, section 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from holdfast.caps.immutable import ImmutableReadCap, ImmutableVerifyCap, LiteralCap
from holdfast.caps.mutable import MutableReadCap, MutableVerifyCap, MutableWriteCap

_FILE_TO_DIRECTORY = {"CHK": "DIR2-CHK", "LIT": "DIR2-LIT", "SSK": "DIR2", "MDMF": "DIR2-MDMF"}


@dataclass(frozen=True, slots=True)
class DirectoryVerifyCap:
    """Lets its holder check and repair a directory, not list it."""

    mutable: ClassVar[bool] = False
    writable: ClassVar[bool] = False

    file_cap: ImmutableVerifyCap | MutableVerifyCap

    @property
    def kind(self) -> str:
        return _kind(self.file_cap.kind)

    @property
    def storage_index(self) -> bytes:
        return self.file_cap.storage_index

    @property
    def verify_cap(self) -> DirectoryVerifyCap:
        return self

    @property
    def read_only(self) -> DirectoryVerifyCap:
        return self

    @property
    def usable(self) -> bool:
        return self.file_cap.usable

    def to_text(self) -> str:
        return _relabelled(self.file_cap.to_text())


@dataclass(frozen=True, slots=True)
class DirectoryCap:
    """Lets its holder list a directory, and change it if the file's capability allows writing."""

    file_cap: LiteralCap | ImmutableReadCap | MutableReadCap | MutableWriteCap

    @property
    def kind(self) -> str:
        return _kind(self.file_cap.kind)

    @property
    def mutable(self) -> bool:
        """True if its entries can change, no matter by whom."""
        return self.file_cap.mutable

    @property
    def writable(self) -> bool:
        """True if its holder can change its entries."""
        return self.file_cap.writable

    @property
    def storage_index(self) -> bytes | None:
        """None for a literal directory, which is in its capability."""
        return self.file_cap.storage_index

    @property
    def verify_cap(self) -> DirectoryVerifyCap | None:
        """None for a literal directory: there is nothing to verify."""
        verify_cap = self.file_cap.verify_cap
        return None if verify_cap is None else DirectoryVerifyCap(verify_cap)

    @property
    def read_only(self) -> DirectoryCap:
        return DirectoryCap(self.file_cap.read_only)

    @property
    def usable(self) -> bool:
        return self.file_cap.usable

    def to_text(self) -> str:
        return _relabelled(self.file_cap.to_text())


def _kind(file_kind: str) -> str:
    """Return the kind of a directory that is stored in a file of kind ``file_kind``."""
    family, dash, rest = file_kind.partition("-")
    return _FILE_TO_DIRECTORY[family] + dash + rest


def _relabelled(file_text: str) -> str:
    """Return a file's text with the label of the directory that is stored in it."""
    uri, kind, fields = file_text.split(":", 2)
    return f"{uri}:{_kind(kind)}:{fields}"
