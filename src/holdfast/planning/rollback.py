"""Notices when servers show an old version of a mutable file that was newer before.

A server can forge no version, since each is signed, but it can show an old one. Fewer than k servers that
lie, with a share each, are outvoted: they cannot make an old version readable. Where they are more, or hold
several shares each, memory helps: the newest version that was ever read or written here.

Source: docs/spec/mutable.md, sections 4 and 9.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from holdfast.formats.mutable_layout import MutableHeader
from holdfast.planning.server_map import ServerMap


@dataclass(frozen=True, slots=True, order=True)
class RememberedVersion:
    """What is kept of the newest version of a file that was read or written."""

    sequence: int
    root_hash: bytes  # 32 bytes

    @classmethod
    def of(cls, version: MutableHeader) -> RememberedVersion:
        return cls(version.sequence, version.root_hash)


class Verdict(Enum):
    """How the best version found compares with memory."""

    FINE = "fine"
    ROLLED_BACK = "rolled back"  # it is older
    CONFLICT = "conflict"  # another one of the same number: two writers, or one that lost against another
    NOTHING = "nothing"  # no version can be read


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and how well it is founded."""

    verdict: Verdict
    servers: int  # that show the best version
    servers_needed: int  # so many have to agree that fewer than k liars cannot have made it up
    outvoted: int  # servers that show an older version only

    @property
    def settled(self) -> bool:
        """True if no k - 1 servers alone could show the best version."""
        return self.servers >= self.servers_needed


def judge(remembered: RememberedVersion | None, server_map: ServerMap) -> Judgement:
    """Compare what a survey found with what is remembered of the file, if anything."""
    best = server_map.best
    if best is None:
        return Judgement(Verdict.NOTHING, 0, 1, 0)
    showing: dict[str, int] = {}
    for place, found in server_map.shares.items():
        showing[place.server] = max(found.header.sequence, showing.get(place.server, 0))
    agreeing = {place.server for place, found in server_map.shares.items() if found.header == best}
    outvoted = sum(sequence < best.sequence for sequence in showing.values())
    return Judgement(_verdict(remembered, best), len(agreeing), best.shares_needed, outvoted)


def remember(remembered: RememberedVersion | None, version: MutableHeader) -> RememberedVersion:
    """Return what to keep after a version was read or written completely.

    Only then: a version of which single shares were seen may never have been finished.
    """
    seen = RememberedVersion.of(version)
    if remembered is None or seen.sequence > remembered.sequence:
        return seen
    # Of two versions of one number the one with the higher root hash prevails with all readers.
    return max(seen, remembered) if seen.sequence == remembered.sequence else remembered


def _verdict(remembered: RememberedVersion | None, best: MutableHeader) -> Verdict:
    if remembered is None or best.sequence > remembered.sequence:
        return Verdict.FINE
    if best.sequence < remembered.sequence:
        return Verdict.ROLLED_BACK
    return Verdict.FINE if best.root_hash == remembered.root_hash else Verdict.CONFLICT
