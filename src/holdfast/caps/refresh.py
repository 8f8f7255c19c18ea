"""Refresh capabilities: whoever holds one can renew leases of a file's shares, or of a
directory at a virtual drive server, with lease secrets of its own, and so keep it from
being collected. It cannot decrypt.

The storage protocol lets whoever knows a storage index fetch ciphertext, too.

Source: docs/spec/seed-map.md, S-091; docs/spec/vdrive.md, section 12.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.immutable import ImmutableReadCap, ImmutableVerifyCap
from holdfast.caps.parsing import Cap, VdriveCap
from holdfast.caps.vdrive import VdriveRefreshCap, vdrive_refresh_cap
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError

_VDRIVE_LABEL = "URI:DIR-Refresh:"
_SHAPE = re.compile(r"URI:(CHK|SSK)-Refresh:([a-z2-7]{26})", re.ASCII)


@dataclass(frozen=True, slots=True)
class RefreshCap:
    """Lets its holder renew leases. SSK stands for mutable files of either format."""

    family: Literal["CHK", "SSK"]
    storage_index: bytes  # 16 bytes

    def to_text(self) -> str:
        return f"URI:{self.family}-Refresh:{base32.encode(self.storage_index)}"


def refresh_cap(cap: Cap) -> RefreshCap | VdriveRefreshCap | None:
    """Return the refresh capability of a file or directory; None for a literal one, which has no leases."""
    if isinstance(cap, VdriveCap):
        return cap.refresh_cap
    file_cap = cap.file_cap if isinstance(cap, DirectoryCap | DirectoryVerifyCap) else cap
    if file_cap.storage_index is None:
        return None
    immutable = isinstance(file_cap, ImmutableReadCap | ImmutableVerifyCap)
    return RefreshCap("CHK" if immutable else "SSK", file_cap.storage_index)


def parse_refresh_cap(text: str) -> RefreshCap | VdriveRefreshCap:
    """Parse a refresh capability; white space around it does not count.

    Raises:
        BadCapabilityError: it is none.
    """
    stripped = text.strip()
    match = _SHAPE.fullmatch(stripped)
    try:
        if match is not None:
            return RefreshCap("CHK" if match[1] == "CHK" else "SSK", base32.decode(match[2]))
        if stripped.startswith(_VDRIVE_LABEL):
            return vdrive_refresh_cap(stripped.removeprefix(_VDRIVE_LABEL).encode())
    except ValueError:
        pass
    raise BadCapabilityError("this is not a refresh capability; is it cut off or misspelt?")
