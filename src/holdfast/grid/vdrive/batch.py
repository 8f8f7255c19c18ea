"""The write loop: plan on what is proven, sign, note, send; and again, when somebody else was faster.

Source: docs/spec/vdrive.md, sections 6.6, 8.8 and 9.1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import structlog

from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto.vdrive_keys import log_name
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.operations import OperationsTooLargeError
from holdfast.grid.vdrive.change_queue import Change
from holdfast.grid.vdrive.commits import SignedCommit, signed_commit
from holdfast.grid.vdrive.contexts import AT_ONCE_MAX, VdriveCore
from holdfast.grid.vdrive.creating import Creations
from holdfast.grid.vdrive.delivery import Conflict, deliver
from holdfast.grid.vdrive.patience import Patience, PatientServer
from holdfast.grid.vdrive.resolving import resolve_unanswered
from holdfast.grid.vdrive.signing import KEEP, HeadWords
from holdfast.grid.vdrive.targets import Asked, Targets
from holdfast.grid.vdrive.turns import Turns
from holdfast.grid.vdrive.views import ChangeResult, CreatePlan, EntryChange
from holdfast.interfaces.vdrive import CommitAnswer
from holdfast.interfaces.vdrive_errors import HeadConflictError, VdriveRefusalError, VdriveTooLargeError
from holdfast.protocol.vdrive_commit_messages import encode_commit_request

log = structlog.get_logger(__name__)

CONFLICTS_BEFORE_TURNS = 3
PAUSE_DOUBLINGS = 5

_Wanted: TypeAlias = Sequence[tuple[bytes, Sequence[EntryChange]]]  # of each directory, by index


class _Sent(NamedTuple):
    """A commit that was noted and sent, and what was remembered then."""

    number: int
    changes: Collection[Change]
    commit: SignedCommit
    asked: Asked


class Batch:
    """Changes that are made together, as long as nothing speaks against it."""

    def __init__(self, core: VdriveCore, place: VdrivePlace, changes: Sequence[Change]) -> None:
        self._core = core
        self._server = core.servers.server(place)
        self._sid = core.servers.service_id(place)
        self._changes = changes
        self._heartbeat = next((change.heartbeat for change in changes if change.heartbeat != KEEP), KEEP)
        looking = PatientServer(self._server, self._patience)
        self._targets = Targets(core, looking, changes)
        self._creations = Creations(core, looking, place)
        keys = {index: target.keys for index, target in self._targets.by_index.items()}
        self._turns = Turns(self._server, self._sid, keys)
        self._conflicts = 0
        self._sent: _Sent | None = None  # as long as nobody knows what became of it

    async def make(self) -> None:
        """Give each change its result, or raise what fails all that have none.

        After an error that somebody has done something about, it may be called again.

        Raises:
            UndecidedError: nobody waits for them any more.
        """
        if self._sent is not None:
            await self._deliver(self._sent)
        for target in self._targets.by_index.values():
            await resolve_unanswered(
                self._core, self._server, self._sid, target.state, target.keys, self._patience
            )
        while True:
            await self._targets.look()
            wanted, others = self._planned()
            if wanted:
                if not await self._commit(wanted, await self._signed(wanted)):
                    await self._let_others_go_first(may_ask=True)
            elif not others:
                return
            elif not await self._targets.look_again(others):
                await self._let_others_go_first(may_ask=False)

    # -- planning

    def _planned(self) -> tuple[dict[Change, _Wanted], list[Change]]:
        """Return what changes want now, and those that want nothing but cannot be told so for sure yet."""
        wanted: dict[Change, _Wanted] = {}
        unsure: list[Change] = []
        for change in self._changes:
            if not change.wanted:
                continue
            try:
                planned = self._planned_by(change)
            except Exception as error:  # whatever a plan raises is for whoever made it
                if self._targets.was_so(change):
                    change.fail(error)
                else:
                    unsure.append(change)
                continue
            if change.creates or change.heartbeat != KEEP or any(entries for _, entries in planned):
                wanted[change] = planned
            elif self._targets.was_so(change):
                heads = tuple(self._targets.head(part) for part in change.parts)
                change.done.set_result(ChangeResult(heads, changed=False))
            else:
                unsure.append(change)
        return wanted, unsure

    def _planned_by(self, change: Change) -> _Wanted:
        lists = change.plan([self._targets.view(part) for part in change.parts])
        return [
            (part.state.index, _checked(entries, part.names.values()))
            for part, entries in zip(change.parts, lists, strict=True)
        ]

    async def _signed(self, wanted: Mapping[Change, _Wanted]) -> SignedCommit:
        entries: dict[bytes, list[EntryChange]] = {}
        for parts in wanted.values():
            for index, some in parts:
                entries.setdefault(index, []).extend(some)
        creates = [create for change in wanted for create in change.creates]
        count = sum(map(len, entries.values())) + sum(len(create.entries) for create in creates)
        try:
            if count <= AT_ONCE_MAX:
                return self._sign(entries, creates)
            return await asyncio.to_thread(self._sign, entries, creates)
        except OperationsTooLargeError as error:
            raise VdriveTooLargeError(str(error)) from None

    def _sign(
        self, entries: Mapping[bytes, Sequence[EntryChange]], creates: Sequence[CreatePlan]
    ) -> SignedCommit:
        now = int(self._core.clock())
        targets = [
            (self._targets.by_index[index], some)
            for index, some in entries.items()
            if some or self._heartbeat != KEEP
        ]
        return signed_commit(
            [(target.keys, target.sealer, target.proven, some) for target, some in targets],
            [self._creations.signed(create, now) for create in creates],
            HeadWords(now=now, heartbeat=self._heartbeat),
            self._sid,
            self._core.servers.account(self._sid),
        )

    # -- one attempt

    async def _commit(self, changes: Collection[Change], commit: SignedCommit) -> bool:
        """Note a commit and send it; return True if it was made, False if others were faster."""
        asked = self._targets.asked()
        request = encode_commit_request(commit.parcel.request)
        number = await self._core.memory.journal.begin(self._sid, request, commit.journal_heads())
        for change in changes:
            change.in_the_open = True
        self._sent = _Sent(number, changes, commit, asked)
        return await self._deliver(self._sent)

    async def _deliver(self, sent: _Sent) -> bool:
        journal, commit = self._core.memory.journal, sent.commit
        try:
            outcome = await deliver(self._server, commit.parcel, self._patience(), self._turns)
        except VdriveRefusalError:
            await self._refused(sent)
            raise
        if isinstance(outcome, CommitAnswer):
            self._check_answer(commit, outcome)
        elif not await self._was_made(commit, outcome, sent.asked):
            await self._refused(sent)
            return False
        await self._targets.settle(commit, sent.asked)
        await self._creations.settle(commit)
        await journal.applied(sent.number)
        self._sent = None
        self._finish(sent.changes, commit)
        return True

    async def _was_made(self, commit: SignedCommit, conflict: Conflict, asked: Asked) -> bool:
        """Learn from a conflict; tell whether it says but that this very commit is old by now."""
        await self._targets.learn(conflict.contexts, commit, asked)
        if self._targets.is_on_chain(commit):
            return True
        await self._creations.learn(commit)
        return False

    async def _refused(self, sent: _Sent) -> None:
        await self._core.memory.journal.refused(sent.number)
        self._sent = None
        for change in sent.changes:
            change.in_the_open = False

    def _check_answer(self, commit: SignedCommit, answer: CommitAnswer) -> None:
        if commit.is_answered_by(answer):
            return
        told = [[one.index, one.version, one.head_hash] for one in answer.directories]
        index = commit.journal_heads()[-1].index
        target = self._targets.by_index.get(index)
        state = self._creations.state(index) if target is None else target.state
        reason = "it says to have made another commit than the one it was sent"
        self._core.guard.misbehaved(state, reason, *told)

    def _finish(self, changes: Collection[Change], commit: SignedCommit) -> None:
        created = {new.keys.write_key: new.head for new in commit.created}
        for change in changes:
            heads = [self._targets.head(part) for part in change.parts]
            heads += [created[create.write_key] for create in change.creates]
            if change.wanted:
                change.done.set_result(ChangeResult(tuple(heads), changed=True))

    async def _let_others_go_first(self, *, may_ask: bool) -> None:
        """Pause; or, from the third time on, ask to be the only one for a moment.

        Args:
            may_ask: False for whoever will commit nothing, since only a commit ends a turn early.
        """
        self._conflicts += 1
        self._note(HeadConflictError("others wrote to the directory all the time"))
        if may_ask and self._conflicts >= CONFLICTS_BEFORE_TURNS:
            log.debug("turns are asked for", directories=[log_name(i) for i in self._targets.by_index])
            await self._turns.take(self._patience())
            return
        limit_s = self._core.settings.pause_s * 2 ** min(self._conflicts - 1, PAUSE_DOUBLINGS)
        await asyncio.sleep(random.uniform(0, limit_s))  # noqa: S311  (to come apart, not to be secret)

    # -- those who wait

    def _patience(self) -> Patience:
        return Patience(lambda: any(change.wanted for change in self._changes), self._note)

    def _note(self, trouble: HoldfastError) -> None:
        for change in self._changes:
            change.trouble = trouble


def _checked(entries: Sequence[EntryChange], names: Collection[str]) -> list[EntryChange]:
    """Return what a plan wants of one directory, if it keeps to the names it was to look at."""
    wanted = [child_name(entry.name) for entry in entries]
    if len(set(wanted)) != len(wanted) or not set(wanted) <= set(names):
        raise ValueError("a change names a child twice, or one that it was not to look at")
    return list(entries)
