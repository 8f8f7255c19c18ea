"""What a drive stands on where it has directories at virtual drive servers.

``holdfast.grid.vdrive.client`` has it.

Source: docs/spec/vdrive.md, sections 7 to 9.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.formats.vdrive.open_entry import OpenEntry
from holdfast.grid.vdrive.views import (
    ChangeResult,
    CreatePlan,
    EntriesView,
    Plan,
    PutEntry,
    VerifiedHead,
)

if TYPE_CHECKING:
    from holdfast.grid.vdrive.change_feed import ChangesPage
    from holdfast.grid.vdrive.guard import VersionBound
    from holdfast.grid.vdrive.listing import UnreadableName

ListableVdriveCap = VdriveWriteCap | VdriveReadCap
"""What a directory can be read with."""


class VdriveDirectory(Protocol):
    """A directory through one capability. Whatever it returns is proven."""

    @property
    def cap(self) -> ListableVdriveCap: ...

    async def head(self) -> VerifiedHead: ...

    async def entries(self, names: Sequence[str]) -> EntriesView: ...

    def iter_pages(
        self, *, names_only: bool = False, unreadable: list[UnreadableName] | None = None
    ) -> AsyncIterator[Sequence[OpenEntry]]:
        """``unreadable`` is given what of a page has no name, before the page is yielded."""
        ...

    async def all_entries(
        self, *, names_only: bool = False, unreadable: list[UnreadableName] | None = None
    ) -> list[OpenEntry]:
        """Like ``iter_pages``, but begins anew if the version is no longer kept."""
        ...

    async def one_version(
        self, *, names_only: bool = False, unreadable: list[UnreadableName] | None = None
    ) -> tuple[VerifiedHead, list[OpenEntry]]:
        """Like ``all_entries``, with the head of that version."""
        ...

    async def wait(self, after_version: int, timeout_s: float) -> int | None: ...

    def changes(self, since: int) -> AsyncIterator[ChangesPage]: ...


class VdriveClient(Protocol):
    """A client of any number of virtual drive servers."""

    def directory(self, cap: ListableVdriveCap, bound: VersionBound | None = None) -> VdriveDirectory:
        """Nobody is asked. ``bound``: what the parent says of the directory."""
        ...

    async def change(
        self,
        parts: Sequence[tuple[Any, Sequence[str]]],
        plan: Plan,
        *,
        creates: Sequence[CreatePlan] = (),
    ) -> ChangeResult:
        """Change several directories of one server as a whole, up to 1000 names in each.

        Args:
            parts: directories of this very client, with the names that the plan looks at or changes.
        """
        ...

    async def create(
        self, place: VdrivePlace, write_key: bytes | None = None, entries: Sequence[PutEntry] = ()
    ) -> VdriveWriteCap:
        """Make a directory. With a write key, this may be repeated."""
        ...
