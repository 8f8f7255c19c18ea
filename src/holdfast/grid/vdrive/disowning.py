"""Gives up what a server has lost for good, and makes this client's own changes among it anew.

Only a person may ask for it: what others did in the lost versions is gone once they see this.

Source: docs/spec/vdrive.md, sections 7.6 and 14.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from holdfast.crypto.vdrive_keys import WriteKeys, log_name
from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import parse_head
from holdfast.formats.vdrive.open_entry import EntryOpener, OpenEntry
from holdfast.formats.vdrive.operations import Add, Delete, parse_operations
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.commits import parcel
from holdfast.grid.vdrive.contexts import VdriveCore, fetch_context
from holdfast.grid.vdrive.delivery import Conflict, deliver
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.healing import HealReport
from holdfast.grid.vdrive.journal import Journal, JournalCommit, JournalHead
from holdfast.grid.vdrive.patience import Patience, UndecidedError
from holdfast.grid.vdrive.proofs import prove_context
from holdfast.grid.vdrive.signing import HeadWords, signed_change
from holdfast.grid.vdrive.views import ChangeResult, DeleteEntry, EntriesView, EntryChange, PutEntry
from holdfast.interfaces.vdrive import CommitRequest
from holdfast.interfaces.vdrive_errors import VdriveRefusalError, VdriveUnavailableError
from holdfast.protocol.vdrive_commit_messages import decode_commit_request, encode_commit_request

log = structlog.get_logger(__name__)

T = TypeVar("T")

_NAMES_AT_ONCE = 500
_DEADLINE_S = 30.0
_NO_SLOT = bytes(32)  # of no name; a context is asked for some slot

Change = Callable[[Sequence[str], Callable[[EntriesView], list[EntryChange]]], Awaitable[ChangeResult]]
"""Changes names of the directory."""


@dataclass(frozen=True, slots=True)
class LostChange:
    """What all lost commits together did to one name.

    Attributes:
        name: empty as long as only its slot is known.
        before: version of the entry that they found; None if there was none.
        after: what they left; None if nothing.
    """

    slot: bytes
    name: str
    before: int | None
    after: OpenEntry | None


async def disown(
    core: VdriveCore, directory: VdriveDirectory, keys: WriteKeys, report: HealReport, change: Change
) -> HealReport:
    """Commit a head that gives up everything beyond the server's version; then make lost changes anew."""
    lost = core.memory.journal.following(directory.index, report.version)
    await _say_so(core, directory, keys, report.version)
    return await _make_anew(core, directory, keys, report, _GivenUp(report.version, lost), change)


async def complete(
    core: VdriveCore, directory: VdriveDirectory, keys: WriteKeys, report: HealReport, change: Change
) -> HealReport:
    """Make lost changes anew that were given up before, if that was interrupted."""
    begun = _begun(core.memory.journal, directory.index)
    if begun is None:
        return report
    return await _make_anew(core, directory, keys, report, begun, change)


@dataclass(frozen=True, slots=True)
class _GivenUp:
    """The own commits beyond version ``base``, which are no part of history any more."""

    base: int
    lost: Sequence[JournalCommit]


def _begun(journal: Journal, index: bytes) -> _GivenUp | None:
    """Return what was given up as far as the journal still has it; it forgets that at the end."""
    order = journal.order_of(index)
    highest, found = -1, None
    for number, version, made in order:
        if made and version <= highest:
            commit = journal.commit(number)
            base = None if commit is None else _disown_base(commit, index)
            found = found if base is None else (number, base)
        highest = max(highest, version)
    if found is None:
        return None
    until, base = found
    lost = (journal.commit(number) for number, version, _ in order if number < until and version > base)
    return _GivenUp(base, [commit for commit in lost if commit is not None])


def _disown_base(commit: JournalCommit, index: bytes) -> int | None:
    sections = decode_commit_request(commit.request).sections
    heads = (parse_head(section.head.head) for section in sections if section.index == index)
    return next((head.disown_base for head in heads), None)


async def _make_anew(
    core: VdriveCore,
    directory: VdriveDirectory,
    keys: WriteKeys,
    report: HealReport,
    given_up: _GivenUp,
    change: Change,
) -> HealReport:
    lost, base = given_up.lost, given_up.base
    await _make_directories(core, directory, lost)
    made: list[str] = []
    conflicts: list[str] = []
    opener = EntryOpener(keys.read, keys)
    changes = await _named(core, directory, opener, lost_changes(opener, directory.index, lost, base))
    for some in _batches(changes):
        fitting: list[LostChange] = []

        def plan(view: EntriesView, some: Sequence[LostChange] = some) -> list[EntryChange]:
            nonlocal fitting
            fitting = [one for one in some if _fits(view.get(one.name), one, base)]
            return [_again(one) for one in fitting]

        await change([one.name for one in some], plan)
        made += [one.name for one in fitting]
        conflicts += [one.name for one in some if one not in fitting]
    await core.memory.journal.gave_up(directory.index, [commit.number for commit in lost])
    head = await directory.head()
    return replace(
        report, version=head.version, disowned=True, made_again=tuple(made), conflicts=tuple(conflicts)
    )


def lost_changes(
    opener: EntryOpener, index: bytes, lost: Sequence[JournalCommit], version: int
) -> list[LostChange]:
    """Return what commits beyond ``version`` did to each name of a directory, all of them together."""
    found: dict[bytes, LostChange] = {}
    names: dict[bytes, str] = {}
    for commit in lost:
        for section in decode_commit_request(commit.request).sections:
            written = parse_head(section.head.head).version
            if section.index != index or written <= version:
                continue
            for operation in parse_operations(section.operations):
                before = None if isinstance(operation, Add) else operation.old
                after = None
                if not isinstance(operation, Delete):
                    boxes = operation.name, operation.write, operation.read, operation.metadata
                    try:
                        after = opener.open(SealedEntry(operation.slot, written, *boxes))
                    except IntegrityError:
                        continue
                    names[operation.slot] = after.name
                earlier = found.get(operation.slot)
                if earlier is not None:
                    before = earlier.before
                found[operation.slot] = LostChange(
                    operation.slot, names.get(operation.slot, ""), before, after
                )
    return [one for one in found.values() if one.before is not None or one.after is not None]


async def _named(
    core: VdriveCore, directory: VdriveDirectory, opener: EntryOpener, changes: Sequence[LostChange]
) -> list[LostChange]:
    """Return the changes with their names; deletions of what is not there are done already."""
    unnamed = {one.slot for one in changes if not one.name}
    names: dict[bytes, str] = {}
    for slots in _batches(sorted(unnamed)):
        context = await fetch_context(
            core, core.server(directory.state), directory.state, directory.read_keys.verify_key, slots
        )
        for slot, entry in context.entries.items():
            names[slot] = opener.open(entry).name
    named = [replace(one, name=one.name or names.get(one.slot, "")) for one in changes]
    return [one for one in named if one.name]


def _batches(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + _NAMES_AT_ONCE] for start in range(0, len(items), _NAMES_AT_ONCE)]


async def _say_so(core: VdriveCore, directory: VdriveDirectory, keys: WriteKeys, base: int) -> None:
    """Sign and commit the head that gives up what is remembered beyond version ``base``."""
    state, server = directory.state, core.server(directory.state)
    sid = core.servers.service_id(state.place)
    known = core.memory.known(state.index)
    end = asyncio.get_running_loop().time() + _DEADLINE_S
    patience = Patience(lambda: asyncio.get_running_loop().time() < end, lambda trouble: None)
    while True:
        answer = await server.context(state.index, [_NO_SLOT])
        head = core.guard.verify(state, answer.head, keys.verify_key)
        context = prove_context(head, answer.tree, answer.entries, [_NO_SLOT])
        now = int(core.clock())
        if known is not None:  # it has to be newer than what it gives up
            now = max(now, parse_head(known.signed.head).time + 1)
        words = HeadWords(now=now, disown_base=min(base, head.version))
        signed = signed_change(keys, EntrySealer(keys), context, [], words)
        sent = parcel(CommitRequest((), (signed.section,)), {state.index: keys}, sid, None)
        after = signed.after.head
        enabler = sent.authority.enablers[state.index]
        heads = [JournalHead(state.index, after.version, after.head_hash, enabler)]
        number = await core.memory.journal.begin(sid, encode_commit_request(sent.request), heads)
        try:
            outcome = await deliver(server, sent, patience)
        except UndecidedError:
            raise VdriveUnavailableError("the server did not answer in time", may_be_applied=True) from None
        if not isinstance(outcome, Conflict):
            break
        await core.memory.journal.refused(number)
    await core.guard.observe(server, state, after, known)
    await core.memory.journal.applied(number)
    log.warning("lost history of a directory was disowned", directory=log_name(state.index), base=base)


async def _make_directories(
    core: VdriveCore, directory: VdriveDirectory, lost: Sequence[JournalCommit]
) -> None:
    """Make directories again that were made in lost commits, with their first entries."""
    server = core.server(directory.state)
    sid = core.servers.service_id(directory.cap.place)
    for commit in lost:
        request = decode_commit_request(commit.request)
        made = {new.index for new in request.creates}
        if not made:
            continue
        sections = tuple(section for section in request.sections if section.index in made)
        enablers = {head.index: head.enabler for head in commit.heads}
        sent = parcel(CommitRequest(request.creates, sections), {}, sid, core.servers.account(sid), enablers)
        try:
            await server.commit(sent.request, sent.authority)
        except VdriveRefusalError as error:
            log.warning("a lost directory could not be made again", reason=str(error))


def _fits(entry: OpenEntry | None, lost: LostChange, base: int) -> bool:
    """Tell whether a name leads to what the lost changes found there. What they found beyond ``base`` is lost
    itself, and an entry of that version is another one."""
    if lost.before is not None and lost.before > base:
        return False
    return (None if entry is None else entry.version) == lost.before


def _again(lost: LostChange) -> EntryChange:
    if lost.after is None:
        return DeleteEntry(lost.name)
    return PutEntry(lost.name, lost.after.child, lost.after.metadata)
