"""Where the entries of a directory at a virtual drive server are. One of them is asked for by itself, and
a change sends no more than what it changes.

Source: docs/spec/vdrive.md, section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from holdfast.drive.directory_contents import LOOK_HERE_MAX, Plan, look_at
from holdfast.drive.vdrive_backing import ListableVdriveCap, VdriveClient, VdriveDirectory
from holdfast.drive.vdrive_changes import VdriveTable, changes_between, nameless_entry, table_of
from holdfast.errors import UnavailableError
from holdfast.formats.directory_entry import DirectoryEntry
from holdfast.formats.directory_table import DirectoryTable
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import OpenEntry
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.grid.vdrive.listing import UnreadableName
from holdfast.grid.vdrive.views import EntriesView, EntryChange, VerifiedHead
from holdfast.interfaces.drive import NotWriteableError


class NoVdriveClientError(UnavailableError):
    """This program was not given what it takes to talk to virtual drive servers."""


class VdriveContents:
    """Entries at a virtual drive server.

    Attributes:
        uniform: entries are made so that nobody sees, without keys, which children can be written.
    """

    def __init__(
        self, cap: ListableVdriveCap, client: VdriveClient | None, bound: VersionBound | None = None
    ) -> None:
        """
        Args:
            client: None gives a directory that can be linked, not looked into.
            bound: what the link that led here says of the directory.
        """
        self.cap = cap
        self._client = client
        self.uniform = False
        self._bound = bound
        self._directory: VdriveDirectory | None = None

    @property
    def client(self) -> VdriveClient:
        """Raises NoVdriveClientError if there is none."""
        if self._client is None:
            raise NoVdriveClientError("directories of virtual drive servers cannot be opened here")
        return self._client

    @property
    def directory(self) -> VdriveDirectory:
        """Raises NoVdriveClientError if there is no client."""
        if self._directory is None:
            self._directory = self.client.directory(self.cap, self._bound)
        return self._directory

    def expect(self, bound: VersionBound) -> None:
        """Believe in nothing older than ``bound`` from now on."""
        if self._bound is None or self._bound.version < bound.version:
            self._bound = bound
            self._directory = None

    async def read(self) -> DirectoryTable:
        return (await self.read_version())[1]

    async def read_version(self) -> tuple[VerifiedHead, DirectoryTable]:
        """Return the entries of the newest version, and its head."""
        nameless: list[UnreadableName] = []
        head, entries = await self.directory.one_version(unreadable=nameless)
        entries += map(nameless_entry, nameless)
        if len(entries) <= LOOK_HERE_MAX:
            return head, self._table(entries)
        return head, await asyncio.to_thread(self._table, entries)

    async def read_entry(self, name: str) -> DirectoryTable:
        name = child_name(name)
        return self.table_in(await self.directory.entries([name]), [name])

    async def pages(self) -> AsyncIterator[Sequence[DirectoryEntry]]:
        """Yield all entries of one version in the order of their slots, some thousands at a time."""
        nameless: list[UnreadableName] = []
        async for page in self.directory.iter_pages(unreadable=nameless):
            table = self._table([*page, *map(nameless_entry, nameless)])
            nameless.clear()
            if len(table) > LOOK_HERE_MAX:
                await asyncio.to_thread(look_at, table)
            yield list(table)

    async def names(self) -> AsyncIterator[str]:
        """Yield all names, like ``pages``, without looking at anything else."""
        async for page in self.directory.iter_pages(names_only=True):
            for entry in page:
                yield entry.name

    def check_writable(self) -> None:
        if not self.cap.writable:
            raise NotWriteableError(
                "this directory is held read-only; changing it takes its write capability"
            )

    async def change(self, names: Sequence[str], plan: Plan) -> None:
        self.check_writable()
        wanted = child_names(names)

        def changes(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
            before = self.table_in(views[0], wanted)
            return [changes_between(before, plan(before, True), uniform=self.uniform)]

        if wanted:
            await self.client.change([(self.directory, wanted)], changes)

    def table_in(self, view: EntriesView, names: Sequence[str]) -> VdriveTable:
        """Return a table of those of these names that there are."""
        return self._table([entry for entry in map(view.get, names) if entry is not None])

    def _table(self, entries: Sequence[OpenEntry]) -> VdriveTable:
        return table_of(entries, writable=self.cap.writable)


def child_names(names: Sequence[str]) -> list[str]:
    """Return these names as they are stored, each once.

    Raises:
        BadChildNameError: one of them cannot be that of a child here.
    """
    return list(dict.fromkeys(map(child_name, names)))
