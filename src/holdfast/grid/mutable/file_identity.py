"""What a mutable file is, as far as a capability tells, and what was learned of it since.

Source: docs/spec/mutable.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.interfaces.types import StorageIndex

AnyMutableCap = MutableWriteCap | MutableReadCap | MutableVerifyCap


@dataclass(slots=True)
class FileIdentity:
    """One file through one capability. ``keys`` is filled in once the private key was found."""

    index: StorageIndex
    fingerprint: bytes
    format: MutableFormat  # in which new versions are written
    read_key: bytes | None = field(repr=False)
    write_key: bytes | None = field(repr=False)
    keys: FileKeys | None = field(default=None, repr=False)

    @classmethod
    def of(cls, cap: AnyMutableCap) -> FileIdentity:
        """Return what a capability tells."""
        write_key = cap.write_key if isinstance(cap, MutableWriteCap) else None
        reading = cap.read_only
        read_key = reading.read_key if isinstance(reading, MutableReadCap) else None
        file_format: MutableFormat = "MDMF" if cap.format == "MDMF" else "SDMF"
        return cls(StorageIndex(cap.storage_index), cap.fingerprint, file_format, read_key, write_key)
