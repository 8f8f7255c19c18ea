"""Long polls: who waits for which directory to change.

Whoever waits is told after a commit in this process at once. Where other processes serve the same
database, one query each second asks for the versions of all directories that somebody waits for.

Source: docs/spec/vdrive.md, sections 8.7 and 14.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

VersionsOf = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, int]]]
"""Returns the current versions of directories, by index; those that are gone are left out."""


class Poll:
    """One who waits, for the directory to have a version above ``version``."""

    def __init__(self, version: int, future: asyncio.Future[bool]) -> None:
        self.version = version
        self._future = future

    async def news(self, timeout_s: float) -> bool:
        """Tell whether there is news, once there is, or after ``timeout_s``. For one call."""
        alarm = asyncio.get_running_loop().call_later(timeout_s, self.end, False)
        try:
            return await self._future
        finally:
            alarm.cancel()

    def end(self, news: bool) -> None:
        """Let it go."""
        if not self._future.done():
            self._future.set_result(news)


class Waiters:
    """The waiting polls of one process. Made and used on the event loop."""

    def __init__(self, versions_of: VersionsOf | None = None) -> None:
        """``versions_of`` is asked where other processes may commit; None if there are none."""
        self._versions_of = versions_of
        self._polls: dict[bytes, set[Poll]] = {}
        self._released = False
        self._watcher: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(map(len, self._polls.values()))

    @contextmanager
    def enter(self, index: bytes, version: int) -> Iterator[Poll]:
        """Begin to listen for versions of a directory above ``version``.

        Enter first and look at the directory then: so nothing that comes between is missed.
        """
        poll = Poll(version, asyncio.get_running_loop().create_future())
        if self._released:
            poll.end(False)
        self._polls.setdefault(index, set()).add(poll)
        if self._versions_of is not None and self._watcher is None and not self._released:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(self._versions_of))
        try:
            yield poll
        finally:
            polls = self._polls[index]
            polls.discard(poll)
            if not polls:
                del self._polls[index]

    def committed(self, index: bytes, version: int) -> None:
        """Tell those who wait that a directory has this version now."""
        for poll in self._polls.get(index, ()):
            if version > poll.version:
                poll.end(True)

    def release(self) -> None:
        """Let all go who wait, and let nobody wait any more."""
        self._released = True
        if self._watcher is not None:
            self._watcher.cancel()
        for polls in self._polls.values():
            for poll in polls:
                poll.end(False)

    async def _watch(self, versions_of: VersionsOf) -> None:
        """Look at the database while anybody waits."""
        try:
            while self._polls:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    versions = await versions_of(list(self._polls))
                except Exception as error:
                    log.warning("commits of other processes cannot be seen now: %s", type(error).__name__)
                    continue
                for index, version in versions.items():
                    self.committed(index, version)
        finally:
            self._watcher = None
