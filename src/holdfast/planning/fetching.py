"""Decides which shares to read for each batch of a download: distinct numbers,
primary ones first, from servers that have proven good; replaces what is bad, slow
or gone. The caller carries out what it says, and reports.

Same reports, same order: same fetches.

Source: docs/spec/immutable.md, sections 11 and 13.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


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
    """One download. Batches may be under way at once; each is known by a key of the caller's."""

    def __init__(self, shares_needed: int) -> None:
        self._needed = shares_needed
        self._preference: dict[Fetch, int] = {}
        self._proven: dict[Fetch, int] = {}  # batches in which it was good
        self._slow_servers: dict[str, int] = {}
        self._batches: dict[Hashable, _Batch] = {}
        self._given_up: set[Fetch] = set()
        self._lost: set[str] = set()

    def add_candidate(self, server: str, number: int, preference: int = 0) -> None:
        """Note that ``server`` holds a share; of equals the one of lower preference is asked first.

        What was given up before stays so, even if the server offers it again.
        """
        fetch = Fetch(server, number)
        if fetch not in self._given_up and server not in self._lost:
            self._preference.setdefault(fetch, preference)

    def begin(self, batch: Hashable) -> None:
        """Start a batch."""
        self._batches[batch] = _Batch()

    def next_fetches(self, batch: Hashable) -> list[Fetch]:
        """Return what to fetch now, so that enough is under way."""
        state = self._batches[batch]
        # What another batch has given up meanwhile is not waited for here either.
        hopeful = {f for f in state.running if f in self._preference}
        good = {f.number for f in state.good}
        taken = good | {f.number for f in hopeful}
        prompt = good | {f.number for f in hopeful - state.slow}
        busy = {f.server for f in state.good} | {f.server for f in state.running}
        candidates = [f for f in self._preference if f not in state.running and f not in state.bad]
        fetches: list[Fetch] = []
        while len(prompt) < self._needed:
            # Another copy of a slow share helps too, but one of another number is never wasted.
            best = min(
                (f for f in candidates if f.number not in prompt and f not in fetches),
                key=lambda f: (f.number in taken, self._rank(f, busy)),
                default=None,
            )
            if best is None:
                break
            fetches.append(best)
            prompt.add(best.number)
            taken.add(best.number)
            busy.add(best.server)
        state.running.update(fetches)
        return fetches

    def record_good(self, batch: Hashable, fetch: Fetch) -> None:
        """Report a block (or whatever the batch is for) that arrived and was proven."""
        state = self._batches[batch]
        state.running.discard(fetch)
        if fetch not in state.good:
            state.good.append(fetch)
            self._proven[fetch] = self._proven.get(fetch, 0) + 1

    def record_bad(self, batch: Hashable, fetch: Fetch, *, whole_share: bool) -> None:
        """Report a fetch that failed: only for this batch, or so that the share is of no use at all."""
        state = self._batches[batch]
        state.running.discard(fetch)
        state.bad.add(fetch)
        if fetch in state.good:
            state.good.remove(fetch)
        self._proven.pop(fetch, None)
        if whole_share:
            self._preference.pop(fetch, None)
            self._given_up.add(fetch)

    def record_slow(self, batch: Hashable, fetch: Fetch) -> None:
        """Report a fetch that takes too long. It goes on; ``next_fetches`` gives a replacement."""
        state = self._batches[batch]
        if fetch in state.running and fetch not in state.slow:
            state.slow.add(fetch)
            self._slow_servers[fetch.server] = self._slow_servers.get(fetch.server, 0) + 1

    def server_lost(self, server: str) -> None:
        """Report that a server is gone: none of its shares is asked for any more."""
        self._lost.add(server)
        for fetch in [f for f in self._preference if f.server == server]:
            del self._preference[fetch]
            self._proven.pop(fetch, None)

    def enough(self, batch: Hashable) -> bool:
        """True once enough distinct numbers are good."""
        return len({f.number for f in self._batches[batch].good}) >= self._needed

    def end(self, batch: Hashable) -> None:
        """Forget a batch."""
        self._batches.pop(batch, None)

    def found(self) -> set[int]:
        """Return the numbers of which a copy is known that has not been given up."""
        return {f.number for f in self._preference}

    def _rank(self, fetch: Fetch, busy: set[str]) -> tuple[int, int, int, int, int, str]:
        """Order candidates: not slow, on a server of its own, primary, proven, preferred."""
        primary = fetch.number < self._needed
        return (
            self._slow_servers.get(fetch.server, 0),
            fetch.server in busy,
            not primary,
            0 if self._proven.get(fetch) else 1,
            self._preference.get(fetch, 0),
            fetch.server,
        )
