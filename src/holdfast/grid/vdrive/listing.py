"""Listings: page after page of one version, each proven before it is handed on.

While one page is checked and opened, the next one is on its way. No more than two are held.

Source: docs/spec/vdrive.md, sections 8.6 and 8.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, NoReturn

import structlog

from holdfast.crypto.vdrive_keys import log_name
from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.entry import NameEntry, SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.open_entry import EntryOpener, OpenEntry
from holdfast.formats.vdrive.witness import BadWitnessError
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.grid.vdrive.memory import KnownHead
from holdfast.grid.vdrive.proofs import prove_page
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive import Page, VirtualDriveServer

log = structlog.get_logger(__name__)

PAGE_SIZE = 2000  # entries; about 25 ms of work
UNREADABLE_KEPT = 1000
_AT_ONCE_MAX = 12  # entries that are handled without a thread


class UnreadableName(NamedTuple):
    """An entry whose very name cannot be told: a writer's mistake or malice."""

    slot: bytes
    version: int
    reason: str


class Listing:
    """One run through a directory.

    Attributes:
        head: of the version listed, once the first page is there.
        unreadable: entries left out, since they have no name; not more than are kept.
    """

    def __init__(
        self,
        core: VdriveCore,
        state: DirectoryState,
        verify_key: bytes,
        opener: EntryOpener,
        *,
        names_only: bool,
        at: int | None,
        bound: VersionBound | None,
        check: Callable[[VerifiedHead], None],
        unreadable: list[UnreadableName] | None = None,
    ) -> None:
        """
        Args:
            check: called with the head of a current version.
            unreadable: the list to be used.
        """
        self.head: VerifiedHead | None = None
        self.unreadable = [] if unreadable is None else unreadable
        self._core = core
        self._state = state
        self._verify_key = verify_key
        self._opener = opener
        self._names_only = names_only
        self._at = at
        self._bound = bound
        self._check = check

    async def pages(self) -> AsyncIterator[Sequence[OpenEntry]]:
        """Yield the entries in the order of their slots.

        Raises:
            SnapshotExpiredError: the server no longer has this version. What was handed on is true.
            ServerMisbehavedError, RollbackDetectedError, ForkDetectedError: what they say.
        """
        server = self._core.server(self._state)
        asked = self._core.memory.known(self._state.index)
        page = await self._fetch(server, self._at, None)
        head = self._core.guard.verify(self._state, page.head, self._verify_key)
        self.head = await self._placed(server, head, asked)
        after: bytes | None = None
        while True:
            following = None
            if page.next is not None:
                following = asyncio.create_task(self._fetch(server, self.head.version, page.next))
            try:
                if page.head != self.head.signed:
                    self._misbehaved("a page is of another version than the first one", page.head)
                entries = await self._opened(page, after)
                yield entries
                if following is None:
                    return
                after, page = page.next, await following
            finally:
                if following is not None and not following.cancel() and not following.cancelled():
                    following.exception()  # whoever stops here wants to know nothing of it

    async def _fetch(self, server: VirtualDriveServer, at: int | None, after: bytes | None) -> Page:
        return await server.page(
            self._state.index, at=at, after=after, limit=PAGE_SIZE, names_only=self._names_only
        )

    async def _placed(
        self, server: VirtualDriveServer, head: VerifiedHead, asked: KnownHead | None
    ) -> VerifiedHead:
        """Return the head of the listing, once it is known to belong to the directory's history."""
        guard = self._core.guard
        if self._at is not None:
            if head.version != self._at:
                self._misbehaved("a listing is of another version than was asked for", head.signed)
            return await guard.check_old(server, self._state, head)
        head = await guard.observe(server, self._state, head, asked, bound=self._bound)
        self._check(head)
        return head

    async def _opened(self, page: Page, after: bytes | None) -> list[OpenEntry]:
        if len(page.entries) <= _AT_ONCE_MAX:
            entries, unreadable = self._open(page, after)
        else:
            entries, unreadable = await asyncio.to_thread(self._open, page, after)
        if unreadable:
            where = log_name(self._state.index)
            log.warning("entries of a directory have no name", directory=where, count=len(unreadable))
        self.unreadable += unreadable[: max(0, UNREADABLE_KEPT - len(self.unreadable))]
        return entries

    def _open(self, page: Page, after: bytes | None) -> tuple[list[OpenEntry], list[UnreadableName]]:
        assert self.head is not None
        try:
            prove_page(self.head, page.tree, page.entries, after, page.next)
        except BadWitnessError as error:
            self._misbehaved(str(error), page.head, page.tree, *page.entries)
        return open_entries(self._opener, page.entries)

    def _misbehaved(self, reason: str, head: SignedHead, *rest: object) -> NoReturn:
        self._core.guard.misbehaved(self._state, reason, head, *rest)


def open_entries(
    opener: EntryOpener, sealed: Sequence[SealedEntry | NameEntry]
) -> tuple[list[OpenEntry], list[UnreadableName]]:
    """Return the entries by name, and those whose name cannot be told."""
    entries: list[OpenEntry] = []
    unreadable: list[UnreadableName] = []
    for entry in sealed:
        try:
            entries.append(opener.open(entry))
        except IntegrityError as error:
            unreadable.append(UnreadableName(entry.slot, entry.version, str(error)))
    return entries, unreadable
