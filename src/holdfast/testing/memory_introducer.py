"""An introducer in memory that behaves, and ways to make it misbehave.

For tests of what a client does: no socket, no disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.interfaces.introducer import (
    ANNOUNCEMENTS_PER_PAGE,
    AnnouncementPage,
    IntroducerVersion,
    PublishResult,
    SignedBytes,
)
from holdfast.protocol.announcement import (
    Announcement,
    BadAnnouncementError,
    SignedAnnouncement,
    check_times,
    verified_announcement,
)


@dataclass(slots=True)
class IntroducerFaults:
    """How an introducer misbehaves. Calls are named by the methods of ``Introducer``.

    Attributes:
        dead: every call fails.
        hung: every call waits until it is cancelled.
        hung_calls, failing_calls: the calls that do.
        impostor: another TLS key answers.
        slander: every announcement is handed out with another signature.
        besides: handed out in front of what is true: forged, old or second announcements, whole crowds.
        restless: polls are answered at once, with everything, whatever was asked for.
        endless: there is always said to be more.
        results: what publications are answered with, in place of the truth.
        silent: stores what is published, and hands nothing out.
        page_max: announcements in one answer, whatever was asked for.
    """

    dead: bool = False
    hung: bool = False
    hung_calls: set[str] = field(default_factory=set)
    failing_calls: set[str] = field(default_factory=set)
    impostor: bool = False
    slander: bool = False
    besides: list[SignedBytes] = field(default_factory=list)
    restless: bool = False
    endless: bool = False
    results: PublishResult | None = None
    silent: bool = False
    page_max: int | None = None


class MemoryIntroducer:
    """Implements ``interfaces.introducer.Introducer``.

    Attributes:
        calls: how often each call was made.
        published: every batch handed in, in order.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.faults = IntroducerFaults()
        self.calls: dict[str, int] = {}
        self.published: list[list[SignedBytes]] = []
        self._clock = clock
        self._counter = 0
        self._generation = 0
        self._held: dict[tuple[str, bytes], tuple[int, SignedAnnouncement]] = {}
        self._news = asyncio.Event()

    @property
    def epoch(self) -> bytes:
        return hashlib.sha256(b"%d" % self._generation).digest()[:16]

    def lose_memory(self) -> None:
        """Start anew, as with an empty database."""
        self._generation += 1
        self._counter = 0
        self._held.clear()
        self._wake()

    def held(self) -> list[Announcement]:
        """Return what is announced here."""
        return [signed.announcement for _, signed in self._held.values()]

    async def version(self) -> IntroducerVersion:
        await self._begin("version")
        return IntroducerVersion(1, "0.1.0", "0.1.0", self.epoch, bytes(32))

    async def publish(self, announcements: Sequence[SignedBytes]) -> list[PublishResult]:
        await self._begin("publish")
        self.published.append(list(announcements))
        if self.faults.results is not None:
            return [self.faults.results for _ in announcements]
        return [self._publish(*pair) for pair in announcements]

    async def announcements(
        self,
        services: Collection[str],
        since: int,
        epoch: bytes,
        *,
        wait_s: float,
        limit: int = ANNOUNCEMENTS_PER_PAGE,
    ) -> AnnouncementPage:
        await self._begin("announcements")
        if epoch != self.epoch or since > self._counter or self.faults.restless:
            since = 0
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while wait_s and not self._after(services, since):
                        await self._news.wait()
        found = self._after(services, since)
        limit = self.faults.page_max or limit
        page = found[:limit]
        more = len(found) > limit or self.faults.endless
        cursor = page[-1][0] if len(found) > limit else self._counter
        return AnnouncementPage(self.epoch, cursor, more, [self._handed_out(*entry) for entry in page])

    async def own(self, verify_key: bytes) -> list[SignedBytes]:
        await self._begin("own")
        return [held.bytes_pair for (_, key), (_, held) in sorted(self._held.items()) if key == verify_key]

    async def _begin(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        await asyncio.sleep(0)
        if self.faults.impostor:
            raise WrongServerKeyError("it presented another TLS key (none); nothing was sent to it")
        if self.faults.dead or call in self.faults.failing_calls:
            raise ServerError("it cannot be reached: connection refused")
        if self.faults.hung or call in self.faults.hung_calls:
            await asyncio.Event().wait()

    def _publish(self, ann: bytes, signature: bytes) -> PublishResult:
        try:
            new = verified_announcement(ann, signature)
            check_times(new.announcement, self._clock())
        except BadAnnouncementError as error:
            return PublishResult("refused", reason=str(error))
        key = new.announcement.service, new.announcement.verify_key
        if key in self._held:
            old = self._held[key][1]
            if old.bytes_pair == new.bytes_pair:
                return PublishResult("duplicate")
            if old.announcement.sequence > new.announcement.sequence:
                return PublishResult("stale", old.bytes_pair)
            if old.announcement.sequence == new.announcement.sequence:
                return PublishResult("conflict")
            del self._held[key]
        self._counter += 1
        self._held[key] = self._counter, new
        self._wake()
        return PublishResult("stored")

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _after(self, services: Collection[str], since: int) -> list[tuple[int, bytes, bytes]]:
        found = [
            (number, *signed.bytes_pair)
            for (service, _), (number, signed) in self._held.items()
            if number > since and (not services or service in services) and not self.faults.silent
        ]
        besides = [(0, *pair) for pair in self.faults.besides if since == 0]
        return besides + found

    def _handed_out(self, number: int, ann: bytes, signature: bytes) -> tuple[int, bytes, bytes]:
        return number, ann, bytes(64) if self.faults.slander else signature
