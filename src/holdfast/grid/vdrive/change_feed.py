"""What differs between two versions of a directory, each statement proven.

Source: docs/spec/vdrive.md, section 8.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from holdfast.formats.vdrive.changes import check_changes
from holdfast.formats.vdrive.entry import digests_of
from holdfast.formats.vdrive.open_entry import EntryOpener, OpenEntry
from holdfast.formats.vdrive.witness import BadWitnessError
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.listing import PAGE_SIZE, UnreadableName, open_entries
from holdfast.grid.vdrive.proofs import check_versions
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive import Changes

_AT_ONCE_MAX = 12


class ChangesPage(NamedTuple):
    """Part of what changed.

    Attributes:
        head: of the version that the changes lead to.
        entries: written since, and still there.
        deleted: slots that were taken and are free now. A slot does not tell its name.
        unreadable: entries written since whose names cannot be told.
    """

    head: VerifiedHead
    entries: list[OpenEntry]
    deleted: tuple[bytes, ...]
    unreadable: list[UnreadableName]


class ChangeFeed:
    """One run through what changed after version ``since``.

    That nothing is left out, only the root can prove: whoever keeps all slots and digests recomputes it.
    """

    def __init__(
        self, core: VdriveCore, state: DirectoryState, verify_key: bytes, opener: EntryOpener, since: int
    ) -> None:
        self._core = core
        self._state = state
        self._verify_key = verify_key
        self._opener = opener
        self._since = since

    async def pages(self) -> AsyncIterator[ChangesPage]:
        """Yield the changes in the order of slots.

        Raises:
            SnapshotExpiredError: the server no longer knows what was deleted since; list in full.
            ServerMisbehavedError, RollbackDetectedError, ForkDetectedError: what they say.
        """
        server, guard = self._core.server(self._state), self._core.guard
        asked = self._core.memory.known(self._state.index)
        head: VerifiedHead | None = None
        after: bytes | None = None
        while True:
            at = None if head is None else head.version
            answer = await server.changes(self._state.index, self._since, at=at, after=after, limit=PAGE_SIZE)
            if head is None:
                head = guard.verify(self._state, answer.head, self._verify_key)
                head = await guard.observe(server, self._state, head, asked)
            elif answer.head != head.signed:
                guard.misbehaved(self._state, "changes lead to another version than before", answer.head)
            if len(answer.entries) + len(answer.deleted) <= _AT_ONCE_MAX:
                page = self._proven(answer, head, after)
            else:
                page = await asyncio.to_thread(self._proven, answer, head, after)
            yield page
            if answer.next is None:
                return
            after = answer.next

    def _proven(self, answer: Changes, head: VerifiedHead, after: bytes | None) -> ChangesPage:
        try:
            check_versions(head, answer.entries)
            slots = [entry.slot for entry in answer.entries]
            check_changes(
                answer.tree,
                list(zip(slots, digests_of(answer.entries), strict=True)),
                answer.deleted,
                after=after,
                next_=answer.next,
                root=head.head.root,
            )
        except BadWitnessError as error:
            self._core.guard.misbehaved(
                self._state, str(error), answer.head, answer.tree, *answer.entries, *answer.deleted
            )
        entries, unreadable = open_entries(self._opener, answer.entries)
        return ChangesPage(head, entries, answer.deleted, unreadable)
