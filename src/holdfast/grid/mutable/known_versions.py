"""What this client wrote last, so that the next change of the same file need not look for it again.

Nothing is taken for granted: a change based on it is written on condition that every share is still what it
was, first on the one server where all writers begin. If it is not, or nothing would be written, the servers
are surveyed as ever. What is read is never answered from here.

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
    """

    header: MutableHeader
    seen: ServerMap
    contents: bytes | None = field(repr=False)
    surveyed: float

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

    def get(self, index: bytes) -> KnownVersion | None:
        known = self._versions.get(index)
        if known is None:
            return None
        if self.clock() - known.surveyed > FRESH_S:
            self.forget(index)
            return None
        self._versions.move_to_end(index)
        return known

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
