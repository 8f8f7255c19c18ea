"""Decides which servers to ask about a mutable file, and when enough have answered.

The caller asks the servers that ``next_queries`` returns, in any order, enters what they say into the server
map, reports each, and asks again until it is finished. Same reports, same order: same queries.

Source: docs/spec/mutable.md, sections 10.1 and 10.3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from holdfast.planning.server_map import ServerMap

QUERIES_MAX = 5  # in flight, once the first are out
_WAIT = 0
_DONE = -1


class SurveyMode(Enum):
    """What a survey is for."""

    CHECK = "check"  # check, verify, and every attempt to modify after the first
    REPAIR = "repair"
    WRITE = "write"  # before a change
    READ = "read"
    ANYTHING = "anything"  # any version that can be read will do

    @property
    def read_size(self) -> int:
        """Bytes of each share to read in the first request."""
        return 1000 if self is SurveyMode.CHECK else 4000

    @property
    def asks_all(self) -> bool:
        """True if every server has to answer or fail."""
        return self in {SurveyMode.CHECK, SurveyMode.REPAIR}

    @property
    def needs_private_key(self) -> bool:
        """True if the private key is looked for, provided that whoever surveys may have it."""
        return self in {SurveyMode.WRITE, SurveyMode.REPAIR}


class Survey:
    """One survey. No server is asked twice, and it ends for whatever answers."""

    def __init__(
        self,
        mode: SurveyMode,
        servers: Sequence[str],
        server_map: ServerMap,
        shares_needed: int,
        shares_total: int,
        *,
        private_key_wanted: bool = False,
        sequence_remembered: int = 0,
    ) -> None:
        """
        Args:
            servers: all that are connected, in permuted order.
            server_map: what is known already; the caller enters each answer before reporting it.
            shares_needed, shares_total: of the last version known, or the client's defaults.
            private_key_wanted: the caller holds a write capability, and has not got the private key yet.
            sequence_remembered: of a version known to exist; READ goes on while only older ones can be read.
        """
        self.mode = mode
        self._servers = list(dict.fromkeys(servers))
        self._map = server_map
        self._tolerance = shares_needed
        self._key_missing = private_key_wanted and mode.needs_private_key
        self._remembered = sequence_remembered
        known = server_map.servers()
        first = shares_total if mode is SurveyMode.WRITE else shares_needed
        self._first_count = len(self._servers) if mode.asks_all else first + self._tolerance
        first_asked = [server for server in self._servers if server in known]
        self._must_answer = set(self._servers if mode.asks_all else first_asked)
        rest = [server for server in self._servers if server not in known]
        self._unasked = first_asked + rest
        self._started = False
        self._finished = not self._servers
        self._in_flight: set[str] = set()
        self._completed: set[str] = set()
        self._failed: set[str] = set()

    @property
    def finished(self) -> bool:
        """True once enough is known. Queries still under way may be abandoned."""
        return self._finished

    @property
    def private_key_wanted(self) -> bool:
        """True while the private key is to be fetched from the next good share."""
        return self._key_missing

    @property
    def in_flight(self) -> frozenset[str]:
        """Servers asked that have neither answered nor failed."""
        return frozenset(self._in_flight)

    @property
    def asked(self) -> int:
        """How many servers have been asked."""
        return len(self._in_flight) + len(self._completed)

    def next_queries(self) -> list[str]:
        """Return the servers to ask now."""
        if self._finished:
            return []
        if self._started:
            count = max(self._allowed() - len(self._in_flight), 0)
        else:
            self._started = True
            count = max(self._first_count, len(self._must_answer))
        chosen, self._unasked = self._unasked[:count], self._unasked[count:]
        self._in_flight.update(chosen)
        return chosen

    def record_answer(self, server: str) -> None:
        """Report that a server answered, after its shares were entered into the map."""
        self._complete(server)

    def record_failure(self, server: str) -> None:
        """Report that a server could not be asked."""
        self._failed.add(server)
        self._complete(server)

    def private_key_found(self) -> None:
        """Report that the private key is known now; do so before the answer that held it."""
        self._key_missing = False

    def _complete(self, server: str) -> None:
        self._in_flight.remove(server)
        self._completed.add(server)
        if self._allowed() == _DONE:
            self._finished = True

    def _allowed(self) -> int:
        """Return how many queries may be in flight now, ``_WAIT`` for no new ones, or ``_DONE``."""
        if not self._must_answer <= self._completed:
            return _WAIT
        if not self._in_flight and not self._unasked:
            return _DONE
        if self.mode.asks_all:
            return _DONE
        if self.mode is SurveyMode.READ:
            return self._allowed_to_read()
        if self.mode is SurveyMode.WRITE:
            return self._allowed_to_write()
        return _DONE if self._map.best is not None else QUERIES_MAX

    def _allowed_to_read(self) -> int:
        missing = self._first_count - len(self._completed)
        if missing > 0:
            return missing  # the first ones are enough, if they have it
        best = self._map.best
        if best is None or self._map.unrecoverable_newer():
            return QUERIES_MAX
        return _DONE if best.sequence >= self._remembered else QUERIES_MAX

    def _allowed_to_write(self) -> int:
        if self._map.best is None:
            return QUERIES_MAX
        found, unanswered = self._boundary(hoped=frozenset())
        if found and unanswered:
            return unanswered
        if found:
            return QUERIES_MAX if self._key_missing else _DONE
        # Servers in flight that turn out to have nothing may be enough; they have to answer in any case.
        return _WAIT if self._boundary(hoped=self._in_flight)[0] else QUERIES_MAX

    def _boundary(self, hoped: Collection[str]) -> tuple[bool, int]:
        """Look for so many servers in a row without shares that there are hardly any beyond.

        Args:
            hoped: servers taken to have answered that they hold nothing.

        Returns:
            Whether there are such, and how many servers before have not answered.
        """
        holding, lying = self._map.servers_with_shares(), self._map.servers_with_bad_shares()
        seen, without, unanswered = False, 0, 0
        for server in self._servers:
            if server in self._failed or server in lying:
                continue
            if server not in self._completed and server not in hoped:
                unanswered += 1
            elif server in holding:
                seen, without = True, 0
            elif seen:
                without += 1
                if without == self._tolerance:
                    return True, unanswered
        return False, unanswered
