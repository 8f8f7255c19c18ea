"""The write loop: plan on what is proven, sign, note, send; and again, when somebody else was faster.

Source: docs/spec/vdrive.md, sections 6.6, 8.8 and 9.1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto.vdrive_keys import WriteKeys, log_name, slot_of
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import EntryOpener
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.change_queue import Change
from holdfast.grid.vdrive.commits import NewOne, SignedCommit, new_one, signed_commit
from holdfast.grid.vdrive.contexts import AT_ONCE_MAX, VdriveCore, fetch_context, prove
from holdfast.grid.vdrive.delivery import TRANSIENT, Conflict, Patience, UndecidedError, deliver
from holdfast.grid.vdrive.healing import Healing
from holdfast.grid.vdrive.memory import KnownHead
from holdfast.grid.vdrive.proofs import ProvenContext
from holdfast.grid.vdrive.resolving import resolve_unanswered
from holdfast.grid.vdrive.signing import KEEP, HeadWords, signed_change
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.turns import Turns
from holdfast.grid.vdrive.views import ChangeResult, CreatePlan, EntriesView, EntryChange, VerifiedHead
from holdfast.interfaces.vdrive import CommitAnswer, Context
from holdfast.interfaces.vdrive_errors import (
    HeadConflictError,
    NoSuchDirectoryError,
    RollbackDetectedError,
    VdriveRefusalError,
)
from holdfast.protocol.vdrive_commit_messages import encode_commit_request

log = structlog.get_logger(__name__)

CONFLICTS_BEFORE_TURNS = 3


@dataclass(slots=True)
class _Target:
    """A directory that a batch is about.

    Attributes:
        slots: all names that its changes look at, by slot.
        context: what is known of them.
    """

    state: DirectoryState
    keys: WriteKeys = field(repr=False)
    opener: EntryOpener = field(repr=False)
    sealer: EntrySealer = field(repr=False)
    slots: dict[bytes, str] = field(default_factory=dict, repr=False)
    context: ProvenContext | None = None


class ChangeWriter:
    """Makes batches of changes at one service."""

    def __init__(self, core: VdriveCore, place: VdrivePlace, healing: Healing) -> None:
        self._core = core
        self._place = place
        self._healing = healing

    async def run(self, batch: Sequence[Change]) -> None:
        """Make changes in one commit, and give each of them its result.

        What the server refuses as a whole is tried again in halves: a change has nothing to do with what is
        wrong with another one.
        """
        try:
            await self._make(batch)
        except UndecidedError:
            pass  # whoever waited for it has given up; the journal knows
        except HoldfastError as error:
            live = [change for change in batch if change.wanted]
            if len(live) < 2 or not isinstance(error, VdriveRefusalError):
                for change in live:
                    change.fail(error)
                return
            middle = len(live) // 2
            await self.run(live[:middle])
            await self.run(live[middle:])

    async def _make(self, batch: Sequence[Change]) -> None:
        try:
            await _Batch(self._core, self._place, batch).make()
        except RollbackDetectedError:
            if not self._core.settings.auto_heal or not await self._healed(batch):
                raise
            await _Batch(self._core, self._place, batch).make()

    async def _healed(self, batch: Sequence[Change]) -> bool:
        """Give the server back what it has lost of the directories; return whether that was all."""
        parts = {part.state.index: part for change in batch for part in change.parts}
        for part in parts.values():
            if not (await self._healing.replay(part.state, part.keys.verify_key, part.keys)).complete:
                return False
        return True


class _Batch:
    def __init__(self, core: VdriveCore, place: VdrivePlace, changes: Sequence[Change]) -> None:
        self._core = core
        self._place = place
        self._server = core.servers.server(place)
        self._sid = core.servers.service_id(place)
        self._changes = changes
        self._targets: dict[bytes, _Target] = {}
        for change in changes:
            for part in change.parts:
                target = self._targets.setdefault(
                    part.state.index, _Target(part.state, part.keys, part.opener, part.sealer)
                )
                target.slots.update(part.names)
        self._heartbeat = next((change.heartbeat for change in changes if change.heartbeat != KEEP), KEEP)
        self._new: dict[bytes, NewOne] = {}
        self._plans: dict[bytes, CreatePlan] = {}
        self._conflicts = 0
        self._turns = Turns(
            self._server, self._sid, {index: target.keys for index, target in self._targets.items()}
        )

    # -- the loop

    async def make(self) -> None:
        """Raises what fails all changes alike; UndecidedError if nobody waits for them any more."""
        for target in self._targets.values():
            await resolve_unanswered(
                self._core, self._server, self._sid, target.state, target.keys, self._patience()
            )
        while True:
            await self._look()
            wanted = self._planned()
            if not wanted:
                return
            if not await self._finish_idle(wanted):
                return
            commit = await self._signed(wanted)
            asked = {index: self._core.memory.known(index) for index in self._targets}
            if await self._commit(list(wanted), commit, asked):
                return
            await self._pause()

    async def _look(self) -> None:
        """Have a context of every directory, from before if there is one."""
        missing = []
        for target in self._targets.values():
            if target.context is None:
                known = self._core.memory.known(target.state.index)
                target.context = self._core.states.context_for(target.state, target.slots, known)
            if target.context is None:
                missing.append(target)
        await asyncio.gather(*map(self._fetch, missing))

    async def _fetch(self, target: _Target) -> None:
        patience = self._patience()
        while True:
            try:
                target.context = await fetch_context(
                    self._core, target.state, target.keys.verify_key, target.slots, writing=True
                )
            except TRANSIENT as error:
                if not await patience.after(error):
                    raise UndecidedError from None
            else:
                return

    def _planned(self) -> dict[Change, list[tuple[bytes, Sequence[EntryChange]]]]:
        """Return what each change that is still wanted wants now; those that give up have their result."""
        planned: dict[Change, list[tuple[bytes, Sequence[EntryChange]]]] = {}
        for change in self._changes:
            if not change.wanted:
                continue
            try:
                lists = change.plan([self._view(part.state.index, part.names) for part in change.parts])
                planned[change] = [
                    (part.state.index, _checked(entries, part.names.values()))
                    for part, entries in zip(change.parts, lists, strict=True)
                ]
            except Exception as error:  # whatever a plan raises is for whoever made it
                change.fail(error)
        return planned

    def _view(self, index: bytes, names: Mapping[bytes, str]) -> EntriesView:
        target = self._targets[index]
        context = target.context
        assert context is not None
        opener = target.opener
        sealed = {name: context.entries.get(slot) for slot, name in names.items()}
        return EntriesView(
            context.head.version,
            {name: None if entry is None else opener.open(entry) for name, entry in sealed.items()},
        )

    async def _finish_idle(self, planned: dict[Change, list[tuple[bytes, Sequence[EntryChange]]]]) -> bool:
        """Give changes that have nothing to do their result; return whether others are left."""
        for change, parts in list(planned.items()):
            if change.creates or change.heartbeat != KEEP or any(entries for _, entries in parts):
                continue
            del planned[change]
            heads = [self._head(part.state.index) for part in change.parts]
            change.done.set_result(ChangeResult(tuple(heads), changed=False))
        return bool(planned)

    def _head(self, index: bytes) -> VerifiedHead:
        context = self._targets[index].context
        assert context is not None
        return context.head

    async def _signed(
        self, planned: Mapping[Change, Sequence[tuple[bytes, Sequence[EntryChange]]]]
    ) -> SignedCommit:
        entries: dict[bytes, list[EntryChange]] = {}
        for parts in planned.values():
            for index, some in parts:
                entries.setdefault(index, []).extend(some)
        creates = [create for change in planned for create in change.creates]
        count = sum(map(len, entries.values())) + sum(len(create.entries) for create in creates)
        if count <= AT_ONCE_MAX:
            return self._sign(entries, creates)
        return await asyncio.to_thread(self._sign, entries, creates)

    def _sign(
        self, entries: Mapping[bytes, Sequence[EntryChange]], creates: Sequence[CreatePlan]
    ) -> SignedCommit:
        now = int(self._core.clock())
        for create in creates:
            self._plans[create.write_key] = create
            if create.write_key not in self._new:  # the same bytes at every attempt
                self._new[create.write_key] = new_one(create, now)
        wanted = []
        for index, some in entries.items():
            target = self._targets[index]
            assert target.context is not None
            if some or self._heartbeat != KEEP:
                wanted.append((target.keys, target.sealer, target.context, some))
        return signed_commit(
            wanted,
            [self._new[create.write_key] for create in creates],
            HeadWords(now=now, heartbeat=self._heartbeat),
            self._sid,
            self._core.servers.account(self._sid),
        )

    # -- one attempt

    async def _commit(
        self, changes: Sequence[Change], commit: SignedCommit, asked: Mapping[bytes, KnownHead | None]
    ) -> bool:
        """Send a commit; return True if it was made, False if others were faster."""
        journal = self._core.memory.journal
        number = await journal.begin(
            self._sid, encode_commit_request(commit.parcel.request), commit.journal_heads()
        )
        for change in changes:
            change.in_the_open = True
        shown = replace(commit.parcel.authority, turns=self._turns.held)
        try:
            outcome = await deliver(self._server, replace(commit.parcel, authority=shown), self._patience())
        except VdriveRefusalError:
            await journal.refused(number)
            self._not_in_the_open(changes)
            raise
        if isinstance(outcome, Conflict):
            await self._learn(outcome.contexts, commit, asked)
            if not self._is_on_chain(commit):
                await journal.refused(number)
                self._not_in_the_open(changes)
                return False
        else:
            self._check_answer(commit, outcome)
        await self._settle(commit, asked)
        await journal.applied(number)
        self._finish(changes, commit)
        return True

    def _check_answer(self, commit: SignedCommit, answer: CommitAnswer) -> None:
        if not commit.is_answered_by(answer):
            told = [[one.index, one.version, one.head_hash] for one in answer.directories]
            self._core.guard.misbehaved(
                self._state(commit.journal_heads()[-1].index),
                "it says to have made another commit than the one it was sent",
                *told,
            )

    async def _settle(self, commit: SignedCommit, asked: Mapping[bytes, KnownHead | None]) -> None:
        """Remember the heads that were made, and what follows from them."""
        guard, states = self._core.guard, self._core.states
        for index, change in commit.changes.items():
            state = self._targets[index].state
            head = change.after.head
            state.add_verified(head)
            await guard.observe(self._server, state, head, asked[index], writing=True)
            known = self._core.memory.known(index)
            if known is None or known.head_hash == head.head_hash:
                states.cache(state, change.after)
        for new in commit.created:
            await guard.observe(self._server, self._state(new.index), new.head, None)

    def _finish(self, changes: Sequence[Change], commit: SignedCommit) -> None:
        created = {new.keys.write_key: new.head for new in commit.created}
        for change in changes:
            heads = [
                commit.changes[index].after.head if index in commit.changes else self._head(index)
                for index in (part.state.index for part in change.parts)
            ]
            heads += [created[create.write_key] for create in change.creates]
            if change.wanted:
                change.done.set_result(ChangeResult(tuple(heads), changed=True))

    # -- conflicts

    async def _learn(
        self,
        contexts: Sequence[Context],
        commit: SignedCommit,
        asked: Mapping[bytes, KnownHead | None],
    ) -> None:
        """Take from a conflict's contexts, once proven, what the next attempt is planned on."""
        given = {context.index: context for context in contexts}
        for index, target in self._targets.items():
            target.context = None
            self._core.states.cache(target.state, None)
            context = given.get(index)
            if context is None or index not in commit.changes:
                continue
            slots = commit.changes[index].slots
            await prove(
                self._core, target.state, target.keys.verify_key, context, slots, asked[index], writing=True
            )
        for new in commit.created:
            if new.change is not None:
                await self._learn_of_new(new)

    async def _learn_of_new(self, new: NewOne) -> None:
        """See whether a directory that is to be made has been made before, and what it lacks."""
        plan = self._plans[new.keys.write_key]
        state = self._state(new.index)
        slots = [slot_of(new.keys.read.name_key, entry.name) for entry in plan.entries]
        try:
            context = await fetch_context(self._core, state, new.keys.verify_key, slots, writing=True)
        except NoSuchDirectoryError:
            return
        missing = [
            entry for slot, entry in zip(slots, plan.entries, strict=True) if slot not in context.entries
        ]
        change = None
        if missing:
            change = signed_change(
                new.keys, EntrySealer(new.keys), context, missing, HeadWords(now=int(self._core.clock()))
            )
        self._new[new.keys.write_key] = replace(new, found=context.head, change=change)

    def _is_on_chain(self, commit: SignedCommit) -> bool:
        """Tell whether a commit was made after all, and the server says now that it was not first."""
        heads = [(self._targets[index].state, change.after.head) for index, change in commit.changes.items()]
        return bool(heads) and all(state.chain.get(h.version) == h.head_hash for state, h in heads)

    async def _pause(self) -> None:
        """Let others go first; from the third time on, ask to be the only one for a moment."""
        self._conflicts += 1
        error = HeadConflictError("others wrote to the directory all the time")
        for change in self._changes:
            change.conflicts = self._conflicts
            change.trouble = error
        if self._conflicts < CONFLICTS_BEFORE_TURNS:
            limit_s = self._core.settings.pause_s * 2 ** (self._conflicts - 1)
            await asyncio.sleep(random.uniform(0, limit_s))  # noqa: S311  (to come apart, not to be secret)
            return
        log.debug("turns are asked for", directories=[log_name(index) for index in self._targets])
        if not await self._turns.take(self._patience()):
            raise UndecidedError

    # -- small matters

    def _state(self, index: bytes) -> DirectoryState:
        """Return the state of a directory of this batch, or of one that it makes."""
        if index in self._targets:
            return self._targets[index].state
        return self._core.states.get(index, self._place)

    def _patience(self) -> Patience:
        return Patience(self._is_wanted, self._note)

    def _is_wanted(self) -> bool:
        return any(change.wanted for change in self._changes)

    def _note(self, trouble: HoldfastError) -> None:
        for change in self._changes:
            change.trouble = trouble

    @staticmethod
    def _not_in_the_open(changes: Sequence[Change]) -> None:
        for change in changes:
            change.in_the_open = False


def _checked(entries: Sequence[EntryChange], names: Collection[str]) -> list[EntryChange]:
    """Return what a plan wants of one directory, if it keeps to the names it was to look at."""
    wanted = [child_name(entry.name) for entry in entries]
    if len(set(wanted)) != len(wanted) or not set(wanted) <= set(names):
        raise ValueError("a change names a child twice, or one that it was not to look at")
    return list(entries)
