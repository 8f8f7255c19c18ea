"""How a client uses virtual drive servers.

Source: docs/spec/vdrive.md, sections 7, 12.1 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.errors import ConfigError

LEASE_SEED_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class VdriveSettings:
    """Attributes:
    lease_seed: 32 bytes, from which the secrets of this client's leases are derived.
    require_fresh: a directory that its writers keep fresh, and that is not, is an error.
    chain_limit: versions of which a reader follows every head; a writer follows all.
    auto_heal: what a server has lost and this client has sent, is sent to it again.
    lease_s: seconds for which leases are renewed.
    pause_s: seconds of the first pause after a conflict; tests make it shorter.
    """

    lease_seed: bytes = field(repr=False)
    require_fresh: bool = False
    chain_limit: int = 50_000
    auto_heal: bool = True
    lease_s: int = 31 * 86_400
    pause_s: float = 0.02

    def __post_init__(self) -> None:
        if len(self.lease_seed) != LEASE_SEED_SIZE:
            raise ConfigError(f"the lease seed must have {LEASE_SEED_SIZE} bytes")
        if self.chain_limit < 1:
            raise ConfigError("vdrive: chain-limit must be at least 1")
