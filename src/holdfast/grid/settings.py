"""Settings of the client side, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import ConfigError

DEFAULT_SEGMENT_SIZE_MAX = 1 << 20  # bytes, as the reference's for immutable files


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingSettings:
    """How a file is encoded and spread.

    ``convergence_secret`` None means a random key; the empty secret is a secret like any other.
    """

    shares_needed: int = 3
    happiness: int = 7
    shares_total: int = 10
    segment_size_max: int = DEFAULT_SEGMENT_SIZE_MAX
    convergence_secret: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.shares_needed <= self.shares_total <= 256:
            raise ConfigError(
                "encoding: shares-needed and shares-total must obey 1 <= needed <= total <= 256"
            )
        if not 1 <= self.happiness <= self.shares_total:
            raise ConfigError("encoding: happiness must lie between 1 and shares-total")
        if not 1 <= self.segment_size_max <= 1 << 26:
            raise ConfigError("encoding: segment-size must lie between 1 and 67108864 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of one client."""

    lease_secret: bytes = field(repr=False)  # 32 bytes; names this client's leases
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    preferred_servers: frozenset[str] = frozenset()
    memory_max: int = 128 << 20  # bytes of batch buffers, all transfers together
    versions_path: Path | None = None  # where the versions of mutable files are remembered; None: in memory
    brief: bool = False  # the program ends soon: nothing is made in advance
    mutable_retry_scale: float = 1.0  # of the waits after two writers of a mutable file collided

    def __post_init__(self) -> None:
        if len(self.lease_secret) != 32:
            raise ConfigError("the lease secret must have 32 bytes")
        if self.memory_max < 1 << 20:
            raise ConfigError("client: memory-max must be at least 1 MiB")
