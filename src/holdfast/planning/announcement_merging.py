"""What a client believes when several introducers, a cache and its own connections tell it
of the same services: which announcement counts, for how long, and which are kept when
there are too many.

Source: docs/spec/control-and-introducer.md, sections 3.4, 3.7 and 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

ANNOUNCEMENTS_MAX = 10_000  # that a client keeps
PER_INTRODUCER_MAX = 5_000  # of these, learned from one introducer

Freshness = Literal["fresh", "stale", "withdrawn"]


class Announced(Protocol):
    """What counts here of an announcement. Times in Unix seconds."""

    @property
    def sequence(self) -> int: ...

    @property
    def issued(self) -> int: ...

    @property
    def expires(self) -> int: ...

    @property
    def withdrawn(self) -> bool: ...


def supersedes(new: Announced, old: Announced) -> bool:
    """Tell whether ``new`` replaces ``old``, which has the same service and key.

    Of two with one number the earlier received stays, whatever they say.
    """
    return new.sequence > old.sequence


def freshness(announcement: Announced, now: float, contact: float) -> Freshness:
    """Return how far the announcement can be relied upon.

    ``contact`` is the Unix time of the last connection that the TLS key authenticated, 0: never. Since that
    key is the identity, a contact keeps an announcement alive for as long as the announcer meant it to live:
    a grid whose introducers are all dead goes on.
    """
    if announcement.withdrawn:
        return "withdrawn"
    life_s = announcement.expires - announcement.issued
    return "fresh" if now < max(announcement.expires, contact + life_s) else "stale"


def forgotten(
    announcement: Announced, last_heard: float, contact: float, now: float, forget_after_s: float
) -> bool:
    """Tell whether to forget the announcement, last heard of from anybody at ``last_heard``.

    An introducer can repeat an old announcement for ever, so hearing of it is no sign of life once it is
    expired. A withdrawal is remembered for as long as what it withdrew could be replayed.
    """
    if announcement.withdrawn:
        last_sign = max(last_heard, announcement.expires)
    else:
        last_sign = max(min(last_heard, announcement.expires), contact)
    return now - last_sign > forget_after_s


@dataclass(frozen=True, slots=True)
class Candidate:
    """An announcement that competes with others for a place in memory.

    Attributes:
        key: service and verify key.
        introducer: who told of it first; empty for what came from elsewhere.
        first_heard: Unix time.
        contact: Unix time of the last authenticated contact, 0: never.
    """

    key: tuple[str, bytes]
    introducer: str
    first_heard: float
    contact: float


def kept(
    candidates: Iterable[Candidate],
    *,
    announcements_max: int = ANNOUNCEMENTS_MAX,
    per_introducer_max: int = PER_INTRODUCER_MAX,
) -> list[Candidate]:
    """Return those to keep, best first: the servers that were reached, the latest first; then first come.

    So an introducer that makes up thousands of servers displaces none that ever answered.
    """
    result: list[Candidate] = []
    places: dict[str, int] = {}
    # The sort is stable: at equal times what was given first comes first.
    for candidate in sorted(candidates, key=lambda candidate: (-candidate.contact, candidate.first_heard)):
        if len(result) == announcements_max:
            break
        taken = places.get(candidate.introducer, 0)
        if taken < per_introducer_max or not candidate.introducer:
            places[candidate.introducer] = taken + 1
            result.append(candidate)
    return result
