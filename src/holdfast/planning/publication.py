"""Decides where the shares of a new version of a mutable file go, under which conditions they are written,
and what the answers mean. The caller encodes, sends, and reports.

Source: docs/spec/mutable.md, sections 12 and 13.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from holdfast.crypto.buffers import Buffer
from holdfast.errors import (
    BadFileError,
    NoServersError,
    NotEnoughServersError,
    UncoordinatedWriteError,
)
from holdfast.formats.mutable_layout import SEQUENCE_END, MutableHeader, MutableOffsets
from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors, TestVector, WriteVector
from holdfast.planning.server_map import Place, ServerMap

ATTEMPTS_MAX = 64  # of a change that collides with others: half a minute
FIRST_DELAY_S = 0.05
DELAY_GROWTH = 1.5
DELAY_MAX_S = 0.5


@dataclass(frozen=True, slots=True)
class Goal:
    """Which shares are to be where. Shares of a number that the new version has not are deleted."""

    writes: tuple[Place, ...]
    deletions: tuple[Place, ...] = ()

    def servers(self) -> list[str]:
        """Return the servers to send to; those that get the lowest share numbers first."""
        return list(dict.fromkeys(place.server for place in (*self.writes, *self.deletions)))

    def numbers(self, server: str) -> list[int]:
        """Return the shares to write to a server."""
        return [place.number for place in self.writes if place.server == server]

    def deleted(self, server: str) -> list[int]:
        """Return the shares to delete from a server."""
        return [place.number for place in self.deletions if place.server == server]


def plan_goal(
    server_map: ServerMap,
    servers: Sequence[str],
    shares_total: int,
    accepting: Collection[str] | None = None,
) -> Goal:
    """Return where shares ``0 .. shares_total - 1`` go: known and bad ones stay, the others are dealt out.

    Args:
        server_map: empty to create a file; else of a survey that was made to write.
        servers: all that are connected, in permuted order.
        accepting: those that take new shares; None for all.

    Raises:
        NoServersError: there is no server for a share that has none.
    """
    known = sorted({*server_map.shares, *server_map.bad}, key=lambda place: (place.number, place.server))
    writes = [place for place in known if place.number < shares_total]
    deletions = [place for place in known if place.number >= shares_total]
    placed = {place.number for place in writes}
    homeless = [number for number in range(shares_total) if number not in placed]
    if homeless:
        load = dict.fromkeys(servers, 0)
        for place in writes:
            load[place.server] = load.get(place.server, 0) + 1
        usable = [server for server in servers if accepting is None or server in accepting]
        if not usable:
            raise NoServersError("no server takes new shares")
        dealt = sorted(usable, key=lambda server: load[server])  # stable: of equals the first permuted
        writes += [Place(dealt[i % len(dealt)], number) for i, number in enumerate(homeless)]
    return Goal(tuple(sorted(writes, key=lambda place: place.number)), tuple(deletions))


def next_sequence(server_map: ServerMap, wanted: int | None = None) -> int:
    """Return the sequence number of the next version.

    Args:
        wanted: the number it has to have, if the caller insists on changing a certain version.

    Raises:
        UncoordinatedWriteError: that version is not the newest.
        BadFileError: no higher number can be stored.
    """
    sequence = server_map.highest_sequence + 1
    if wanted is not None:
        best = server_map.best
        if wanted != sequence or (0 if best is None else best.sequence) != sequence - 1:
            found = sequence - 1
            raise UncoordinatedWriteError(
                f"version {wanted} cannot be written: version {found} is the newest found",
                sequence_found=found,
            )
    if sequence >= SEQUENCE_END:
        raise BadFileError("the sequence numbers of this mutable file are used up")
    return sequence


def unchanged_test(server_map: ServerMap, place: Place) -> TestVector:
    """Return the test that a share is still what the map says it was: known, bad, or not there."""
    found = server_map.shares.get(place)
    expected = server_map.bad.get(place, b"") if found is None else found.header.checkstring
    # An empty specimen of no length would pass whatever is there.
    return TestVector(0, len(expected) or 1, expected)


def retry_delay_s(collision: int, chance: float) -> float | None:
    """Return how long to wait after a collision, in seconds; None: give up.

    Writing takes hundredths of a second, and of all who write at once one gets through: the others wait for
    little more than that, each for another time, and longer whenever that was not enough.

    Args:
        collision: 1 for the first.
        chance: a random number from 0 to 1.
    """
    if collision >= ATTEMPTS_MAX:
        return None
    return min(FIRST_DELAY_S * DELAY_GROWTH ** (collision - 1), DELAY_MAX_S) * (0.5 + chance)


@dataclass(frozen=True, slots=True)
class Surprise:
    """A share that is not what this client left there, and the first bytes that were found."""

    place: Place
    found: bytes

    @property
    def sequence(self) -> int | None:
        """The sequence number that the bytes state, if they can; nothing vouches for it."""
        return int.from_bytes(self.found[1:9], "big") if len(self.found) >= 9 else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a publication."""

    header: MutableHeader
    placed: frozenset[Place]
    failed: frozenset[Place]
    surprises: tuple[Surprise, ...]

    @property
    def numbers(self) -> set[int]:
        """The distinct shares that were stored."""
        return {place.number for place in self.placed}

    def check(self) -> None:
        """Return if the version was published. Not all shares need have been stored.

        Raises:
            UncoordinatedWriteError: someone else wrote meanwhile, though all may have been stored.
            NotEnoughServersError: fewer than k distinct shares were stored.
        """
        if self.surprises:
            sequences = [s.sequence for s in self.surprises if s.sequence is not None]
            places = ", ".join(f"{s.place.number} on {s.place.server}" for s in self.surprises[:3])
            raise UncoordinatedWriteError(
                f"someone else changed the file while version {self.header.sequence} was written"
                f" (seen at share {places})",
                sequence_found=max(sequences, default=None),
            )
        if len(self.numbers) < self.header.shares_needed:
            raise NotEnoughServersError(
                f"{len(self.numbers)} of at least {self.header.shares_needed} shares could be stored",
                placed=len(self.numbers),
                needed=self.header.shares_needed,
            )


class Publication:
    """One version on its way to the servers. Keeps the map up to date with each answer."""

    def __init__(
        self, server_map: ServerMap, goal: Goal, header: MutableHeader, offsets: MutableOffsets
    ) -> None:
        self.goal = goal
        self._map = server_map
        self._header = header
        self._offsets = offsets
        self._placed: set[Place] = set()
        self._failed: set[Place] = set()
        self._surprises: dict[Place, Surprise] = {}

    @property
    def read_vector(self) -> list[tuple[int, int]]:
        """What to read from all shares of the slot in each request."""
        return [(0, len(self._header.checkstring))]

    def vectors(
        self, server: str, writes_of: Callable[[int], Sequence[tuple[int, Buffer]]]
    ) -> dict[int, ShareVectors]:
        """Return the tests and writes of all shares on a server, as of one request.

        ``writes_of`` gives the writes of a share number, as made by ``SignedVersion``.
        """
        vectors = {}
        for number in self.goal.numbers(server):
            writes = [WriteVector(offset, data) for offset, data in writes_of(number)]
            vectors[number] = ShareVectors([self._test(server, number)], writes)
        for number in self.goal.deleted(server):
            vectors[number] = ShareVectors([self._test(server, number)], (), new_length=0)
        return vectors

    def record_answer(self, server: str, numbers: Collection[int], answer: ReadTestWriteResult) -> None:
        """Report the answer to a request that named these share numbers.

        What is found of other shares has to be of this version: written by this publication in another
        request, or by one that was sent twice. So has what fails a test.
        """
        found = {number: data[0] if data else b"" for number, data in answer.data.items()}
        mine = {*self.goal.numbers(server), *self.goal.deleted(server)}
        for number in sorted(found.keys() - mine):
            if found[number] != self._header.checkstring:
                self._surprise(Place(server, number), found[number])
        refused = []
        for number in numbers:
            if answer.success or found.get(number) == self._header.checkstring:
                self._stored(Place(server, number))
            else:
                refused.append(number)
        # One changed share keeps the others of its request from being written, though they are as expected.
        changed = [number for number in refused if not self._as_expected(server, number, found.get(number))]
        for number in refused:
            if number in changed or not changed:
                self._surprise(Place(server, number), found.get(number, b""))
            else:
                self._failed.add(Place(server, number))

    def record_failure(self, server: str, numbers: Collection[int]) -> None:
        """Report that a request failed, so that nobody knows whether it was carried out."""
        for number in numbers:
            place = Place(server, number)
            self._failed.add(place)
            self._map.forget(place)

    def outcome(self) -> Outcome:
        """Return the result, once every request was reported."""
        surprises = tuple(self._surprises[place] for place in sorted(self._surprises))
        return Outcome(self._header, frozenset(self._placed), frozenset(self._failed), surprises)

    def _test(self, server: str, number: int) -> TestVector:
        return unchanged_test(self._map, Place(server, number))

    def _as_expected(self, server: str, number: int, found: bytes | None) -> bool:
        expected = bytes(self._test(server, number).specimen)
        if not expected or not found:
            return not expected and not found
        size = min(len(expected), len(found))
        return expected[:size] == found[:size]

    def _stored(self, place: Place) -> None:
        if place in self.goal.deletions:
            self._map.forget(place)
        else:
            self._placed.add(place)
            self._map.record_written(place, self._header, self._offsets)

    def _surprise(self, place: Place, found: bytes) -> None:
        self._surprises[place] = Surprise(place, found)
