"""What an operator can choose about an introducer.

Source: docs/spec/control-and-introducer.md, sections 3.6 and 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from holdfast.errors import ConfigError
from holdfast.protocol.introducer_calls import SERVICES_PER_KEY

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

Admission = Literal["open", "approve"]
Durability = Literal["fsync", "os"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroducerSettings:
    """Settings of one introducer. Times in seconds."""

    admission: Admission = "open"
    """With "approve" a node's announcements are taken only after an operator has admitted its key."""
    durability: Durability = "fsync"
    """With "os" a power failure may cost the last announcements."""

    announcements_max: int = 10_000
    """Of at most 16 KiB each, all of which are held in memory."""
    services_per_key: int = SERVICES_PER_KEY
    change_every_s: float = 60
    """Every so often a node may change one of its announcements, after the first ``changes_burst``."""
    changes_burst: int = 5
    new_keys_per_hour: float = 60
    new_keys_per_hour_and_address: float = 10
    keys_waiting_max: int = 1000
    """Keys of which nothing is announced and about which no operator has decided."""

    requests_per_s: float = 10
    """Of one address, after the first ``requests_burst``."""
    requests_burst: int = 50
    polls_max: int = 5000
    polls_per_address: int = 50
    limit_loopback: bool = False
    """Whether limits per address also hold for this machine itself, where many nodes have one address."""

    invitations_max: int = 1000
    """Invitations that nobody has redeemed yet."""
    keep_expired_s: float = 7 * DAY_S
    """Announcements are still handed out this long after they have expired."""
    keep_withdrawn_s: float = 90 * DAY_S

    def __post_init__(self) -> None:
        if self.admission not in ("open", "approve"):
            raise ConfigError('introducer: admission is "open" or "approve"')
        if self.durability not in ("fsync", "os"):
            raise ConfigError('introducer: durability is "fsync" or "os"')
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not isinstance(value, str | bool) and not value > 0:
                raise ConfigError(f"introducer: {setting.name} must be more than 0")
        if self.services_per_key > SERVICES_PER_KEY:
            raise ConfigError(f"introducer: services_per_key must be at most {SERVICES_PER_KEY}")
