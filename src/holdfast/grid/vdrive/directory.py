"""A directory at a virtual drive server through one capability: looking up, listing, waiting.

Whatever is returned is proven, and no older than what this client has seen before.

Source: docs/spec/vdrive.md, sections 7, 8.5 to 8.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import structlog

from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import ReadKeys, WriteKeys, log_name, slot_of
from holdfast.errors import NotCapableError
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import EntryOpener, OpenEntry
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.change_feed import ChangeFeed, ChangesPage
from holdfast.grid.vdrive.change_queue import ChangePart
from holdfast.grid.vdrive.contexts import VdriveCore, fetch_context
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.grid.vdrive.listing import Listing, UnreadableName
from holdfast.grid.vdrive.views import EntriesView, VerifiedHead
from holdfast.interfaces.vdrive import SLOTS_MAX, WAIT_MAX_S, DirectoryInfo
from holdfast.interfaces.vdrive_errors import (
    ListingInterruptedError,
    RollbackDetectedError,
    SnapshotExpiredError,
    StaleDirectoryError,
)
from holdfast.planning.vdrive_memory import is_stale

log = structlog.get_logger(__name__)

T = TypeVar("T")

EXPIRATIONS_MAX = 5

ListableVdriveCap = VdriveWriteCap | VdriveReadCap
Healer = Callable[["VdriveDirectory"], Awaitable[bool]]
"""Gives a server back what it has lost; returns whether that was all."""


class VdriveDirectory:
    """Made by ``VdriveClient.directory``. Nodes of one directory share what is remembered and cached.

    Every method that asks the server raises RollbackDetectedError, ForkDetectedError or
    ServerMisbehavedError for a server that lies, NoSuchDirectoryError, other refusals, and ServerError.
    """

    def __init__(
        self,
        core: VdriveCore,
        cap: ListableVdriveCap,
        bound: VersionBound | None = None,
        healer: Healer | None = None,
    ) -> None:
        """
        Args:
            bound: what the parent says of it.
            healer: called when the server is behind what is remembered.
        """
        self.cap = cap
        self._core = core
        self._bound = bound
        self._healer = healer
        self.state = core.states.get(cap.index, cap.place)
        self._stale_told = False

    @property
    def index(self) -> bytes:
        return self.cap.index

    @property
    def writable(self) -> bool:
        return self.cap.writable

    @property
    def write_keys(self) -> WriteKeys | None:
        """None for those who only read."""
        return self.cap.keys if isinstance(self.cap, VdriveWriteCap) else None

    @property
    def read_keys(self) -> ReadKeys:
        return self.cap.keys.read if isinstance(self.cap, VdriveWriteCap) else self.cap.keys

    @cached_property
    def opener(self) -> EntryOpener:
        return EntryOpener(self.read_keys, self.write_keys)

    @cached_property
    def _sealer(self) -> EntrySealer | None:
        return None if self.write_keys is None else EntrySealer(self.write_keys)

    def part(self, slots: Mapping[bytes, str]) -> ChangePart:
        """Return what a change has to do with this directory.

        Raises:
            NotCapableError: it is held read-only.
        """
        if self.write_keys is None or self._sealer is None:
            raise NotCapableError("this capability of the directory is for reading only")
        return ChangePart(self.state, self.write_keys, self.opener, self._sealer, slots)

    def slots(self, names: Sequence[str]) -> dict[bytes, str]:
        """Return the names in their normal form, by slot.

        Raises:
            BadChildNameError: one of them cannot be that of a child.
        """
        name_key = self.read_keys.name_key
        return {slot_of(name_key, name): name for name in map(child_name, names)}

    # -- looking

    async def head(self) -> VerifiedHead:
        """Return the current head."""

        async def ask() -> VerifiedHead:
            asked = self._core.memory.known(self.index)
            server = self._core.server(self.state)
            answer = await server.describe(self.index)
            head = self._core.guard.verify(self.state, answer.head, self.read_keys.verify_key)
            return await self._core.guard.observe(server, self.state, head, asked, bound=self._bound)

        head = await self._healed(ask)
        self._check_fresh(head)
        return head

    async def describe(self) -> DirectoryInfo:
        """Return what the server says of the directory. Only the head in it is verified."""
        await self.head()
        return await self._core.server(self.state).describe(self.index)

    async def entries(self, names: Sequence[str]) -> EntriesView:
        """Return what some names lead to, up to 1000 at one version.

        Raises:
            BadChildNameError: one of them cannot be that of a child.
        """
        slots = self.slots(names)
        if not 0 < len(slots) <= SLOTS_MAX:
            raise ValueError(f"between 1 and {SLOTS_MAX} names can be looked up at a time")
        context = await self._healed(
            lambda: fetch_context(
                self._core,
                self._core.server(self.state),
                self.state,
                self.read_keys.verify_key,
                slots,
                bound=self._bound,
            )
        )
        self._check_fresh(context.head)
        found = {name: context.entries.get(slot) for slot, name in slots.items()}
        opened = {
            name: None if sealed is None else self.opener.open(sealed) for name, sealed in found.items()
        }
        return EntriesView(context.head.version, opened)

    def listing(
        self,
        *,
        names_only: bool = False,
        at: int | None = None,
        unreadable: list[UnreadableName] | None = None,
    ) -> Listing:
        """Return a listing, which tells its version and what could not be read besides its pages."""
        return Listing(
            self._core,
            self.state,
            self.read_keys.verify_key,
            self.opener,
            names_only=names_only,
            at=at,
            bound=self._bound,
            check=self._check_fresh,
            unreadable=unreadable,
        )

    async def iter_pages(
        self,
        *,
        names_only: bool = False,
        at: int | None = None,
        unreadable: list[UnreadableName] | None = None,
    ) -> AsyncIterator[Sequence[OpenEntry]]:
        """Yield all entries of one version, in the order of their slots, which says nothing of names.

        Args:
            names_only: children have no capabilities then, and a third of the traffic.
            at: version, as far back as the server keeps it; None for the current one.
            unreadable: what belongs to a page and has no name is added to it before the page is yielded.

        Raises:
            ListingInterruptedError: the server did not keep the version for as long as this took.
        """
        async for _, page in self._pages(names_only=names_only, at=at, unreadable=unreadable):
            yield page

    async def all_entries(
        self, *, names_only: bool = False, unreadable: list[UnreadableName] | None = None
    ) -> list[OpenEntry]:
        """Return all entries of one version; see ``one_version``."""
        _, entries = await self.one_version(names_only=names_only, unreadable=unreadable)
        return entries

    async def one_version(
        self, *, names_only: bool = False, unreadable: list[UnreadableName] | None = None
    ) -> tuple[VerifiedHead, list[OpenEntry]]:
        """Return the head and all entries of one version; begin anew when the server does not keep it long
        enough.

        Args:
            unreadable: what has no name is added to it.

        Raises:
            ListingInterruptedError: that happened five times.
        """
        for attempt in range(1, EXPIRATIONS_MAX + 1):
            nameless: list[UnreadableName] = []
            try:
                pages = self._pages(names_only=names_only, at=None, unreadable=nameless)
                found = [(head, page) async for head, page in pages]
            except ListingInterruptedError:
                if attempt == EXPIRATIONS_MAX:
                    raise
            else:
                if unreadable is not None:
                    unreadable += nameless
                return found[0][0], [entry for _, page in found for entry in page]
        raise AssertionError

    # -- following

    async def wait(self, after_version: int, timeout_s: float) -> int | None:
        """Return the version once it is above ``after_version``; None if it did not become so in time."""
        asked = self._core.memory.known(self.index)
        server = self._core.server(self.state)
        signed = await server.wait(self.index, after_version, min(timeout_s, WAIT_MAX_S))
        if signed is None:
            return None
        head = self._core.guard.verify(self.state, signed, self.read_keys.verify_key)
        head = await self._core.guard.observe(server, self.state, head, asked, bound=self._bound)
        if head.version <= after_version:
            self._core.guard.misbehaved(self.state, "it tells of a change that there was not", signed)
        return head.version

    def changes(self, since: int) -> AsyncIterator[ChangesPage]:
        """Yield what differs between version ``since`` and the current one; see ``ChangeFeed.pages``."""
        feed = ChangeFeed(self._core, self.state, self.read_keys.verify_key, self.opener, since)
        return feed.pages()

    # -- the rest is private

    async def _pages(
        self, *, names_only: bool, at: int | None, unreadable: list[UnreadableName] | None
    ) -> AsyncIterator[tuple[VerifiedHead, Sequence[OpenEntry]]]:
        """Yield the pages of one version, at least one, each with the head of that version."""
        listing = self.listing(names_only=names_only, at=at, unreadable=unreadable)
        try:
            async for page in listing.pages():
                assert listing.head is not None
                yield listing.head, page
        except RollbackDetectedError:
            if listing.head is not None or self._healer is None or not await self._healer(self):
                raise
        except SnapshotExpiredError:
            if listing.head is None:
                raise
            raise ListingInterruptedError(
                f"directory {log_name(self.index)}: the server forgets versions faster than it lists them"
            ) from None
        else:
            return
        listing = self.listing(names_only=names_only, at=at, unreadable=unreadable)
        async for page in listing.pages():
            assert listing.head is not None
            yield listing.head, page

    async def _healed(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask; if the server has lost what this client has sent, give it back first."""
        try:
            return await ask()
        except RollbackDetectedError:
            if self._healer is None or not await self._healer(self):
                raise
        return await ask()

    def _check_fresh(self, head: VerifiedHead) -> None:
        if not is_stale(head.head, self._core.clock()):
            self._stale_told = False
            return
        what = f"directory {log_name(self.index)}: its writers promised a newer version than {head.version}"
        if self._core.settings.require_fresh:
            raise StaleDirectoryError(what)
        if not self._stale_told:
            log.warning("a directory is stale", directory=log_name(self.index), version=head.version)
        self._stale_told = True

    def __repr__(self) -> str:
        return f"<VdriveDirectory {log_name(self.index)}>"
