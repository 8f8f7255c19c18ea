"""A virtual drive server in memory that behaves, and ways to make it misbehave.

For tests of what a client does: no socket, no disk. It keeps every version, so that it can go back to any.
"""

from __future__ import annotations

import asyncio
import copy
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto.vdrive_keys import enabler_proof_holds, index_of, stored_enabler
from holdfast.errors import ServerError
from holdfast.formats.vdrive.entry import NameEntry, SealedEntry, body_digests_of, digests_of
from holdfast.formats.vdrive.head import SignedHead, head_hash, parse_head, verified_head
from holdfast.formats.vdrive.opening import Subtree, witness_of
from holdfast.formats.vdrive.operations import Add, Delete, operations_digest, parse_operations
from holdfast.formats.vdrive.page import page_witness
from holdfast.formats.vdrive.tree import Leaf, root_of
from holdfast.interfaces.vdrive import (
    HEADS_MAX,
    PAGE_DEFAULT,
    AccountState,
    Authority,
    Changes,
    CommitAnswer,
    CommitRequest,
    Committed,
    Context,
    DirectoryInfo,
    HeadRange,
    LeaseInfo,
    NewDirectory,
    Page,
    Section,
    Turn,
    VdriveVersion,
)
from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadProofError,
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    HistoryPrunedError,
    NoPublicRootError,
    NoSuchDirectoryError,
    NotAuthorisedToCreateError,
    OperationsMismatchError,
    RefusedHeadError,
    RootMismatchError,
    SnapshotExpiredError,
    TurnTakenError,
)

T = TypeVar("T")

TURN_S = 3
TURN_PAUSE_S = 1.0


@dataclass(slots=True)
class VdriveFaults:
    """How a server misbehaves. Calls are named by the methods of ``VirtualDriveServer``.

    Attributes:
        dead: every call fails.
        hung: every call waits until it is cancelled.
        hung_calls, failing_calls: the calls that do.
        delay_s: before each call, as on a slow line.
        lost_requests, lost_answers: how many of the next calls of a name never arrive, or are never answered.
        refusals: what the next calls of a name are refused with.
        rewrite: makes of the true answer of a call what is answered.
    """

    dead: bool = False
    hung: bool = False
    hung_calls: set[str] = field(default_factory=set)
    failing_calls: set[str] = field(default_factory=set)
    delay_s: float = 0.0
    lost_requests: dict[str, int] = field(default_factory=dict)
    lost_answers: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, list[Exception]] = field(default_factory=dict)
    rewrite: dict[str, Callable[[Any], Any]] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryDirectory:
    """Attributes:
    heads: by version.
    states: entries by slot, of each version.
    floor: lowest version, but 0, whose head is kept; ``states_floor`` likewise for entries.
    """

    verify_key: bytes
    commitment: bytes
    refresh_id: bytes
    enabler: bytes
    heads: list[SignedHead]
    states: list[Mapping[bytes, SealedEntry]]
    floor: int = 1
    states_floor: int = 0

    @property
    def version(self) -> int:
        return len(self.heads) - 1


class MemoryVdriveServer:
    """Implements ``interfaces.vdrive.VirtualDriveServer``, but for bundles.

    Attributes:
        directories: by index.
        calls: how often each call was made.
        accounts: tokens of those who may make directories; None: all may.
        received: every commit that arrived.
    """

    def __init__(self, sid: bytes | None = None, clock: Callable[[], float] = time.time) -> None:
        self.sid = sid or os.urandom(32)
        self.faults = VdriveFaults()
        self.directories: dict[bytes, MemoryDirectory] = {}
        self.calls: dict[str, int] = {}
        self.accounts: set[str] | None = None
        self.received: list[CommitRequest] = []
        self._leases: dict[bytes, dict[bytes, int]] = {}
        self._turns: dict[bytes, tuple[bytes, float]] = {}
        self._clock = clock
        self._news = asyncio.Event()

    @property
    def place(self) -> VdrivePlace:
        """What capabilities say of this server."""
        return VdrivePlace(self.sid, "memorymemorymemorymemory22", ("memory.invalid:1",))

    # -- going back in time

    def saved(self) -> dict[bytes, MemoryDirectory]:
        """Return what ``restore`` takes."""
        return copy.deepcopy(self.directories)

    def restore(self, saved: dict[bytes, MemoryDirectory]) -> None:
        """Be as at an earlier time."""
        self.directories = copy.deepcopy(saved)

    # -- the interface

    async def version(self) -> VdriveVersion:
        return await self._answer("version", self._version)

    async def public_root(self) -> str:
        raise NoPublicRootError("there is none")

    async def commit(self, request: CommitRequest, authority: Authority) -> CommitAnswer:
        return await self._answer("commit", lambda: self._commit(request, authority))

    async def describe(self, index: bytes) -> DirectoryInfo:
        return await self._answer("describe", lambda: self._describe(index))

    async def child(self, index: bytes, slot: bytes) -> Context:
        return await self._answer("child", lambda: self._context(index, [slot]))

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        return await self._answer("context", lambda: self._context(index, slots))

    async def page(
        self,
        index: bytes,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
        names_only: bool = False,
    ) -> Page:
        return await self._answer("page", lambda: self._page(index, at, after, limit, names_only))

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange:
        return await self._answer("heads", lambda: self._heads(index, first, last))

    async def wait(self, index: bytes, version: int, timeout_s: float) -> SignedHead | None:
        await self._begin("wait")
        try:
            async with asyncio.timeout(timeout_s):
                while self._directory(index).version <= version:
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._directory(index).heads[-1]

    async def changes(
        self,
        index: bytes,
        since: int,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Changes:
        return await self._answer("changes", lambda: self._changes(index, since, at, after, limit))

    async def turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        return await self._answer("turn", lambda: self._turn(enablers))

    async def enrol(self, index: bytes, enabler: bytes, proof: bytes) -> None:
        return await self._answer("enrol", lambda: self._enrol(index, enabler, proof))

    async def renew_lease(self, refresh_id: bytes, secret: bytes, seconds: int) -> int:
        return await self._answer("renew_lease", lambda: self._renew(refresh_id, secret, seconds))

    async def cancel_lease(self, refresh_id: bytes, secret: bytes) -> None:
        await self._begin("cancel_lease")
        self._held(refresh_id).pop(secret, None)

    async def lease_info(self, refresh_id: bytes, secret: bytes) -> LeaseInfo:
        held = self._held(refresh_id)
        return LeaseInfo(max(held.values(), default=None), len(held))

    async def account(self, token: str) -> AccountState:
        raise NotAuthorisedToCreateError("accounts are not kept here")

    def export(self, index: bytes) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def import_bundle(
        self, index: bytes, bundle: AsyncIterator[bytes], enabler: bytes, proof: bytes, account: str | None
    ) -> Committed:
        raise NotImplementedError

    # -- faults

    async def _begin(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        faults = self.faults
        await asyncio.sleep(faults.delay_s)
        if faults.dead or call in faults.failing_calls or _counted_down(faults.lost_requests, call):
            raise ServerError("it cannot be reached: connection refused")
        if faults.hung or call in faults.hung_calls:
            await asyncio.Event().wait()
        if faults.refusals.get(call):
            raise faults.refusals[call].pop(0)

    async def _answer(self, call: str, act: Callable[[], T]) -> T:
        await self._begin(call)
        answer = act()
        await asyncio.sleep(self.faults.delay_s)
        if _counted_down(self.faults.lost_answers, call):
            raise ServerError("it cannot be reached: connection reset")
        rewrite = self.faults.rewrite.get(call)
        return answer if rewrite is None else rewrite(answer)

    # -- what is done

    def _version(self) -> VdriveVersion:
        return VdriveVersion(1, {}, "none", "open", (), "0.1.0", "0.1.0", self.sid)

    def _directory(self, index: bytes) -> MemoryDirectory:
        if index not in self.directories:
            raise NoSuchDirectoryError("there is no such directory")
        return self.directories[index]

    def _commit(self, request: CommitRequest, authority: Authority) -> CommitAnswer:
        self.received.append(request)
        staged = dict(self.directories)
        if request.creates and self.accounts is not None and authority.account not in self.accounts:
            raise NotAuthorisedToCreateError("making directories takes an account")
        for new in request.creates:
            self._create(staged, new, authority)
        applied = [self._section(staged, section, authority) for section in request.sections]
        if any(applied) and not all(applied):
            raise self._conflict(request)
        self.directories = staged
        self._news.set()
        self._news = asyncio.Event()
        for index in authority.turns:
            self._turns.pop(index, None)
        return CommitAnswer(_committed(request), int(self._clock()))

    def _create(self, staged: dict[bytes, MemoryDirectory], new: NewDirectory, authority: Authority) -> None:
        enabler = authority.enablers.get(new.index)
        if enabler is None or new.index != index_of(new.commitment, new.verify_key):
            raise BadCreateError("the parts do not fit together")
        stored = stored_enabler(enabler)
        if not enabler_proof_holds(new.verify_key, new.index, self.sid, stored, new.proof):
            raise BadCreateError("the proof does not hold")
        if verified_head(new.head, new.verify_key, new.index).version != 0:
            raise BadCreateError("it is not a first head")
        old = staged.get(new.index)
        if old is None:
            staged[new.index] = MemoryDirectory(
                new.verify_key, new.commitment, new.refresh_id, stored, [new.head], [{}]
            )
        elif old.heads[0] != new.head or old.enabler != stored:
            raise DirectoryExistsError("there is another one")

    def _section(self, staged: dict[bytes, MemoryDirectory], section: Section, authority: Authority) -> bool:
        """Apply a section; return True if that had been done before."""
        old = staged.get(section.index)
        if old is None:
            raise NoSuchDirectoryError("there is no such directory")
        if stored_enabler(authority.enablers.get(section.index, b"")) != old.enabler:
            raise BadWriteEnablerError("the write enabler is wrong")
        head = verified_head(section.head, old.verify_key, section.index)
        if head.operations_digest != operations_digest(section.operations):
            raise RefusedHeadError("the head is of other operations")
        if head.version < len(old.heads) and old.heads[head.version] == section.head:
            return True
        self._check_turn(section.index, authority.turns.get(section.index))
        if head.version != old.version + 1 or head.previous != head_hash(old.heads[-1].head):
            raise self._conflict(CommitRequest((), (section,)))
        entries = _applied(old.states[-1], section, head.version)
        if root_of(_leaves(entries)) != head.root or len(entries) != head.count:
            raise RootMismatchError("the operations lead elsewhere")
        staged[section.index] = _grown(old, section.head, entries)
        return False

    def _conflict(self, request: CommitRequest) -> HeadConflictError:
        contexts = []
        for section in request.sections:
            slots = [operation.slot for operation in parse_operations(section.operations)]
            contexts.append(self._context(section.index, slots or [bytes(32)]))
        return HeadConflictError("another commit came first", tuple(contexts))

    def _describe(self, index: bytes) -> DirectoryInfo:
        found = self._directory(index)
        return DirectoryInfo(found.heads[-1], found.verify_key, found.commitment, False, 0, None)

    def _context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        found = self._directory(index)
        entries = found.states[-1]
        tree = witness_of(LeafSource(_leaves(entries)), slots)
        return Context(index, found.heads[-1], tree, tuple(entries[s] for s in sorted(slots) if s in entries))

    def _page(self, index: bytes, at: int | None, after: bytes | None, limit: int, names_only: bool) -> Page:
        found = self._directory(index)
        version = found.version if at is None else at
        if not found.states_floor <= version <= found.version:
            raise SnapshotExpiredError("this version is no longer kept")
        state = found.states[version]
        slots = sorted(state)
        start = 0 if after is None else bisect_right(slots, after)
        some = slots[start : start + limit]
        end = some[-1] if start + limit < len(slots) else None
        tree = page_witness(LeafSource(_leaves(state)), after, end)
        entries: Sequence[Any] = [state[slot] for slot in some]
        if names_only:
            bodies = body_digests_of(entries)
            entries = [NameEntry(e.slot, e.version, e.name, b) for e, b in zip(entries, bodies, strict=True)]
        return Page(found.heads[version], tree, tuple(entries), end)

    def _heads(self, index: bytes, first: int, last: int) -> HeadRange:
        found = self._directory(index)
        if 0 < first < found.floor:
            raise HistoryPrunedError("these heads are no longer kept", found.floor)
        some = found.heads[first : min(last, first + HEADS_MAX - 1) + 1]
        return HeadRange(tuple(some), more=first + len(some) <= min(last, found.version))

    def _changes(self, index: bytes, since: int, at: int | None, after: bytes | None, limit: int) -> Changes:
        found = self._directory(index)
        version = found.version if at is None else at
        if not found.states_floor <= since <= version:
            raise SnapshotExpiredError("what was deleted since is no longer known")
        before, now = found.states[since], found.states[version]
        written = {slot for slot, entry in now.items() if entry.version > since}
        told = sorted(slot for slot in written | (before.keys() - now.keys()) if slot > (after or b""))
        some = told[:limit]
        end = some[-1] if len(told) > limit else None
        tree = witness_of(LeafSource(_leaves(now)), some)
        return Changes(
            found.heads[version],
            tree,
            tuple(now[slot] for slot in some if slot in now),
            tuple(slot for slot in some if slot not in now),
            end,
        )

    def _check_turn(self, index: bytes, presented: bytes | None) -> None:
        turn, end = self._turns.get(index, (b"", 0.0))
        now = self._clock()
        if now < end and presented != turn:
            raise TurnTakenError("it is somebody else's turn", retry_after_s=0.05)

    def _turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        now = self._clock()
        for index, enabler in enablers.items():
            if stored_enabler(enabler) != self._directory(index).enabler:
                raise BadWriteEnablerError("the write enabler is wrong")
            if index in self._turns and now < self._turns[index][1] + TURN_PAUSE_S:
                raise TurnTakenError("it is somebody else's turn", retry_after_s=0.05)
        turn = os.urandom(16)
        self._turns |= dict.fromkeys(enablers, (turn, now + TURN_S))
        return Turn(turn, TURN_S)

    def _enrol(self, index: bytes, enabler: bytes, proof: bytes) -> None:
        found = self._directory(index)
        stored = stored_enabler(enabler)
        if not enabler_proof_holds(found.verify_key, index, self.sid, stored, proof):
            raise BadProofError("the proof does not hold")
        found.enabler = stored

    def _held(self, refresh_id: bytes) -> dict[bytes, int]:
        if all(one.refresh_id != refresh_id for one in self.directories.values()):
            raise NoSuchDirectoryError("there is no such directory")
        return self._leases.setdefault(refresh_id, {})

    def _renew(self, refresh_id: bytes, secret: bytes, seconds: int) -> int:
        expires = int(self._clock()) + seconds
        self._held(refresh_id)[secret] = expires
        return expires


class LeafSource:
    """A tree of which nothing is kept but its entries, in the order of slots."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._leaves = leaves
        self._slots = [slot for slot, _ in leaves]

    def kept(self, depth: int, prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return {}

    def leaves(self, subtrees: Sequence[Subtree]) -> Sequence[Sequence[Leaf]]:
        return [
            self._leaves[bisect_left(self._slots, one.prefix) : bisect_right(self._slots, one.last)]
            for one in subtrees
        ]


def _leaves(entries: Mapping[bytes, SealedEntry]) -> list[Leaf]:
    ordered = [entries[slot] for slot in sorted(entries)]
    return list(zip(sorted(entries), digests_of(ordered), strict=True))


def _applied(
    entries: Mapping[bytes, SealedEntry], section: Section, version: int
) -> dict[bytes, SealedEntry]:
    after = dict(entries)
    for one in parse_operations(section.operations):
        old = after.pop(one.slot, None)
        expected = None if isinstance(one, Add) else one.old
        if (None if old is None else old.version) != expected:
            raise OperationsMismatchError("an operation does not fit what is there")
        if not isinstance(one, Delete):
            after[one.slot] = SealedEntry(one.slot, version, one.name, one.write, one.read, one.metadata)
    return after


def _grown(old: MemoryDirectory, head: SignedHead, entries: Mapping[bytes, SealedEntry]) -> MemoryDirectory:
    new = copy.copy(old)
    new.heads = [*old.heads, head]
    new.states = [*old.states, entries]
    return new


def _committed(request: CommitRequest) -> tuple[Committed, ...]:
    changed = {section.index for section in request.sections}
    heads = [new.head for new in request.creates if new.index not in changed]
    heads += [section.head for section in request.sections]
    parsed = [(parse_head(signed.head), head_hash(signed.head)) for signed in heads]
    return tuple(Committed(head.index, head.version, hashed) for head, hashed in parsed)


def _counted_down(counts: dict[str, int], call: str) -> bool:
    if not counts.get(call):
        return False
    counts[call] -= 1
    return True


class FixedServers:
    """Finds servers that are at hand; implements ``grid.vdrive.servers.ServerSource``.

    Attributes:
        moved: by the id of a service, that of the one which has its directories now.
    """

    def __init__(self, *servers: Any, account: str | None = None) -> None:
        self._servers = {server.sid: server for server in servers}
        self._account = account
        self.moved: dict[bytes, bytes] = {}

    def server(self, place: VdrivePlace) -> Any:
        return self._servers[self.service_id(place)]

    def service_id(self, place: VdrivePlace) -> bytes:
        return self.moved.get(place.sid, place.sid)

    def account(self, sid: bytes) -> str | None:
        return self._account
