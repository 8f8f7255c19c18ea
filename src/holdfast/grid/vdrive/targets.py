"""What a batch of changes knows of its directories while it is being made.

A result without a commit, an error above all, has to be true at some moment of the change. So it may rest
neither on what was known before, nor on looks at several directories of which one may have changed meanwhile.

Source: docs/spec/vdrive.md, section 9.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.open_entry import EntryOpener, OpenEntry
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.change_queue import Change, ChangePart
from holdfast.grid.vdrive.commits import SignedCommit
from holdfast.grid.vdrive.contexts import AT_ONCE_MAX, VdriveCore, fetch_context, prove
from holdfast.grid.vdrive.memory import KnownHead
from holdfast.grid.vdrive.patience import LookingServer
from holdfast.grid.vdrive.proofs import ProvenContext
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import EntriesView, VerifiedHead
from holdfast.interfaces.vdrive import Context

Asked = Mapping[bytes, KnownHead | None]
"""What was remembered of each directory when a request was sent."""


@dataclass(slots=True)
class Target:
    """A directory that a batch is about.

    Attributes:
        slots: all names that its changes look at, by slot.
        context: what is known of them.
        opened: entries by slot, with the sealed ones that they were opened from.
        moment: at which that was true, since the batch began; None if it was known before. Directories that
            have the same moment were so at the same time.
    """

    state: DirectoryState
    keys: WriteKeys = field(repr=False)
    opener: EntryOpener = field(repr=False)
    sealer: EntrySealer = field(repr=False)
    slots: dict[bytes, str] = field(default_factory=dict, repr=False)
    context: ProvenContext | None = None
    moment: object | None = None
    opened: dict[bytes, tuple[SealedEntry, OpenEntry]] = field(default_factory=dict, repr=False)

    @property
    def proven(self) -> ProvenContext:
        assert self.context is not None
        return self.context

    def to_open(self) -> list[SealedEntry]:
        """Return the entries that are there and have not been opened."""
        entries = self.proven.entries
        found = [entries[slot] for slot in self.slots if slot in entries]
        self.opened = {slot: pair for slot, pair in self.opened.items() if entries.get(slot) is pair[0]}
        return [entry for entry in found if entry.slot not in self.opened]

    def open(self, entries: Iterable[SealedEntry]) -> None:
        """Open entries, and what they lead to."""
        for entry in entries:
            opened = self.opener.open(entry)
            _ = opened.contents
            self.opened[entry.slot] = entry, opened


class Targets:
    """The directories of a batch, by index."""

    def __init__(self, core: VdriveCore, server: LookingServer, changes: Sequence[Change]) -> None:
        self.by_index: dict[bytes, Target] = {}
        self._core = core
        self._server = server
        for change in changes:
            for part in change.parts:
                made = Target(part.state, part.keys, part.opener, part.sealer)
                self.by_index.setdefault(part.state.index, made).slots.update(part.names)

    def view(self, part: ChangePart) -> EntriesView:
        """Return what a change is to see of a directory."""
        target = self.by_index[part.state.index]
        found = {name: target.opened.get(slot) for slot, name in part.names.items()}
        return EntriesView(
            target.proven.head.version,
            {name: None if pair is None else pair[1] for name, pair in found.items()},
        )

    def head(self, part: ChangePart) -> VerifiedHead:
        return self.by_index[part.state.index].proven.head

    def asked(self) -> Asked:
        """Return what is remembered, before something is sent."""
        return {index: self._core.memory.known(index) for index in self.by_index}

    def was_so(self, change: Change) -> bool:
        """Tell whether all that a change looks at was so at one moment since it began."""
        moments = {self.by_index[index].moment for index in change.indices}
        return len(moments) <= 1 and None not in moments

    async def look(self) -> None:
        """Have a context of every directory, from before if there is one, and open what is in it.

        Raises:
            SealedBoxError, BadEntryError: a writer made an entry that has no name.
        """
        for target in self.by_index.values():
            if target.context is None:
                known = self._core.memory.known(target.state.index)
                target.context = self._core.states.context_for(target.state, target.slots, known)
        await self._fetch(target for target in self.by_index.values() if target.context is None)
        for target in self.by_index.values():
            entries = target.to_open()
            if len(entries) <= AT_ONCE_MAX:
                target.open(entries)
            else:
                await asyncio.to_thread(target.open, entries)

    async def look_again(self, changes: Iterable[Change]) -> bool:
        """Look at the directories of some changes; return whether they still are as they were.

        Each was seen before the first is seen again. So if they are, they were so at one moment.
        """
        indices = frozenset[bytes]().union(*(change.indices for change in changes))
        targets = [self.by_index[index] for index in indices]
        fresh = all(target.moment is not None for target in targets)
        before = [target.proven.head.head_hash for target in targets]
        await self._fetch(targets)
        same = before == [target.proven.head.head_hash for target in targets]
        if same and fresh:
            moment = object()
            for target in targets:
                target.moment = moment
        return same

    async def learn(self, contexts: Sequence[Context], commit: SignedCommit, asked: Asked) -> None:
        """Take from a conflict's contexts, once proven, what the next attempt is planned on.

        They are all of one moment, but tell only of names that were to be changed.
        """
        given = {context.index: context for context in contexts}
        moment = object()
        for index, target in self.by_index.items():
            target.context = target.moment = None
            self._core.states.cache(target.state, None)
            context = given.get(index)
            if context is None or index not in commit.changes:
                continue
            slots = commit.changes[index].slots
            key = target.keys.verify_key
            proven = await prove(
                self._core, self._server, target.state, key, context, slots, asked[index], writing=True
            )
            if target.slots.keys() <= slots:
                target.context, target.moment = proven, moment

    async def settle(self, commit: SignedCommit, asked: Asked) -> None:
        """Remember the heads that were made, and what follows from them."""
        moment = object()
        for index, change in commit.changes.items():
            target = self.by_index[index]
            head = change.after.head
            target.state.add_verified(head)
            await self._core.guard.observe(self._server, target.state, head, asked[index], writing=True)
            known = self._core.memory.known(index)
            if known is None or known.head_hash == head.head_hash:
                self._core.states.cache(target.state, change.after)
            target.context, target.moment = change.after, moment

    def is_on_chain(self, commit: SignedCommit) -> bool:
        """Tell whether a commit was made after all, and the server says now that it was not first."""
        heads = [(self.by_index[index].state, change.after.head) for index, change in commit.changes.items()]
        return bool(heads) and all(state.chain.get(h.version) == h.head_hash for state, h in heads)

    async def _fetch(self, targets: Iterable[Target]) -> None:
        async def fetch(target: Target) -> None:
            target.context = await fetch_context(
                self._core, self._server, target.state, target.keys.verify_key, target.slots, writing=True
            )
            target.moment = object()

        await asyncio.gather(*map(fetch, targets))
