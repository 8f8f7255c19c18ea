"""What a client believes: of each service of each node the newest announcement, whoever handed it out.

Signatures are checked before anything comes here. Which of two announcements counts, and when one is stale
or forgotten, is decided in planning/announcement_merging.py; kept and counted it is here.

Source: docs/spec/control-and-introducer.md, sections 3.7 ("Merging") and 3.9 ("Clients protect themselves").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from holdfast.formats.cbor import TaggedSet
from holdfast.grid.announcement_cache import CachedAnnouncement
from holdfast.interfaces.introducer import KnownAnnouncement, SignedBytes
from holdfast.planning.announcement_merging import (
    ANNOUNCEMENTS_MAX,
    PER_INTRODUCER_MAX,
    Candidate,
    forgotten,
    freshness,
    kept,
    supersedes,
)
from holdfast.protocol.announcement import Announcement, SignedAnnouncement

log = structlog.get_logger(__name__)

WITHDRAWN = "withdrawn"
ITEM_COST = 64  # bytes of memory that an item takes, however few it has in an announcement
SEEN_STEP_S = 3600  # a contact or sighting this much newer is worth writing the cache
EQUIVOCATIONS_LOGGED = 20
_FROM_CACHE = ""  # in place of the name of an introducer


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLimits:
    """What strangers may make a client remember. Costs are estimates of bytes of memory."""

    announcements_max: int = ANNOUNCEMENTS_MAX
    per_introducer_max: int = PER_INTRODUCER_MAX
    cost_max: int = 64 << 20
    cost_per_introducer_max: int = 32 << 20


@dataclass(slots=True)
class _Held:
    signed: SignedAnnouncement
    cost: int
    source: str  # the introducer that named it first, and answers for the place it takes
    first_seen: int
    last_seen: int
    contact: int
    told: str = ""  # the freshness of which subscribers know; empty: none

    @property
    def announcement(self) -> Announcement:
        return self.signed.announcement

    @property
    def key(self) -> tuple[str, bytes]:
        return self.announcement.service, self.announcement.verify_key

    def freshness(self, now: float) -> str:
        return freshness(self.announcement, now, self.contact)


class AnnouncementBook:
    """Announcements by service and verify key. Times are Unix seconds, all of one clock.

    Attributes:
        changed: True since something was learned that the cache should know. Whoever saves resets it.
        equivocations: announcements with a known number and other contents, since the start.
        refused: announcements for which there was no place, since the start.
    """

    def __init__(self, forget_after_s: float, limits: BookLimits | None = None) -> None:
        self.changed = False
        self.equivocations = 0
        self.refused = 0
        self._limits = limits or BookLimits()
        self._forget_after_s = forget_after_s
        self._held: dict[tuple[str, bytes], _Held] = {}
        self._by_signature: dict[bytes, _Held] = {}
        self._count = Counter[str]()  # by introducer
        self._cost = Counter[str]()

    def __len__(self) -> int:
        return len(self._held)

    # -- hearing

    def restore(self, cached: Sequence[CachedAnnouncement], now: float) -> list[KnownAnnouncement]:
        """Take what was known when the client stopped; return what subscribers should hear of.

        Nothing is forgotten here: the clock may be wrong, and an introducer will tell.
        """
        held = [
            _Held(c.signed, _cost(c.signed), _FROM_CACHE, c.first_seen, c.last_seen, c.contact)
            for c in cached
        ]
        candidates = {Candidate(h.key, h.source, h.first_seen, h.contact): h for h in held}
        told = []
        for candidate in kept(candidates, announcements_max=self._limits.announcements_max):
            new = candidates[candidate]
            if new.key not in self._held and self._has_room(new, None):
                self._put(new)
                told += self._news(new, now)
        self.changed = False
        return told

    def sees_again(self, pair: SignedBytes, introducer: str, now: float) -> Announcement | None:
        """Note that ``introducer`` hands out what is known already, and return it. None: it is not known."""
        held = self._by_signature.get(pair[1])
        if held is None or held.signed.ann != pair[0]:
            return None
        self._saw(held, introducer, now)
        return held.announcement

    def hear(self, signed: SignedAnnouncement, introducer: str, now: float) -> list[KnownAnnouncement]:
        """Take a verified announcement; return what subscribers should hear of, if anything has changed."""
        new = _Held(signed, _cost(signed), introducer, int(now), int(now), 0)
        old = self._held.get(new.key)
        if old is not None:
            if not supersedes(new.announcement, old.announcement):
                self._compare(old, signed, introducer, now)
                return []
            new.source, new.first_seen, new.contact, new.told = (
                old.source,
                old.first_seen,
                old.contact,
                old.told,
            )
        told = self._make_room(new) if old is None else []
        if self._is_forgotten(new, now) or not self._has_room(new, old):
            self.refused += 1
            return told
        if old is not None:
            self._drop(old)
        self._put(new)
        self.changed = True
        return told + self._news(new, now)

    def met(self, server_ids: frozenset[str], now: float) -> None:
        """Note authenticated contacts with nodes: they keep alive what these announced."""
        for held in self._held.values():
            if held.announcement.server_id in server_ids:
                self.changed = self.changed or abs(now - held.contact) >= SEEN_STEP_S
                held.contact = int(now)

    # -- as time goes by

    def advance(self, now: float) -> list[KnownAnnouncement]:
        """Return what time has changed. What is forgotten is told as withdrawn, and is here no more."""
        told = []
        for held in list(self._held.values()):
            if self._is_forgotten(held, now):
                told += self._forget(held)
            else:
                told += self._news(held, now, changed=False)
        return told

    def shift(self, seconds: float) -> None:
        """Correct what was measured with a clock that has been set by ``seconds`` since."""
        for held in self._held.values():
            held.last_seen += int(seconds)
            held.contact += int(seconds) if held.contact else 0
        self.changed = True

    # -- what is known

    def known(self, service: str, now: float) -> list[KnownAnnouncement]:
        """Return what is believed of a service, without what is withdrawn."""
        held = [h for h in self._held.values() if h.key[0] == service and not h.announcement.withdrawn]
        return [_known(h, h.freshness(now)) for h in held]

    def entries(self) -> list[CachedAnnouncement]:
        """Return what the cache is to keep."""
        return [
            CachedAnnouncement(h.signed, h.first_seen, h.last_seen, h.contact) for h in self._held.values()
        ]

    # -- one announcement

    def _news(self, held: _Held, now: float, *, changed: bool = True) -> list[KnownAnnouncement]:
        """Return what to tell of an announcement that is new or changed, or of one that only grew older."""
        state = held.freshness(now)
        if not changed and state == held.told:
            return []
        was_there, held.told = held.told not in ("", WITHDRAWN), state
        return [_known(held, state)] if was_there or state != WITHDRAWN else []

    def _forget(self, held: _Held) -> list[KnownAnnouncement]:
        self._drop(held)
        self.changed = True
        return [] if held.told in ("", WITHDRAWN) else [_known(held, WITHDRAWN)]

    def _compare(self, old: _Held, signed: SignedAnnouncement, introducer: str, now: float) -> None:
        """Look at an announcement that does not replace the one held."""
        if signed.announcement.sequence < old.announcement.sequence:
            return
        if signed.ann == old.signed.ann:
            self._saw(old, introducer, now)
            return
        self.equivocations += 1
        if self.equivocations > EQUIVOCATIONS_LOGGED:
            return
        log.warning(
            "a node has signed two announcements with one number; the one heard first is kept",
            server=old.announcement.server_id,
            service=old.announcement.service,
            introducer=introducer,
        )

    def _saw(self, held: _Held, introducer: str, now: float) -> None:
        self.changed = self.changed or abs(now - held.last_seen) >= SEEN_STEP_S
        held.last_seen = int(now)
        if held.source == _FROM_CACHE and self._introducer_has_room(introducer, 1, held.cost):
            self._drop(held)
            held.source = introducer
            self._put(held)

    def _is_forgotten(self, held: _Held, now: float) -> bool:
        return forgotten(held.announcement, held.last_seen, held.contact, now, self._forget_after_s)

    # -- places

    def _make_room(self, new: _Held) -> list[KnownAnnouncement]:
        """If all places are taken, give one to ``new`` that nobody has a claim to: of a node that never
        answered us, and that no introducer has named since the client started.

        Else crowds that were made up in the past could keep newcomers out.
        """
        if len(self._held) < self._limits.announcements_max or not self._introducer_has_room(
            new.source, 1, new.cost
        ):
            return []
        unclaimed = (h for h in self._held.values() if h.source == _FROM_CACHE and not h.contact)
        oldest = min(unclaimed, key=lambda held: held.last_seen, default=None)
        return [] if oldest is None else self._forget(oldest)

    def _has_room(self, new: _Held, old: _Held | None) -> bool:
        """First come, first served."""
        count = 0 if old is not None else 1
        cost = new.cost - (0 if old is None else old.cost)
        return (
            len(self._held) + count <= self._limits.announcements_max
            and self._cost.total() + cost <= self._limits.cost_max
            and self._introducer_has_room(new.source, count, cost)
        )

    def _introducer_has_room(self, introducer: str, count: int, cost: int) -> bool:
        if introducer == _FROM_CACHE:
            return True
        return (
            self._count[introducer] + count <= self._limits.per_introducer_max
            and self._cost[introducer] + cost <= self._limits.cost_per_introducer_max
        )

    def _put(self, held: _Held) -> None:
        self._held[held.key] = held
        self._by_signature[held.signed.signature] = held
        self._count[held.source] += 1
        self._cost[held.source] += held.cost

    def _drop(self, held: _Held) -> None:
        del self._held[held.key]
        self._by_signature.pop(held.signed.signature, None)
        self._count[held.source] -= 1
        self._cost[held.source] -= held.cost


def _known(held: _Held, state: str) -> KnownAnnouncement:
    announcement = held.announcement
    return KnownAnnouncement(
        service=announcement.service,
        server_id=announcement.server_id,
        nickname=announcement.nickname,
        nurls=announcement.nurls,
        version=announcement.version,
        properties=announcement.properties,
        sequence=announcement.sequence,
        issued=announcement.issued,
        expires=announcement.expires,
        freshness=state,
        contact=held.contact,
    )


def _cost(signed: SignedAnnouncement) -> int:
    return 2 * len(signed.ann) + ITEM_COST * (16 + _items(signed.announcement.properties))


def _items(value: object) -> int:
    """Return how many items a value consists of. The nesting of announcements is limited."""
    if isinstance(value, TaggedSet):
        value = value.items
    if isinstance(value, dict):
        return 1 + sum(1 + _items(item) for item in value.values())
    return 1 + sum(map(_items, value)) if isinstance(value, list) else 1
