"""The introducer: takes announcements, keeps them, hands them out. Readers are served from memory;
what is written is acknowledged only once it is on stable storage.

Memory: all announcements (see ``index``), the pages last asked for (see ``pages``), tables of limits
(see ``limits``), and the publications being looked at, each of at most 8 announcements.

Source: docs/spec/control-and-introducer.md, sections 3.4 to 3.6 and 3.9; seed-map S-021.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine

import holdfast
from holdfast.errors import InputError
from holdfast.interfaces.introducer import (
    ANNOUNCEMENTS_PER_PAGE,
    ANNOUNCEMENTS_PER_PUBLISH,
    WAIT_MAX_S,
    AnnouncementPage,
    IntroducerVersion,
    PublishResult,
    SignedBytes,
)
from holdfast.protocol.announcement import (
    BadAnnouncementError,
    SignedAnnouncement,
    check_times,
    verified_announcement,
)
from holdfast.protocol.invitation import ROLES
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.servers.introducer import invitations, publishing
from holdfast.servers.introducer.index import AnnouncementIndex, Name
from holdfast.servers.introducer.invitations import StoredInvitation
from holdfast.servers.introducer.keys import KeyBook, KnownKey
from holdfast.servers.introducer.pages import Pages, ServedPage
from holdfast.servers.introducer.publishing import Publication, Publisher
from holdfast.servers.introducer.refusals import MalformedError
from holdfast.servers.introducer.settings import IntroducerSettings
from holdfast.servers.introducer.tables import open_tables, read_meta
from holdfast.servers.introducer.waiters import Waiters
from holdfast.servers.introducer.writer import Contents, Writer, read_contents

log = logging.getLogger(__name__)

PROTOCOL = 1
SWEEP_EVERY_S = 60.0


class IntroducerEngine:
    """One running introducer. Made by ``open_introducer``; to be used on its event loop.

    Raises of its methods: IntroducerRefusalError (a ServerError), which says why.
    """

    def __init__(
        self,
        tables: Engine,
        epoch: bytes,
        contents: Contents,
        settings: IntroducerSettings,
        verify_key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.epoch = epoch
        self._verify_key = verify_key
        self._index = AnnouncementIndex(*contents)
        self._pages = Pages(self._index, epoch)
        self._waiters = Waiters(self._index.counter)
        self._keys = KeyBook(settings, clock)
        self._publisher = Publisher(settings, clock)
        self._outcomes: Counter[str] = Counter()
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="introducer-signatures")
        self._writer = Writer(tables, self._replace)
        self._writer.start(contents)

    def close(self) -> None:
        """Finish what was begun. Blocks; the event loop goes on meanwhile, or does not matter any more."""
        self._checking.shutdown(wait=True)
        self._writer.close()

    # -- what introducers do

    async def version(self) -> IntroducerVersion:
        return IntroducerVersion(
            PROTOCOL, holdfast.__version__, OLDEST_SUPPORTED, self.epoch, self._verify_key
        )

    async def publish(self, announcements: Sequence[SignedBytes]) -> list[PublishResult]:
        return await self.publish_from("", None, announcements)

    async def publish_from(
        self, source: str, address: str | None, announcements: Sequence[SignedBytes]
    ) -> list[PublishResult]:
        """Publish what came from somewhere.

        Args:
            source: noted beside what is stored.
            address: key by which new keys are counted (``limits.address_key``); None: they are not.

        Raises:
            TooManyRequestsError: nothing was stored, and of all announcements some limit is the reason.
            FullError: nothing was stored, and of all announcements lack of room is the reason.
        """
        if not 1 <= len(announcements) <= ANNOUNCEMENTS_PER_PUBLISH:
            raise MalformedError(f"1 to {ANNOUNCEMENTS_PER_PUBLISH} announcements can be published at once")
        now = self.clock()
        if all(self._index.holds(*one, now) for one in announcements):
            self._outcomes["duplicate"] += len(announcements)
            return [PublishResult("duplicate")] * len(announcements)
        loop = asyncio.get_running_loop()
        checked = await loop.run_in_executor(self._checking, self._check, list(announcements))
        publication = await self._writer.submit(
            lambda connection: self._publisher.publish(connection, checked, source, address),
            self._apply_publication,
        )
        limit = publication.limits[0]
        if limit is not None and None not in publication.limits:
            raise limit
        return publication.results

    async def announcements(
        self,
        services: Collection[str],
        since: int,
        epoch: bytes,
        *,
        wait_s: float,
        limit: int = ANNOUNCEMENTS_PER_PAGE,
    ) -> AnnouncementPage:
        page, may_grow = self.page_now(services, since, epoch, limit)
        if may_grow and wait_s > 0:
            await self.wait_for_news(services, wait_s)
            page, _ = self.page_now(services, since, epoch, limit)
        return page.page

    async def own(self, verify_key: bytes) -> list[SignedBytes]:
        return [(held.ann, held.signature) for held in self._index.of_key(verify_key)]

    # -- pages

    def page_now(
        self, services: Collection[str], since: int, epoch: bytes, limit: int
    ) -> tuple[ServedPage, bool]:
        """Return a page, and whether to wait might make it better."""
        if epoch != self.epoch or since > self._index.counter:  # larger: it is not of this numbering
            return self._pages.after(services, 0, limit), False
        page = self._pages.after(services, since, limit)
        return page, not page.page.announcements or since >= self._waiters.told

    async def wait_for_news(self, services: Collection[str], wait_s: float) -> None:
        """Return when there is news of ``services`` (none: of any), or after ``wait_s`` seconds."""
        await self._waiters.wait(services, min(wait_s, WAIT_MAX_S))

    def release_polls(self) -> None:
        """Answer all waiting polls, and let none wait from now on. To be called before the server stops."""
        self._waiters.release()

    # -- what operators do

    async def admit(self, verify_key: bytes) -> None:
        """Let a key announce, where the operator has to admit keys, or again after it was expelled."""
        _check_key(verify_key)
        await self._writer.submit(lambda connection: self._keys.admit(connection, verify_key))

    async def expel(self, verify_key: bytes) -> None:
        """Delete what a key has announced, and let it announce nothing any more."""
        _check_key(verify_key)
        await self._writer.submit(
            lambda connection: self._keys.expel(connection, verify_key), self._apply_removal
        )

    async def known(self) -> list[KnownKey]:
        """Return every key that has announced something or that an operator has decided about."""
        return await self._writer.submit(self._keys.known)

    async def create_invitation(self, role: str, nickname: str, life_s: float) -> bytes:
        """Return the secret of a new invitation, 10 bytes; it is kept nowhere.

        Raises:
            FullError: too many invitations are outstanding.
        """
        if role not in ROLES:
            raise InputError(f"an invitation is for one of: {', '.join(ROLES)}")
        return await self._writer.submit(
            partial(
                invitations.create,
                role=role,
                nickname=nickname,
                now=self.clock(),
                life_s=life_s,
                outstanding_max=self.settings.invitations_max,
            )
        )

    async def redeem(self, secret: bytes) -> StoredInvitation | None:
        """Return what ``secret`` invites to, once; None if it is unknown, expired or redeemed."""
        return await self._writer.submit(partial(invitations.redeem, secret=secret, now=self.clock()))

    def counts(self) -> dict[str, int]:
        """Return how many announcements, keys and waiting polls there are, and results since the start."""
        return {
            "announcements": len(self._index),
            "keys": self._index.keys,
            "waiting_polls": self._waiters.count,
            **{f"published_{status}": count for status, count in sorted(self._outcomes.items())},
        }

    async def sweep(self) -> None:
        """Delete what need not be kept any longer. Done every minute."""
        await self._writer.submit(self._sweep, self._apply_removal)

    # -- in a thread

    def _check(self, announcements: list[SignedBytes]) -> list[SignedAnnouncement | str]:
        return [self._checked(*one) for one in announcements]

    def _checked(self, ann: bytes, signature: bytes) -> SignedAnnouncement | str:
        try:
            signed = verified_announcement(ann, signature)
            check_times(signed.announcement, self.clock())
        except BadAnnouncementError as error:
            return str(error)
        return signed

    def _sweep(self, connection: Connection) -> list[Name]:
        now = self.clock()
        gone = publishing.sweep(connection, now)
        self._keys.sweep(connection)
        invitations.sweep(connection, now)
        return gone

    # -- on the event loop, in the order of the transactions

    def _apply_publication(self, publication: Publication) -> None:
        self._outcomes.update(result.status for result in publication.results)
        self._apply_removal(publication.removed)
        if not publication.stored:
            return
        for held in publication.stored:
            self._index.put(held)
        self._pages.forget()
        self._waiters.news({held.service for held in publication.stored}, self._index.counter)

    def _apply_removal(self, names: list[Name]) -> None:
        for name in names:
            self._index.remove(name)
        if names:
            self._pages.forget()

    def _replace(self, contents: Contents) -> None:
        """Take over what another process has made of the announcements."""
        before = self._index.counter
        self._index = AnnouncementIndex(*contents)
        self._pages = Pages(self._index, self.epoch)
        news = {held.service for held in self._index.after((), before, len(self._index))}
        if news:
            self._waiters.news(news, self._index.counter)


@asynccontextmanager
async def open_introducer(
    database: Path,
    settings: IntroducerSettings,
    verify_key: bytes,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[IntroducerEngine]:
    """Open an introducer's database, making it if it is missing, and let it run until the block ends.

    Other processes may open the same database meanwhile, to invite, admit and expel.

    Args:
        verify_key: of this introducer's node, 32 bytes.
        clock: gives Unix seconds.

    Raises:
        ConfigError: the database is damaged or cannot be opened; the message names it.
    """
    _check_key(verify_key)
    tables, epoch, contents = await asyncio.to_thread(_open, database, settings)
    engine = IntroducerEngine(tables, epoch, contents, settings, verify_key, clock)
    sweeper = asyncio.get_running_loop().create_task(_sweep_for_ever(engine))
    try:
        await engine.sweep()
        yield engine
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper
        engine.release_polls()
        await asyncio.to_thread(engine.close)
        tables.dispose()


def _open(database: Path, settings: IntroducerSettings) -> tuple[Engine, bytes, Contents]:
    tables = open_tables(database, synchronise=settings.durability == "fsync")
    with tables.begin() as connection:
        return tables, read_meta(connection, "epoch"), read_contents(connection)


async def _sweep_for_ever(engine: IntroducerEngine) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await engine.sweep()
        except Exception:
            log.exception("old announcements could not be deleted")


def _check_key(verify_key: bytes) -> None:
    if len(verify_key) != 32:
        raise InputError("a verify key has 32 bytes")
