"""A node's view of all its introducers: it believes its cache at once, asks each introducer for news, and
keeps its own announcements known to them. It never waits for one.

Source: docs/spec/control-and-introducer.md, section 3.7; docs/spec/seed-map.md, S-018 to S-020 and S-022.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

import structlog

from holdfast.grid.announced_time import AnnouncedTime
from holdfast.grid.announcement_book import AnnouncementBook, BookLimits
from holdfast.grid.announcement_cache import AnnouncementCache
from holdfast.grid.introducer_link import IntroducerLink
from holdfast.grid.introducer_polling import IntroducerPoll
from holdfast.grid.introducer_publishing import Announcer, Publisher
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.interfaces.introducer import (
    AnnouncementPage,
    Introducer,
    IntroducerState,
    KnownAnnouncement,
    NewPeers,
    SignedBytes,
    Subscriber,
)
from holdfast.protocol.announcement import (
    Announcement,
    BadAnnouncementError,
    SignedAnnouncement,
    verified_announcement,
)

log = structlog.get_logger(__name__)

STORAGE = "storage"
VERIFIED_AT_ONCE = 50  # announcements; meanwhile the event loop goes on

Contacts = Callable[[], Iterable[str]]
"""Returns the ids of servers with which there was an authenticated contact just now."""


class IntroducerClient:
    """Implements ``interfaces.introducer.IntroducerClient``. Works while ``running`` is entered.

    What it is told of by ``subscribe_to`` and ``publish`` before that is taken up then.
    """

    def __init__(
        self,
        introducers: Mapping[str, Introducer],
        cache: AnnouncementCache | None,
        settings: IntroducerClientSettings,
        *,
        signer: Announcer | None = None,
        on_new_peers: NewPeers | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        limits: BookLimits | None = None,
    ) -> None:
        """``introducers`` by petname; closing them is the caller's. ``signer``: of a node that publishes."""
        self._cache = cache
        self._periods = settings.periods
        self._time = AnnouncedTime(clock, monotonic)
        self._book = AnnouncementBook(settings.forget_after_s, limits)
        self._links = [
            IntroducerLink(petname, introducer, settings.periods, clock, monotonic)
            for petname, introducer in introducers.items()
        ]
        self._polls = [
            IntroducerPoll(
                link, settings, monotonic, self._take_page, self._note_progress, self._announce_again
            )
            for link in self._links
        ]
        self._publisher = (
            None if signer is None else Publisher(signer, self._links, self._periods, clock, monotonic)
        )
        self._subscribers: defaultdict[str, list[Subscriber]] = defaultdict(list)
        self._contacts: list[Contacts] = []
        self._on_new_peers = on_new_peers
        self._peers_told = frozenset[str]()
        self._ready = asyncio.Event()

    # -- what a node asks for

    def subscribe_to(self, service: str, callback: Subscriber) -> None:
        """Call ``callback`` for what is known of ``service``, now, and for each change from now on.

        What is forgotten is told once more, as withdrawn.
        """
        is_new = service not in self._subscribers
        self._subscribers[service].append(callback)
        for known in self.known(service):
            _call(callback, known)
        if is_new:
            self._ready.clear()
            for poll in self._polls:
                poll.want(frozenset(self._subscribers))

    def publish(self, service: str, properties: Mapping[str, object], nurls: Sequence[str]) -> None:
        """Keep this announced of ``service`` at all introducers; another call for it takes its place.

        Raises:
            ValueError: nobody would accept it, or this client has nothing to sign with.
        """
        if self._publisher is None:
            raise ValueError("a client without a node key cannot publish")
        self._publisher.offer(service, properties, nurls)

    def watch_contacts(self, contacts: Contacts) -> None:
        """Ask ``contacts`` now and then which servers live: that keeps alive what they announced."""
        self._contacts.append(contacts)

    async def new_peers(self, nurls: frozenset[str]) -> None:
        """Take the NURLs of storage servers; those that were not there before are passed on, once (S-019)."""
        new = nurls - self._peers_told
        self._peers_told |= new
        if new and self._on_new_peers is not None:
            try:
                await self._on_new_peers(new)
            except Exception:
                log.exception("what takes new peers failed")

    async def deliver_peers(self) -> None:
        """Call ``new_peers`` with what is known of storage servers by now."""
        known = frozenset(nurl for known in self.known(STORAGE) for nurl in known.nurls)
        self._peers_told &= known  # one that went and comes back is new
        await self.new_peers(known)

    # -- what a node sees

    def known(self, service: str) -> list[KnownAnnouncement]:
        """Return what is believed of a service, without what is withdrawn."""
        return self._book.known(service, self._now())

    @property
    def equivocations(self) -> int:
        """Return how often a node was found to have signed two things with one number, since the start."""
        return self._book.equivocations

    def connected_to_introducer(self) -> bool:
        return any(link.connected for link in self._links)

    def introducer_status(self) -> list[IntroducerState]:
        return [link.state for link in self._links]

    async def ready(self) -> None:
        """Return once an introducer has told all it knows, or none can, or after ``Periods.ready`` seconds.

        For programs that run shortly and have no cache yet.
        """
        self._note_progress()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._periods.ready):
                await self._ready.wait()

    # -- running

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Deliver what the cache holds, then ask and publish until the block ends."""
        if self._cache is not None:
            # Verifying takes half a millisecond each; the event loop has other things to do.
            cached = await asyncio.to_thread(self._cache.load)
            self._tell(self._book.restore(cached, self._now()))
            await self._deliver_if_wanted()
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._note_contacts()
            await self._save()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for poll in self._polls:
                group.create_task(poll.run())
            if self._publisher is not None:
                group.create_task(self._publisher.run())
            group.create_task(self._watch_time())
            group.create_task(self._keep_saved())

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(self._periods.tick)
            self._note_contacts()
            self._tell(self._book.advance(self._now()))
            await self._deliver_if_wanted()

    async def _keep_saved(self) -> None:
        while True:
            await asyncio.sleep(self._periods.save)
            await self._save()

    async def _save(self) -> None:
        if self._cache is None or not self._book.changed:
            return
        self._book.changed = False
        try:
            await asyncio.to_thread(self._cache.save, self._book.entries())
        except OSError as error:
            self._book.changed = True
            log.warning("the cache of announcements cannot be written", reason=error.strerror)

    def _now(self) -> float:
        """Return the time by which announcements are judged, once the book goes by it too."""
        if jump := self._time.jump():
            self._book.shift(jump)
        return self._time.now()

    # -- hearing

    async def _take_page(
        self, link: IntroducerLink, page: AnnouncementPage, services: frozenset[str]
    ) -> None:
        """Take what an introducer hands out: what is new to us is verified, and what is bad left out."""
        now, petname = self._now(), link.petname
        unknown, handed_out = list[SignedBytes](), list[Announcement]()
        for _, ann, signature in page.announcements:
            if (known := self._book.sees_again((ann, signature), petname, now)) is None:
                unknown.append((ann, signature))
            else:
                handed_out.append(known)
        verified, problem = list[SignedAnnouncement](), ""
        for start in range(0, len(unknown), VERIFIED_AT_ONCE):
            good, problems = await asyncio.to_thread(_verify, unknown[start : start + VERIFIED_AT_ONCE])
            verified += good
            problem = problems[-1] if problems else problem
        self._time.heard(petname, handed_out + [signed.announcement for signed in verified])
        now = self._now()
        for signed in verified:
            if signed.announcement.service in services:
                self._tell(self._book.hear(signed, petname, now))
        if problem and not link.suspicion:
            log.warning("an introducer hands out bad announcements", introducer=petname, reason=problem)
        if problem:
            link.suspicion = f"it handed out an announcement that is not used: {problem}"
        await self._deliver_if_wanted()

    def _tell(self, changes: Iterable[KnownAnnouncement]) -> None:
        for known in changes:
            for callback in list(self._subscribers.get(known.service, ())):
                _call(callback, known)

    async def _deliver_if_wanted(self) -> None:
        if self._on_new_peers is not None and STORAGE in self._subscribers:
            await self.deliver_peers()

    def _note_progress(self) -> None:
        if any(poll.answered for poll in self._polls) or all(poll.tried for poll in self._polls):
            self._ready.set()

    def _announce_again(self, link: IntroducerLink) -> None:
        if self._publisher is not None:
            self._publisher.forgotten_by(link)

    def _note_contacts(self) -> None:
        for contacts in self._contacts:
            try:
                met = frozenset(contacts())
            except Exception:
                log.exception("nobody says which servers have answered")
                continue
            if met:
                self._book.met(met, self._now())


def _verify(pairs: Sequence[SignedBytes]) -> tuple[list[SignedAnnouncement], list[str]]:
    """Return the good ones, and what is wrong with the others."""
    good, problems = [], []
    for ann, signature in pairs:
        try:
            good.append(verified_announcement(ann, signature))
        except BadAnnouncementError as error:
            problems.append(str(error))
    return good, problems


def _call(callback: Subscriber, known: KnownAnnouncement) -> None:
    try:
        callback(known)
    except Exception:
        log.exception("a subscriber failed", service=known.service, server=known.server_id)
