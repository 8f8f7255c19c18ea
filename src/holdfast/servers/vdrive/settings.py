"""What an operator can choose about a virtual drive server.

Source: docs/spec/vdrive.md, sections 3.2, 11.6, 12.4, 13 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.interfaces.vdrive_choices import AccountsMode, PublicRootMode

DAY_S = 24 * 3600
MIB = 1 << 20
HISTORY_MIN_S = 900
GRACE_MIN_S = 14 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class VdriveServerSettings:
    """Settings of one virtual drive server. Times in seconds."""

    database: str = field(repr=False)  # may hold a password
    """URL: ``sqlite:///PATH`` or ``postgresql+psycopg://...``."""
    sid: bytes
    """The service's id, 32 bytes."""
    private: Path
    """Directory for what nobody else may read."""
    swissnum: str = field(default="", repr=False)
    hints: tuple[str, ...] = ()
    """Where the service can be reached; with the secret above, part of the public root's capability."""

    public_root: PublicRootMode = "none"
    accounts: AccountsMode = "token"

    history_s: int = 3600
    """So long superseded entries are kept, for listings that have begun."""
    head_retention_s: int = 400 * DAY_S
    heads_min: int = 100_000
    """So many heads of a directory are kept, however old they are."""
    max_children: int = 10_000_000

    expire_enabled: bool = False
    """Whether directories that nobody holds a lease on are deleted in the end."""
    expire_grace_s: int = 30 * DAY_S
    expire_archive: Path | None = None
    """Directory for bundles of what is deleted."""

    open_directories: int = 1000
    """Of all together who have no account, as the two below; with ``accounts`` "open"."""
    open_entries: int = 100_000
    open_bytes: int = 256 * MIB
    public_root_entries: int = 100_000
    public_root_bytes: int = 256 * MIB

    requests_per_s: float = 200
    """Of one address, after the first ``requests_burst``."""
    requests_burst: int = 400
    bad_signatures_per_s: int = 20
    """Signatures that do not hold, of one address, before it is not listened to for a minute."""
    polls_max: int = 20_000
    polls_per_address: int = 1000
    big_answers_max: int = 32
    """Pages of more than 1000 entries, and bundles, at once."""
    big_answers_per_address: int = 4
    limit_loopback: bool = False
    """Whether limits per address also hold for this machine itself, where many nodes have one address."""

    def __post_init__(self) -> None:
        if not self.database.startswith(("sqlite:///", "postgres")):
            raise ConfigError('vdrive_server: database is "sqlite:///PATH" or "postgresql://..."')
        if len(self.sid) != 32:
            raise ConfigError("vdrive_server: the id of a service has 32 bytes")
        if self.public_root not in ("none", "read-only", "read-write"):
            raise ConfigError('vdrive_server: public_root is "none", "read-only" or "read-write"')
        if self.public_root != "none" and not self.swissnum:
            raise ConfigError("vdrive_server: a public root needs the secret of the service")
        if self.accounts not in ("token", "open"):
            raise ConfigError('vdrive_server: accounts is "token" or "open"')
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
                raise ConfigError(f"vdrive_server: {setting.name} must be more than 0")
        if self.history_s < HISTORY_MIN_S:
            raise ConfigError(f"vdrive_server: history must be at least {HISTORY_MIN_S} seconds")
        if self.expire_grace_s < GRACE_MIN_S:
            raise ConfigError("vdrive_server: expire.grace must be at least 14 days")
