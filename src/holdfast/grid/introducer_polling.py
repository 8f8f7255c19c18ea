"""Asking one introducer for news, for ever: with a long poll, from where the last answer ended.

What a hostile introducer can make us do is bounded here: it cannot have its announcements looked at
faster than an allowance, nor send us in circles. The others have polls of their own and notice nothing.

Source: docs/spec/control-and-introducer.md, sections 3.5, 3.7 and 3.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import structlog

from holdfast.errors import ServerError
from holdfast.grid.introducer_link import Backoff, IntroducerLink
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.interfaces.introducer import ANNOUNCEMENTS_PER_PAGE, AnnouncementPage

T = TypeVar("T")

log = structlog.get_logger(__name__)

NO_EPOCH = bytes(16)

TakePage = Callable[[IntroducerLink, AnnouncementPage, frozenset[str]], Awaitable[None]]
"""Takes what an introducer announced of the services it was asked for."""


class Allowance:
    """An amount that grows with time, and that may be overdrawn at the price of waiting."""

    def __init__(self, per_s: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._monotonic = monotonic
        self._left = burst
        self._at = monotonic()

    def spend(self, amount: float) -> float:
        """Spend ``amount``; return the seconds to wait before the next."""
        now = self._monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - amount
        self._at = now
        return max(0.0, -self._left / self._per_s)


class IntroducerPoll:
    """The questions to one introducer.

    Attributes:
        answered: True once everything it has was heard, for the services wanted now.
        tried: True once it has answered or failed to.
    """

    def __init__(
        self,
        link: IntroducerLink,
        settings: IntroducerClientSettings,
        monotonic: Callable[[], float],
        take: TakePage,
        on_progress: Callable[[], None],
        on_new_epoch: Callable[[IntroducerLink], None],
    ) -> None:
        """``on_new_epoch``: the introducer has lost its memory."""
        self.link = link
        self.answered = False
        self.tried = False
        self._periods = settings.periods
        self._monotonic = monotonic
        self._take = take
        self._on_progress = on_progress
        self._on_new_epoch = on_new_epoch
        self._allowance = Allowance(settings.announced_per_s, settings.announced_burst, monotonic)
        self._backoff = Backoff(settings.periods)
        self._services = frozenset[str]()
        self._failing = False
        self._changed = asyncio.Event()
        self._epoch = NO_EPOCH
        self._cursor = 0
        self._pause = self._periods.pause_first

    def want(self, services: frozenset[str]) -> None:
        """Ask for these services from now on, from the beginning. None: only whether it is there."""
        self._services = services
        self._cursor = 0
        self.answered = self.tried = False
        self._changed.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._changed.clear()
            try:
                pause = await self._ask()
                self._failing = False
                self._backoff.reset()
            except Exception as error:
                # Whatever one introducer's answer brings about, the others must not suffer.
                if not isinstance(error, ServerError):
                    log.exception("an introducer's answer could not be handled", introducer=self.link.petname)
                self.link.failed(error)
                self._failing = self.tried = True
                self._on_progress()
                pause = self._backoff.after(error)
            if pause:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()

    async def _ask(self) -> float:
        """Ask once; return the seconds until the next time."""
        services = self._services
        if not services:
            return await self._ask_version()
        # After a failure, a quick answer tells more than one that waits for news.
        wait_s = self._periods.wait if self.answered and not self._failing else 0.0
        started = self._monotonic()
        since, epoch = self._cursor, self._epoch
        page = await self._unless_changed(
            self.link.introducer.announcements(services, since, epoch, wait_s=wait_s)
        )
        if page is None:
            return 0.0
        _check(page, since, epoch)
        self.link.answered()
        waiting = self._allowance.spend(1 + len(page.announcements))
        await self._take(self.link, page, services)
        self._note_epoch(page.epoch)
        if self._changed.is_set():
            return 0.0  # other services are wanted: what was heard is not the beginning
        self._cursor = page.cursor
        self.tried = True
        self.answered = self.answered or not page.more
        self._on_progress()
        return max(waiting, self._pause_after(page, wait_s, self._monotonic() - started))

    async def _ask_version(self) -> float:
        version = await self._unless_changed(self.link.introducer.version())
        if version is None:
            return 0.0
        self.link.answered()
        self._note_epoch(version.epoch)
        self.tried = self.answered = True
        self._on_progress()
        return self._periods.heartbeat

    def _note_epoch(self, epoch: bytes) -> None:
        before, self._epoch = self._epoch, epoch
        if before not in (NO_EPOCH, epoch):
            log.warning("introducer has lost its memory; telling it again", introducer=self.link.petname)
            self._on_new_epoch(self.link)

    def _pause_after(self, page: AnnouncementPage, wait_s: float, took_s: float) -> float:
        if page.more:
            return 0.0
        if page.announcements:
            pause, self._pause = self._pause, min(self._pause * 2, self._periods.pause_max)
            return pause
        self._pause = self._periods.pause_first
        if wait_s and took_s < self._periods.quiet_min:
            return self._periods.quiet_min - took_s  # it does not wait as it was asked to
        return 0.0

    async def _unless_changed(self, question: Coroutine[object, object, T]) -> T | None:
        """Return the answer, or None as soon as other services are wanted."""
        asking = asyncio.ensure_future(question)
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((asking, changing), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            changing.cancel()
            await asyncio.gather(asking, changing, return_exceptions=True)


def _check(page: AnnouncementPage, since: int, epoch: bytes) -> None:
    """Raise ServerError for an answer that leads nowhere."""
    if len(page.announcements) > ANNOUNCEMENTS_PER_PAGE:
        raise ServerError("its answer is malformed: too many announcements")
    if page.epoch == epoch and (page.cursor < since or (page.more and page.cursor == since)):
        raise ServerError("its answers lead in circles")
