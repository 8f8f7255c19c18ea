"""What an operator can choose about a storage server.

Source: docs/spec/storage-protocol.md, section 11; docs/spec/storage-disk.md, section 8; seed-map S-046.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import ConfigError

MIB = 1 << 20
LEAST_BODY_MAX = 64 * MIB  # bytes; the protocol promises to take this much
ANY_BODY = 1 << 48  # bytes; what servers of 1.20 take

Durability = Literal["fsync", "os"]
VerifyOnClose = Literal["off", "layout", "deep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Settings of one storage directory. Sizes in bytes, times in seconds."""

    reserved_space: int = 0
    """Bytes of the file system that stay free."""
    capacity: int | None = None
    """Most bytes of share data to hold, uploads in progress included; None: what the disk has."""
    read_only: bool = False
    durability: Durability = "fsync"
    """With "os" the operating system decides when bytes reach the disk: a power failure may cost some."""
    verify_on_close: VerifyOnClose = "layout"
    upload_idle_s: float = 1800
    canary_grace_s: float = 30
    canary_beat_s: float = 10
    maximum_mutable_share_size: int = 69105 * 10**12
    read_test_write_body_max: int = ANY_BODY
    """Most bytes of one such message, if the disk has room for it."""
    advisories_max: int = 1000
    advisory_bytes_max: int = 64 * MIB
    workers: int = 8
    """Threads that wait for the disk."""

    def __post_init__(self) -> None:
        for name in ("reserved_space", "upload_idle_s", "canary_grace_s", "maximum_mutable_share_size"):
            if getattr(self, name) < 0:
                raise ConfigError(f"storage: {name} must not be negative")
        if self.capacity is not None and self.capacity < 0:
            raise ConfigError("storage: capacity must not be negative")
        if self.durability not in ("fsync", "os"):
            raise ConfigError('storage: durability is "fsync" or "os"')
        if self.verify_on_close not in ("off", "layout", "deep"):
            raise ConfigError('storage: verify_on_close is "off", "layout" or "deep"')
        if self.read_test_write_body_max < LEAST_BODY_MAX:
            raise ConfigError("storage: read_test_write_body_max must be at least 64 MiB")
        if self.workers < 1:
            raise ConfigError("storage: workers must be at least 1")
