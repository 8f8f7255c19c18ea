"""Decides which shares to read for each batch of a download: distinct numbers from
distinct servers, primary ones first, those that have proven good before others;
replaces what is bad, slow or gone. The caller carries out what it says, and reports.

Same reports, same order: same fetches.

Source: docs/spec/immutable.md, sections 11 and 13.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from holdfast.planning.matching import Matching


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read share ``number`` from ``server``."""

    server: str
    number: int


@dataclass(slots=True)
class _Batch:
    running: set[Fetch] = field(default_factory=set)
    slow: set[Fetch] = field(default_factory=set)
    good: list[Fetch] = field(default_factory=list)
    bad: set[Fetch] = field(default_factory=set)


class FetchPlan:
    """One download. Batches may be under way at once; each is known by a key of the caller's.

    For each batch: ``begin``; carry out what ``next_fetches`` returns, report each of them, ask again,
    until ``enough`` or ``hopeless``; ``end``.
    """

    def __init__(self, shares_needed: int) -> None:
        self._needed = shares_needed
        self._preference: dict[Fetch, int] = {}  # of all that can still be asked for
        self._given_up: set[Fetch] = set()
        self._lost: set[str] = set()
        self._proven: set[Fetch] = set()
        self._lapses: dict[Fetch, int] = {}  # batches in which it was bad
        self._delays: dict[str, int] = {}  # times that a server was slow
        self._batches: dict[Hashable, _Batch] = {}

    def add_candidate(self, server: str, number: int, preference: int = 0) -> None:
        """Note that ``server`` holds a share; of equals the one of lower preference is asked first.

        What has been given up stays so.
        """
        fetch = Fetch(server, number)
        if fetch not in self._given_up and server not in self._lost:
            self._preference.setdefault(fetch, preference)

    def begin(self, batch: Hashable) -> None:
        """Start a batch."""
        self._batches[batch] = _Batch()

    def end(self, batch: Hashable) -> None:
        """Forget a batch."""
        self._batches.pop(batch, None)

    def next_fetches(self, batch: Hashable) -> list[Fetch]:
        """Return what to fetch now, so that enough numbers are good or promptly on their way."""
        state = self._batches[batch]
        prompt = _numbers(state.good) | _numbers(state.running - state.slow)
        if len(prompt) >= self._needed:
            return []
        candidates = [f for f in self._candidates(state) if f.number not in prompt]
        fetches = self._choose(candidates, self._needed - len(prompt), state)
        state.running.update(fetches)
        return fetches

    # -- reports

    def record_good(self, batch: Hashable, fetch: Fetch) -> None:
        """Report a block (or whatever the batch is for) that arrived and was proven."""
        state = self._batches[batch]
        state.running.discard(fetch)
        if fetch not in state.good:
            state.good.append(fetch)
            self._proven.add(fetch)

    def record_bad(self, batch: Hashable, fetch: Fetch, *, whole_share: bool) -> None:
        """Report a fetch that failed: only for this batch, or so that the share is of no use at all."""
        state = self._batches[batch]
        state.running.discard(fetch)
        state.bad.add(fetch)
        if fetch in state.good:
            state.good.remove(fetch)
        self._proven.discard(fetch)
        self._lapses[fetch] = self._lapses.get(fetch, 0) + 1
        if whole_share:
            self._give_up({fetch})

    def record_slow(self, batch: Hashable, fetch: Fetch) -> None:
        """Report a fetch that takes too long. It goes on; ``next_fetches`` gives a replacement."""
        state = self._batches[batch]
        if fetch in state.running and fetch not in state.slow:
            state.slow.add(fetch)
            self._delays[fetch.server] = self._delays.get(fetch.server, 0) + 1

    def server_lost(self, server: str) -> None:
        """Report that a server is gone: none of its shares is asked for, or waited for, any more."""
        self._lost.add(server)
        self._give_up({f for f in self._preference if f.server == server})

    # -- questions

    def enough(self, batch: Hashable) -> bool:
        """True once enough distinct numbers are good."""
        return len(self.good(batch)) >= self._needed

    def hopeless(self, batch: Hashable) -> bool:
        """True if there cannot be enough, whatever the answers, unless candidates are added."""
        state = self._batches[batch]
        possible = _numbers(state.good) | _numbers(state.running) | _numbers(self._candidates(state))
        return len(possible) < self._needed

    def good(self, batch: Hashable) -> list[Fetch]:
        """Return what was proven for a batch, in the order of the reports; each number once."""
        first = {fetch.number: fetch for fetch in reversed(self._batches[batch].good)}
        return [fetch for fetch in self._batches[batch].good if first[fetch.number] == fetch]

    def found(self) -> set[int]:
        """Return the numbers of which a copy is known that has not been given up."""
        return _numbers(self._preference)

    # -- the choice

    def _give_up(self, fetches: set[Fetch]) -> None:
        """Ask for these no more, and wait for them in no batch."""
        self._given_up |= fetches
        for fetch in fetches:
            self._preference.pop(fetch, None)
        for state in self._batches.values():
            state.running -= fetches

    def _candidates(self, state: _Batch) -> list[Fetch]:
        return [f for f in self._preference if f not in state.running and f not in state.bad]

    def _choose(self, candidates: list[Fetch], count: int, state: _Batch) -> list[Fetch]:
        """Return ``count`` fetches of distinct numbers, or as many as there can be."""
        choice = _Choice(count, [f.server for f in (*state.good, *state.running)])
        order = self._order_of_numbers(candidates, slow=_numbers(state.running))
        tiers: dict[int, list[Fetch]] = {}
        for fetch in sorted(candidates, key=self._rank):
            tiers.setdefault(self._penalty(fetch), []).append(fetch)
        # A second share from a good server comes before a share from one that lags or lied.
        for penalty in sorted(tiers):
            choice.take_from_servers_of_their_own(tiers[penalty], order)
            choice.take_from_least_used_servers(tiers[penalty], order)
        return choice.fetches()

    def _penalty(self, fetch: Fetch) -> int:
        # One bad block can happen to any disk; a share with several comes later.
        return self._delays.get(fetch.server, 0) + max(self._lapses.get(fetch, 0) - 1, 0)

    def _rank(self, fetch: Fetch) -> tuple[bool, int, str]:
        """Order the copies of one number: proven, preferred."""
        return (fetch not in self._proven, self._preference[fetch], fetch.server)

    def _order_of_numbers(self, candidates: Iterable[Fetch], slow: set[int]) -> list[int]:
        """Order numbers: not on their way already, primary (nothing to decode), proven, preferred."""
        best: dict[int, tuple[bool, int, str]] = {}
        for fetch in candidates:
            rank = self._rank(fetch)
            best[fetch.number] = min(rank, best.get(fetch.number, rank))
        return sorted(best, key=lambda n: (n in slow, n >= self._needed, best[n][:2], n))


class _Choice:
    """Collects ``count`` fetches of distinct numbers, spread over servers."""

    def __init__(self, count: int, busy: Iterable[str]) -> None:
        """``busy`` names a server once for each share it already serves."""
        self._count = count
        self._load: dict[str, int] = {}
        for server in busy:
            self._load[server] = self._load.get(server, 0) + 1
        self._free: dict[int, list[str]] = {}
        self._matching = Matching(self._free)
        self._seconds: dict[int, str] = {}

    def fetches(self) -> list[Fetch]:
        return [Fetch(server, n) for n, server in (self._matching.matched | self._seconds).items()]

    def take_from_servers_of_their_own(self, copies: Iterable[Fetch], order: Iterable[int]) -> None:
        """Give numbers to servers that serve nothing else, moving earlier ones to make room."""
        for fetch in copies:
            if fetch.server not in self._load:
                self._free.setdefault(fetch.number, []).append(fetch.server)
        for number in order:
            if self._wants(number):
                self._matching.add(number)

    def take_from_least_used_servers(self, copies: Iterable[Fetch], order: Iterable[int]) -> None:
        """Give the numbers that are left to servers that already have one."""
        servers: dict[int, list[str]] = {}
        for fetch in copies:
            servers.setdefault(fetch.number, []).append(fetch.server)
        load = dict(self._load)
        for server in (*self._matching.matched.values(), *self._seconds.values()):
            load[server] = load.get(server, 0) + 1
        for number in order:
            if number in servers and self._wants(number):
                server = min(servers[number], key=lambda s: load.get(s, 0))
                self._seconds[number] = server
                load[server] = load.get(server, 0) + 1

    def _wants(self, number: int) -> bool:
        taken = self._matching.matched.keys() | self._seconds.keys()
        return len(taken) < self._count and number not in taken


def _numbers(fetches: Iterable[Fetch]) -> set[int]:
    return {fetch.number for fetch in fetches}
