"""Settings of the client of introducers, and the times and bounds it keeps.

Source: docs/spec/control-and-introducer.md, sections 3.7, 3.9 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.errors import ConfigError

USE_STALE = ("read", "all", "none")
DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """How often things are done, in seconds. Tests shorten them; nobody else needs to."""

    wait: float = 55.0  # of one long poll
    retry_first: float = 1.0  # after a failure, doubling ...
    retry_max: float = 300.0  # ... up to this
    quiet_min: float = 1.0  # between polls that an introducer answers at once without news
    pause_first: float = 0.1  # after news, so that more comes in one answer; doubling ...
    pause_max: float = 1.0  # ... up to this while news keeps coming
    heartbeat: float = 50.0  # between questions to an introducer of which nothing else is wanted
    connected: float = 120.0  # for which an answer counts as a connection
    tick: float = 60.0  # between looks at the clock: what became stale, what is to be renewed
    save: float = 5.0  # between two writings of the cache
    recovery: float = 2.0  # for introducers to say which sequence number they hold
    ready: float = 5.0  # for which a program with an empty cache waits
    republish_min: float = 10.0  # between publications to an introducer that keeps forgetting
    refused: float = 60.0  # until what an introducer refused is offered again


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroducerClientSettings:
    """What a node does with announcements.

    Attributes:
        use_stale: what servers whose announcement has expired are used for: read, all or none.
        forget_after_s: seconds without renewal or contact after which an announcement is dropped.
        allow_private_addresses: use addresses of private networks and of this machine.
        announced_per_s: announcements of one introducer that are looked at per second, in the long run.
        announced_burst: and at once. A whole grid, with room.
    """

    use_stale: str = "read"
    forget_after_s: float = 90 * DAY_S
    allow_private_addresses: bool = False
    announced_per_s: float = 50.0
    announced_burst: float = 12_000.0
    periods: Periods = field(default_factory=Periods)

    def __post_init__(self) -> None:
        if self.use_stale not in USE_STALE:
            raise ConfigError(f"introducer_client: use_stale must be one of {', '.join(USE_STALE)}")
        if self.forget_after_s < DAY_S:
            raise ConfigError("introducer_client: forget_after must be at least 1d")
