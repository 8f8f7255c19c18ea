"""Decides whether a head that a server shows fits what was seen before. The caller fetches heads and keeps
the memory; nothing here trusts an order in which answers come.

Each head names the one before, so that a newer head vouches for an older one if the way back from it leads
there. History that was lost can be given up by a writer's word in a head, if that head is newer than what
is remembered: no head has an earlier time than the one before it, so a word that is part of the remembered
history is never newer than its end.

Source: docs/spec/vdrive.md, sections 7.2 and 7.4 to 7.6.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.head import Head, SignedHead, head_hash, parse_head
from holdfast.interfaces.vdrive import CLOCK_SKEW_S, HEADS_MAX

HASHES_KEPT: Final = 10_000  # of a walk, those nearest to the head shown


class Verdict(Enum):
    """How a head fits what is remembered."""

    FINE = "fine"
    ROLLED_BACK = "rolled back"  # it is older
    FORKED = "forked"  # it has another history
    DISOWNED = "disowned"  # what is remembered was given up by a writer, and is to be replaced


class BrokenChainError(IntegrityError):
    """Heads that a server shows do not lead to the one that it shows as the newest."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a directory.

    Attributes:
        head_hash: 32 bytes; the first 16 of them if a parent told (7.5).
        time: of the head, Unix seconds; None if a parent told.
    """

    version: int
    head_hash: bytes
    time: int | None

    @classmethod
    def of(cls, head: Head, head_hash: bytes) -> Remembered:
        return cls(head.version, head_hash, head.time)

    def names(self, head_hash: bytes) -> bool:
        """Tell whether this is the head with this hash."""
        return head_hash.startswith(self.head_hash)


class HeadCheck:
    """Compares one head with what was remembered when it was asked for.

    As long as there is no verdict, the caller fetches the heads that are wanted and passes them to
    ``show``, or says that they are ``pruned``.

    Attributes:
        verdict: None as long as heads are wanted.
        chain_verified: False if the way back was not walked, so that the verdict rests on a version alone.
        hashes: of the heads on the way back, by version, as far as they are kept.
    """

    def __init__(
        self, shown: Head, shown_hash: bytes, remembered: Remembered | None, *, walk_max: int | None = None
    ) -> None:
        """
        Args:
            shown: its signature was verified.
            walk_max: heads to walk back at most; None for writers, who vouch for all of the past.
        """
        self.verdict: Verdict | None = None
        self.chain_verified = True
        self.hashes: OrderedDict[int, bytes] = OrderedDict({shown.version: shown_hash})
        self._at = shown
        self._remembered = remembered
        self._walk_max = walk_max
        self._conflict: Verdict | None = None
        self._disowned = False
        if remembered is None:
            self.verdict = Verdict.FINE
        else:
            self._begin(shown_hash, remembered)

    @property
    def wanted(self) -> tuple[int, int] | None:
        """Versions of the first and the last head to fetch, at most 1000 of them."""
        if self.verdict is not None or self._remembered is None:
            return None
        lowest = 0 if self._conflict is not None else self._remembered.version + 1
        last = self._at.version - 1
        return max(lowest, last - HEADS_MAX + 1), last

    def show(self, heads: Sequence[SignedHead]) -> None:
        """Pass heads that were wanted: the last of them, and as many before it as there are.

        Raises:
            BrokenChainError: they are others, or none.
            BadHeadError: one of them is no head.
        """
        remembered = self._remembered
        if not heads or remembered is None or self.verdict is not None:
            raise BrokenChainError("a server shows heads that were not wanted, or none")
        for signed in reversed(heads):
            self._step(signed, remembered)
            if self.verdict is not None:
                return

    def pruned(self) -> None:
        """Say that the server no longer has the heads that are wanted."""
        self.chain_verified = False
        self.verdict = self._conflict or Verdict.FINE

    def _begin(self, shown_hash: bytes, remembered: Remembered) -> None:
        ahead = self._at.version - remembered.version
        if ahead < 0:
            self._conflict = Verdict.ROLLED_BACK
        elif ahead == 0 and remembered.names(shown_hash):
            self.verdict = Verdict.FINE
            return
        elif ahead == 0:
            self._conflict = Verdict.FORKED
        elif self._walk_max is not None and ahead > self._walk_max:
            self.verdict, self.chain_verified = Verdict.FINE, False
            return
        self._look(remembered)

    def _step(self, signed: SignedHead, remembered: Remembered) -> None:
        """Go one head back."""
        found = head_hash(signed.head)
        before = parse_head(signed.head)
        right = before.version == self._at.version - 1 and before.index == self._at.index
        if not right or found != self._at.previous:
            raise BrokenChainError("a server shows heads that do not lead to the one it shows as the newest")
        self._at = before
        if len(self.hashes) < HASHES_KEPT:
            self.hashes[before.version] = found
        self._look(remembered)

    def _look(self, remembered: Remembered) -> None:
        """Decide, if the head at hand allows it."""
        at = self._at
        base = at.disown_base
        if base is not None and base < remembered.version and _is_newer(at, remembered):
            self._disowned = True
        if self._conflict is None and at.version == remembered.version + 1:
            if remembered.names(at.previous):
                self.hashes[remembered.version] = at.previous
                self.verdict = Verdict.FINE
                return
            self._conflict = Verdict.FORKED
        if self._conflict is not None:
            if self._disowned:
                self.verdict = Verdict.DISOWNED
            elif at.version == 0 or not _is_newer(at, remembered):
                self.verdict = self._conflict


def settled(
    shown: Remembered, current: Remembered | None, passed: Mapping[int, bytes]
) -> tuple[Verdict, Remembered]:
    """Return whether a head that is fine fits what has come to memory meanwhile, and what to remember.

    Args:
        passed: hashes by version on the way back from the newer of the two, as far as they are known.
    """
    if current is None:
        return Verdict.FINE, shown
    newer, older = (shown, current) if shown.version > current.version else (current, shown)
    met = newer.head_hash if newer.version == older.version else passed.get(older.version)
    fits = met is None or older.names(met)
    return (Verdict.FINE if fits else Verdict.FORKED), (newer if fits else current)


def is_stale(head: Head, now: float) -> bool:
    """Tell whether the writers of a directory promised a newer head than this one."""
    return head.heartbeat is not None and now > head.time + 2 * head.heartbeat + CLOCK_SKEW_S


def _is_newer(head: Head, remembered: Remembered) -> bool:
    """Tell whether a head was made after the one remembered, so that it is no part of that one's past."""
    if remembered.time is None:
        return head.version > remembered.version
    return head.time > remembered.time
