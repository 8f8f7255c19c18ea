"""What introducers and their clients promise one another.

``Introducer`` has two forms: the engine inside the introducer's process, and the HTTPS
client of it. One suite tests both.

Source: docs/spec/control-and-introducer.md, section 3; docs/spec/seed-map.md, section B.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

ANNOUNCEMENT_MAX = 16 * 1024  # bytes of one, signed
LOCATIONS_MAX = 8  # of one announcement
ANNOUNCEMENTS_PER_PUBLISH = 8
ANNOUNCEMENTS_PER_PAGE = 500
WAIT_MAX_S = 55.0  # of one long poll

SignedBytes = tuple[bytes, bytes]
"""An announcement as it travels: its bytes, and their signature of 64 bytes."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of one published announcement.

    Attributes:
        status: stored, duplicate, stale, conflict, refused or unreachable.
        current: with ``stale``, what the introducer holds.
        reason: with ``refused`` and ``unreachable``, a sentence for people.
    """

    status: str
    current: SignedBytes | None = field(default=None, repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AnnouncementPage:
    """Announcements in the order in which the introducer got them.

    Attributes:
        epoch: 16 bytes, another when the numbering starts anew.
        cursor: where the next page begins.
        more: true if there is more already.
        announcements: each with its number.
    """

    epoch: bytes
    cursor: int
    more: bool
    announcements: Sequence[tuple[int, bytes, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class IntroducerVersion:
    """What an introducer says of itself. ``verify_key`` is its node's, 32 bytes."""

    protocol: int
    version: str
    oldest: str
    epoch: bytes
    verify_key: bytes
    features: Sequence[str] = ()


class Introducer(Protocol):
    """The meeting point of a grid (S-021). Raises ServerError when it cannot be asked."""

    async def version(self) -> IntroducerVersion: ...

    async def publish(self, announcements: Sequence[SignedBytes]) -> list[PublishResult]:
        """Hand in at most ANNOUNCEMENTS_PER_PUBLISH announcements; one result for each, in order."""
        ...

    async def announcements(
        self,
        services: Collection[str],
        since: int,
        epoch: bytes,
        *,
        wait_s: float,
        limit: int = ANNOUNCEMENTS_PER_PAGE,
    ) -> AnnouncementPage:
        """Return what was announced after ``since``; wait up to ``wait_s`` seconds if there is nothing.

        No services: all. Another ``epoch`` than the introducer's: everything, from 0.
        """
        ...

    async def own(self, verify_key: bytes) -> list[SignedBytes]:
        """Return what the introducer holds of one node, so that it can find its counter again."""
        ...


@dataclass(frozen=True, slots=True)
class KnownAnnouncement:
    """What a client believes about one service of one node.

    Attributes:
        freshness: fresh, stale (past its expiry) or withdrawn.
        contact: Unix time of the last authenticated contact with the node itself; 0: never.
        version: of the software, and the oldest it can talk to.
    """

    service: str
    server_id: str
    nickname: str
    nurls: tuple[str, ...] = field(repr=False)
    version: tuple[str, str]
    properties: Mapping[str, object] = field(repr=False)
    sequence: int
    issued: int
    expires: int
    freshness: str
    contact: int


@dataclass(frozen=True, slots=True)
class IntroducerState:
    """How one introducer is seen. ``last_contact`` in Unix seconds, 0: never."""

    petname: str
    connected: bool
    reason: str
    last_contact: float


Subscriber = Callable[[KnownAnnouncement], None]
"""Told of each new or changed announcement. What it raises is logged and stops nobody else."""


class IntroducerClient(Protocol):
    """A node's view of all its introducers (S-018). It never waits for one."""

    async def new_peers(self, nurls: frozenset[str]) -> None:
        """Called with the NURLs of storage servers that are new since the last call (S-019)."""
        ...

    def subscribe_to(self, service: str, callback: Subscriber) -> None:
        """Call ``callback`` for what is known of ``service``, now, and for each change from now on."""
        ...

    def connected_to_introducer(self) -> bool:
        """Return true if any introducer answered within the last two minutes."""
        ...

    def known(self, service: str) -> list[KnownAnnouncement]: ...

    def introducer_status(self) -> list[IntroducerState]: ...


NewPeers = Callable[[frozenset[str]], Awaitable[None]]
