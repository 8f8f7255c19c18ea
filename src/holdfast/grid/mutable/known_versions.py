"""What this client wrote last, so that the next change of the same file need not look for it again.

Nothing is taken for granted: a change based on it is written on condition that every share is still what it
was, first on the one server where all writers begin. If it is not, or nothing would be written, the servers
are surveyed as ever. What is read is never answered from here.

Who need not look is faster than others, who would never get through. So a client that changes a file again
and again leaves a gap now and then, and once others have written too, all look before they write.

Source: docs/spec/mutable.md, sections 12.3, 13 and 19.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.formats.mutable_layout import MutableHeader
from holdfast.planning.server_map import ServerMap

FRESH_S = 60.0  # since the last survey: shares may turn up where nobody expects them
SHARED_S = 5.0  # after others have written
GAP_EVERY = 32  # changes in a row
GAP_LENGTH = 4.0  # times what a change takes
GAP_MAX_S = 2.0
CONTENTS_MAX = 1 << 20  # bytes of one file
TOTAL_MAX = 16 << 20  # bytes of all
FILES_MAX = 1000


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of which every share was stored, and where.

    Attributes:
        seen: what is on the servers; not to be changed.
        contents: None if there is too much.
        surveyed: when the servers were asked last, in seconds of the cache's clock.
        in_a_row: how many changes were made since then.
        took: seconds that the last one took.
        written: when that was.
    """

    header: MutableHeader
    seen: ServerMap
    contents: bytes | None = field(repr=False)
    surveyed: float
    in_a_row: int = 0
    took: float = 0.0
    written: float = 0.0

    def gap_s(self, now: float) -> float:
        """Return how long to wait before the next change, so that somebody else may come first."""
        if self.in_a_row % GAP_EVERY != GAP_EVERY - 1:
            return 0.0
        return max(0.0, self.written + min(GAP_LENGTH * self.took, GAP_MAX_S) - now)

    @property
    def size(self) -> int:
        """Bytes of the contents that are kept."""
        return 0 if self.contents is None else len(self.contents)


class KnownVersions:
    """Of each file the last version written here, for a while. The files used longest ago go first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, total_max: int = TOTAL_MAX) -> None:
        self.clock = clock
        self._total_max = total_max
        self._total = 0
        self._versions: OrderedDict[bytes, KnownVersion] = OrderedDict()
        self._shared: OrderedDict[bytes, float] = OrderedDict()  # until when

    def get(self, index: bytes) -> KnownVersion | None:
        known, now = self._versions.get(index), self.clock()
        if known is None or now < self._shared.get(index, now):
            return None
        if now - known.surveyed > FRESH_S:
            self.forget(index)
            return None
        self._versions.move_to_end(index)
        return known

    def changed_by_others(self, index: bytes) -> None:
        """Survey before all changes for a while."""
        self.forget(index)
        self._shared[index] = self.clock() + SHARED_S
        self._shared.move_to_end(index)
        if len(self._shared) > FILES_MAX:
            self._shared.popitem(last=False)

    def put(self, index: bytes, known: KnownVersion) -> None:
        """Keep ``known`` instead of whatever was."""
        self.forget(index)
        self._versions[index] = known
        self._total += known.size
        while self._total > self._total_max or len(self._versions) > FILES_MAX:
            self.forget(next(iter(self._versions)))

    def forget(self, index: bytes) -> None:
        """Survey before the next change."""
        known = self._versions.pop(index, None)
        self._total -= 0 if known is None else known.size


def is_whole(seen: ServerMap, version: MutableHeader) -> bool:
    """Tell whether all shares of ``version`` are there, and nothing else."""
    if seen.bad or any(found.header != version for found in seen.shares.values()):
        return False
    return len({place.number for place in seen.shares}) == version.shares_total
