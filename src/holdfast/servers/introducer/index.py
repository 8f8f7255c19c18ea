"""The announcements in memory, in the order of their numbers: what every reader is served from.

Bounded by the settings: at most ``announcements_max`` of at most 16 KiB each, 160 MiB with 10,000.

Source: docs/spec/control-and-introducer.md, sections 3.5 and 3.6.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

Name = tuple[str, bytes]
"""What names an announcement: its service, and the verify key of its announcer."""


@dataclass(frozen=True, slots=True)
class Held:
    """One stored announcement. ``cursor`` is its number in the order of arrival."""

    service: str
    verify_key: bytes
    ann: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    cursor: int
    expires: int  # Unix seconds

    @property
    def name(self) -> Name:
        return self.service, self.verify_key


class _Cursors:
    """Ascending numbers. Those that are gone stay in the list until they are the greater part of it."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self.live = 0

    def add(self, number: int) -> None:
        self._numbers.append(number)
        self.live += 1

    def drop_one(self, index: dict[int, Held]) -> None:
        """Note that one of the numbers is no longer in ``index``."""
        self.live -= 1
        if len(self._numbers) > 2 * self.live + 16:
            self._numbers = [number for number in self._numbers if number in index]

    def after(self, since: int) -> Iterator[int]:
        numbers = self._numbers
        return (numbers[i] for i in range(bisect_right(numbers, since), len(numbers)))


class AnnouncementIndex:
    """Announcements by name, and by number."""

    def __init__(self, held: Iterable[Held], counter: int) -> None:
        self._by_name: dict[Name, Held] = {}
        self._by_cursor: dict[int, Held] = {}
        self._by_bytes: dict[bytes, Held] = {}
        self._of_key: dict[bytes, set[str]] = {}
        self._all = _Cursors()
        self._of_service: dict[str, _Cursors] = {}
        self.counter = counter
        for one in sorted(held, key=lambda one: one.cursor):
            self.put(one)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def keys(self) -> int:
        """How many verify keys there are announcements of."""
        return len(self._of_key)

    def put(self, held: Held) -> None:
        """Add an announcement, whose number is above all others, in place of an older one of its name."""
        self.remove(held.name)
        self.counter = max(self.counter, held.cursor)
        self._by_name[held.name] = held
        self._by_cursor[held.cursor] = held
        self._by_bytes[held.ann] = held
        self._of_key.setdefault(held.verify_key, set()).add(held.service)
        self._all.add(held.cursor)
        self._of_service.setdefault(held.service, _Cursors()).add(held.cursor)

    def remove(self, name: Name) -> None:
        """Forget an announcement, if it is there."""
        held = self._by_name.pop(name, None)
        if held is None:
            return
        del self._by_cursor[held.cursor]
        del self._by_bytes[held.ann]
        self._all.drop_one(self._by_cursor)
        numbers = self._of_service[held.service]
        numbers.drop_one(self._by_cursor)
        if not numbers.live:
            del self._of_service[held.service]
        services = self._of_key[held.verify_key]
        services.discard(held.service)
        if not services:
            del self._of_key[held.verify_key]

    def holds(self, ann: bytes, signature: bytes, now: float) -> bool:
        """Return true if these very bytes are held, and have not expired."""
        held = self._by_bytes.get(ann)
        return held is not None and held.signature == signature and held.expires > now

    def of_key(self, verify_key: bytes) -> list[Held]:
        """Return the announcements of one node, by service."""
        return [self._by_name[service, verify_key] for service in sorted(self._of_key.get(verify_key, ()))]

    def after(self, services: Collection[str], since: int, limit: int) -> list[Held]:
        """Return the first ``limit`` announcements with numbers above ``since``; no services: of all."""
        found = self._by_cursor
        if not services:
            return list(islice((found[n] for n in self._all.after(since) if n in found), limit))
        parts = [
            islice((n for n in self._of_service[service].after(since) if n in found), limit)
            for service in set(services)
            if service in self._of_service
        ]
        return [found[number] for number in sorted(chain.from_iterable(parts))[:limit]]
