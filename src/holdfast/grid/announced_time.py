"""What time it is, as far as announcements are concerned, on machines whose clock may be years off.

Behind: announcements then seem to come from the future. They count as fresh. Only who signed one can have
dated it so, introducers refuse it if their clock says otherwise, and the worst it brings is a failed
connection to a server that is gone, while refusing would lock this machine out of its grid.

Ahead: everything would seem long expired, and would be forgotten as soon as it is heard. But introducers
hand nothing out that expired more than a week ago; so where all that one says is older than that, its clock
and ours disagree, and its time is taken: the newest ``issued``; unless another introducer agrees with our
clock. One that lies about this, and is believed, makes dead servers look fresh, and no more than that.

Set right while running: what was measured with the wrong clock is measured anew, so that nothing is
forgotten because a clock jumped.

Source: docs/spec/control-and-introducer.md, sections 3.6 and 3.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from holdfast.protocol.announcement import Announcement

log = structlog.get_logger(__name__)

DAY_S = 86400.0
HANDED_OUT_S = 8 * DAY_S  # introducers stop 7 days after the expiry; a day for what clocks may differ
JUMP_S = DAY_S  # more than this is no drift, and seldom a machine that slept


class AnnouncedTime:
    """Unix time by which announcements are judged: this machine's clock, unless that cannot be right."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._ahead: dict[str, float] = {}  # introducer to seconds our clock is ahead of its time
        self._last = clock()
        self._last_monotonic = monotonic()

    def now(self) -> float:
        return self._clock() - min(self._ahead.values(), default=0.0)

    def heard(self, introducer: str, announcements: Iterable[Announcement]) -> None:
        """Compare the clock with what an introducer handed out just now."""
        heard = [announcement for announcement in announcements if not announcement.withdrawn]
        if not heard:
            return
        clock = self._clock()
        newest = max(announcement.expires for announcement in heard)
        if clock <= newest + HANDED_OUT_S:
            self._ahead[introducer] = 0.0
            return
        if not self._ahead.get(introducer):
            log.warning(
                "the clock of this machine seems to be wrong: all announcements expired long ago",
                introducer=introducer,
                days=int((clock - newest) / DAY_S),
            )
        self._ahead[introducer] = clock - max(announcement.issued for announcement in heard)

    def jump(self) -> float:
        """Return by how many seconds ``now`` was set since the last call, beyond what has passed. 0: not."""
        now, monotonic = self.now(), self._monotonic()
        jump = (now - self._last) - (monotonic - self._last_monotonic)
        self._last, self._last_monotonic = now, monotonic
        return jump if abs(jump) > JUMP_S else 0.0
