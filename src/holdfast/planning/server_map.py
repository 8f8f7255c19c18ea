"""The record of a survey of the servers: which versions of a mutable file there are, and where.

It is what a download chooses from, and the memory of what was there before, which makes a later write
conditional. Versions are told apart by what is signed; offsets, which are not, belong to each share.

Source: docs/spec/mutable.md, section 9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Share ``number`` on ``server``."""

    server: str
    number: int


@dataclass(frozen=True, slots=True)
class FoundShare:
    """A share whose header was signed, and whose offsets are possible."""

    header: MutableHeader
    offsets: MutableOffsets


class ServerMap:
    """What is known of the shares of one file.

    Add a share only once its public key and signature were right.
    """

    def __init__(self) -> None:
        self._shares: dict[Place, FoundShare] = {}
        self._bad: dict[Place, bytes] = {}
        self._answered: set[str] = set()
        self._failed: set[str] = set()
        self._highest = 0

    def copy(self) -> ServerMap:
        """Return a map that changes on its own."""
        other = ServerMap()
        other._shares, other._bad = dict(self._shares), dict(self._bad)
        other._answered, other._failed = set(self._answered), set(self._failed)
        other._highest = self._highest
        return other

    # -- reports

    def record_answer(self, server: str, held: Collection[int]) -> None:
        """Note that a server answered, and which share numbers it has; what it had before is forgotten."""
        self._answered.add(server)
        self._failed.discard(server)
        for place in [p for p in (*self._shares, *self._bad) if p.server == server and p.number not in held]:
            self.forget(place)

    def record_failure(self, server: str) -> None:
        """Note that a server could not be asked. What is known of it stays."""
        self._failed.add(server)
        self._answered.discard(server)

    def add(self, place: Place, header: MutableHeader, offsets: MutableOffsets) -> bool:
        """Note a share, unless it was marked bad before. Returns whether it was taken."""
        # A share that proved bad later was signed all the same: its number must not be used again.
        self._highest = max(self._highest, header.sequence)
        if place in self._bad:
            return False
        self._shares[place] = FoundShare(header, offsets)
        return True

    def mark_bad(self, place: Place, leading: bytes) -> None:
        """Note that a share is of no use.

        Args:
            leading: its first bytes as they were found, so that it can be overwritten conditionally.
        """
        self._shares.pop(place, None)
        self._bad[place] = leading

    def record_written(self, place: Place, header: MutableHeader, offsets: MutableOffsets) -> None:
        """Note that a share is there now; whatever was bad about it is gone."""
        self._bad.pop(place, None)
        self.add(place, header, offsets)

    def forget(self, place: Place) -> None:
        """Note that nothing is known of a share, or that it was deleted."""
        self._shares.pop(place, None)
        self._bad.pop(place, None)

    # -- what was found

    @property
    def shares(self) -> Mapping[Place, FoundShare]:
        return MappingProxyType(self._shares)

    @property
    def bad(self) -> Mapping[Place, bytes]:
        """Shares marked bad, with their first bytes."""
        return MappingProxyType(self._bad)

    @property
    def answered(self) -> frozenset[str]:
        return frozenset(self._answered)

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(self._failed)

    def servers(self) -> set[str]:
        """Return the servers that have shares, good or bad."""
        return {place.server for place in (*self._shares, *self._bad)}

    def servers_with_shares(self) -> set[str]:
        """Return the servers that have good shares."""
        return {place.server for place in self._shares}

    def servers_with_bad_shares(self) -> set[str]:
        """Return the servers that have bad shares."""
        return {place.server for place in self._bad}

    def holders(self, version: MutableHeader) -> dict[int, list[str]]:
        """Return the servers that hold each share of a version, by share number, ascending."""
        holders: dict[int, list[str]] = {}
        for place in sorted(place for place, found in self._shares.items() if found.header == version):
            holders.setdefault(place.number, []).append(place.server)
        return dict(sorted(holders.items()))

    # -- versions

    def versions(self) -> list[MutableHeader]:
        """Return all versions, the best first."""
        return _ranked({found.header for found in self._shares.values()})

    def recoverable(self) -> list[MutableHeader]:
        """Return the versions of which enough distinct shares were found, the best first."""
        numbers: dict[MutableHeader, set[int]] = {}
        for place, found in self._shares.items():
            numbers.setdefault(found.header, set()).add(place.number)
        return _ranked({header for header, held in numbers.items() if len(held) >= header.shares_needed})

    def unrecoverable(self) -> list[MutableHeader]:
        """Return the other versions, the best first."""
        return _ranked(set(self.versions()).difference(self.recoverable()))

    @property
    def best(self) -> MutableHeader | None:
        """The version to read, if any can be read."""
        recoverable = self.recoverable()
        return recoverable[0] if recoverable else None

    def unrecoverable_newer(self) -> list[MutableHeader]:
        """Return the versions that cannot be read but are newer than all that can: a write buries them."""
        best = self.best
        return [header for header in self.unrecoverable() if best is None or header.sequence > best.sequence]

    @property
    def needs_merge(self) -> bool:
        """True if two versions of one sequence number can be read: two writers did not see each other."""
        sequences = [header.sequence for header in self.recoverable()]
        return len(sequences) != len(set(sequences))

    @property
    def highest_sequence(self) -> int:
        """The highest sequence number ever signed, as far as it was seen; 0 if none."""
        return self._highest


def _ranked(headers: set[MutableHeader]) -> list[MutableHeader]:
    return sorted(headers, key=lambda header: header.rank, reverse=True)
