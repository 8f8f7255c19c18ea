"""How often something may be done: token buckets, by key or by address, in tables of bounded size.

Source: docs/spec/control-and-introducer.md, section 3.9; docs/spec/vdrive.md, section 13.3.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Hashable

TABLE_MAX = 10_000  # buckets in one table


class TokenBuckets:
    """One bucket for each key: ``burst`` at once, then one every ``every_s`` seconds.

    A key not heard of for long is forgotten first when the table is full: its bucket is most likely
    full again, which is how a new one begins. For use from one thread.
    """

    def __init__(
        self, every_s: float, burst: float, clock: Callable[[], float], *, table_max: int = TABLE_MAX
    ) -> None:
        self._every_s = every_s
        self._burst = burst
        self._clock = clock
        self._table_max = table_max
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, and when

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, key: Hashable) -> float:
        """Return after how many seconds ``take`` would succeed: 0 for now."""
        return max(0.0, (1 - self._tokens(key, self._clock())) * self._every_s)

    def take(self, key: Hashable) -> float:
        """Take a token if there is one. Return 0, or else after how many seconds there will be one."""
        now = self._clock()
        tokens = self._tokens(key, now)
        taken = tokens >= 1
        self._buckets[key] = (tokens - taken, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._table_max:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) * self._every_s

    def _tokens(self, key: Hashable, now: float) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            return self._burst
        tokens, then = bucket
        # A clock set back must not empty a bucket.
        return min(self._burst, tokens + max(0.0, now - then) / self._every_s)


class Places:
    """So many at a time, in all and for each key."""

    def __init__(self, places_max: int, per_key_max: int) -> None:
        self._places_max = places_max
        self._per_key_max = per_key_max
        self._taken: dict[Hashable, int] = {}
        self.taken = 0

    def take(self, key: Hashable | None) -> Place | None:
        """Return a place, or None if all are taken. Key None: only the places in all count."""
        mine = self._taken.get(key, 0)
        if self.taken >= self._places_max or (key is not None and mine >= self._per_key_max):
            return None
        self.taken += 1
        self._taken[key] = mine + 1
        return Place(self, key)

    def leave(self, key: Hashable | None) -> None:
        """Free a place of ``key``."""
        self.taken -= 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


class Place:
    """One taken place. It is free again once left, or forgotten by whoever held it."""

    def __init__(self, places: Places, key: Hashable | None) -> None:
        self._places = places
        self._key = key
        self._held = True

    def leave(self) -> None:
        """Free the place. May be called again."""
        if self._held:
            self._held = False
            self._places.leave(self._key)

    def __del__(self) -> None:
        self.leave()


def address_key(address: str, *, limit_loopback: bool) -> str | None:
    """Return under which key the requests of ``address`` are counted; None: they are not.

    Of an IPv6 address the first 64 bits count: whoever has one has all that begin so.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address if limit_loopback else None  # a socket of this machine has no address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return None if parsed.is_loopback and not limit_loopback else str(parsed)
