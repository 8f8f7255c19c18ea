"""Gives a server back what it has lost: the commits of this client, byte for byte, as long as they fit.

Whoever signed them, and in which order they belong, is in the commits themselves. What does not come back,
because the client that sent it does not come back, can only be given up; a person decides that.

Source: docs/spec/vdrive.md, section 14.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from holdfast.crypto.vdrive_keys import WriteKeys, log_name
from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.head import BadHeadError, head_hash, parse_head
from holdfast.grid.vdrive.chains import checked, fetch_heads
from holdfast.grid.vdrive.commits import parcel
from holdfast.grid.vdrive.contexts import VdriveCore
from holdfast.grid.vdrive.journal import JournalCommit
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive import HEADS_MAX, CommitRequest, VirtualDriveServer
from holdfast.interfaces.vdrive_errors import (
    ForkDetectedError,
    HeadConflictError,
    HistoryPrunedError,
    VdriveRefusalError,
)
from holdfast.planning.vdrive_memory import BrokenChainError, Remembered, Verdict
from holdfast.protocol.vdrive_commit_messages import decode_commit_request

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HealReport:
    """What came back, and what did not.

    Attributes:
        found: version the server had.
        version: that it has now.
        remembered: the newest version seen before.
        resent: versions of the directory that were given back.
        disowned: what was lost beyond that was given up.
        made_again: names whose changes were lost, and were made anew.
        conflicts: names whose changes were lost, and are no longer what this client knew; left alone.
    """

    found: int
    version: int
    remembered: int
    resent: tuple[int, ...] = ()
    disowned: bool = False
    made_again: tuple[str, ...] = field(default=(), repr=False)
    conflicts: tuple[str, ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """Nothing that was seen before is missing."""
        return not self.disowned and self.version >= self.remembered

    @property
    def missing(self) -> range:
        """Versions that did not come back."""
        return range(self.version + 1, self.remembered + 1) if not self.disowned else range(0)


class Healing:
    """Heals the directories of one client, each once at a time."""

    def __init__(self, core: VdriveCore) -> None:
        self._core = core
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def replay(self, state: DirectoryState, verify_key: bytes, keys: WriteKeys | None) -> HealReport:
        """Send again what the server has lost of a directory.

        Args:
            keys: None if the directory is held read-only. The journal has what it takes all the same.

        Raises:
            ForkDetectedError: what the server has is no part of the history seen before.
        """
        lock = self._locks.setdefault(state.index, asyncio.Lock())
        async with lock:
            return await self._replay(state, verify_key, keys)

    async def _replay(self, state: DirectoryState, verify_key: bytes, keys: WriteKeys | None) -> HealReport:
        core, server = self._core, self._core.server(state)
        known = core.memory.known(state.index)
        answer = await server.describe(state.index)
        head = core.guard.verify(state, answer.head, verify_key)
        if known is None or head.version >= known.version:
            head = await core.guard.observe(server, state, head, known)
            return HealReport(head.version, head.version, head.version)
        await self._check_ancestor(server, state, head)
        sid = core.servers.service_id(state.place)
        resent = await _Replay(core, server, sid, keys).run(state.index, head.version, head.head_hash)
        version = resent[-1] if resent else head.version
        log.info(
            "commits were given back to a server",
            directory=log_name(state.index),
            found=head.version,
            version=version,
            remembered=known.version,
        )
        report = HealReport(head.version, version, known.version, tuple(resent))
        if report.complete:
            answer = await server.describe(state.index)
            now = core.guard.verify(state, answer.head, verify_key)
            await core.guard.observe(server, state, now, known)
        return report

    async def parted(self, state: DirectoryState, verify_key: bytes) -> HealReport:
        """Return the report of a fork that somebody caused who did not know what was lost.

        Its ``version`` is the last one that is known to have been before that; 0 if none is.
        """
        core, server = self._core, self._core.server(state)
        known = core.memory.known(state.index)
        head = core.guard.verify(state, (await server.describe(state.index)).head, verify_key)
        remembered = head.version if known is None else known.version
        last = min(head.version, remembered) - 1
        lowest = max(0, last - core.settings.chain_limit)
        while last > lowest:
            first = max(lowest, last - HEADS_MAX + 1)
            try:
                heads = await fetch_heads(server, state.index, first, last)
            except HistoryPrunedError:
                break
            for signed in reversed(heads):
                version = parse_head(signed.head).version
                if head_hash(signed.head) in self._hashes(state, version):
                    return HealReport(head.version, version, remembered)
            last = first - 1
        return HealReport(head.version, 0, remembered)

    async def _check_ancestor(
        self, server: VirtualDriveServer, state: DirectoryState, head: VerifiedHead
    ) -> None:
        """Raise if the head that a server went back to does not follow what is known to have been before."""
        for known in self._known_before(state, head.version):
            try:
                check = await checked(server, head, known)
            except (BrokenChainError, BadHeadError) as error:
                self._core.guard.misbehaved(state, str(error), head.signed)
            if check.verdict in (Verdict.FORKED, Verdict.ROLLED_BACK):
                raise ForkDetectedError(
                    f"directory {log_name(state.index)}: the server went back to what there never was",
                    version=head.version,
                )

    def _known_before(self, state: DirectoryState, version: int) -> Iterator[Remembered]:
        """Yield the newest heads up to ``version`` that are known: one that was seen, and an own one."""
        seen = max((one for one in state.chain if one <= version), default=None)
        if seen is not None:
            yield Remembered(seen, state.chain[seen], None)
        commit = self._core.memory.journal.newest_made(state.index, version)
        if commit is None:
            return
        for section in decode_commit_request(commit.request).sections:
            if section.index == state.index:
                head = parse_head(section.head.head)
                yield Remembered.of(head, head_hash(section.head.head))

    def _hashes(self, state: DirectoryState, version: int) -> set[bytes]:
        """Return what is known of the head of a version."""
        hashes = self._core.memory.journal.hashes_of(state.index, version)
        return hashes | {state.chain[version]} if version in state.chain else hashes


class _Replay:
    """One run; commits over several directories lead it from one to the other."""

    def __init__(
        self, core: VdriveCore, server: VirtualDriveServer, sid: bytes, keys: WriteKeys | None
    ) -> None:
        self._core = core
        self._server = server
        self._sid = sid
        self._keys = {} if keys is None else {keys.read.index: keys}
        self._entered: set[bytes] = set()

    async def run(self, index: bytes, version: int, found: bytes) -> list[int]:
        """Send all commits of the journal that follow a head, in order; return the versions made."""
        self._entered.add(index)
        made: list[int] = []
        for commit in self._core.memory.journal.following(index, version):
            request = decode_commit_request(commit.request)
            following = _following(request, index, found)
            if following is None:
                continue
            if not await self._sent(commit, request):
                break
            version, found = following
            made.append(version)
        return made

    async def _sent(self, commit: JournalCommit, request: CommitRequest) -> bool:
        """Send a commit; if other directories in it are behind as well, bring those forward first."""
        if await self._accepted(commit, request):
            return True
        others = {section.index for section in request.sections} - self._entered
        for index in others:
            if index in {new.index for new in request.creates}:
                continue
            head = (await self._server.describe(index)).head
            await self.run(index, parse_head(head.head).version, head_hash(head.head))
        return bool(others) and await self._accepted(commit, request)

    async def _accepted(self, commit: JournalCommit, request: CommitRequest) -> bool:
        enablers = {head.index: head.enabler for head in commit.heads}
        parcel_ = parcel(request, self._keys, self._sid, self._core.servers.account(self._sid), enablers)
        try:
            await self._server.commit(request, parcel_.authority)
        except HeadConflictError:
            return False
        except VdriveRefusalError as error:
            log.warning("a commit of the journal is refused", reason=str(error))
            return False
        if not commit.applied:
            await self._core.memory.journal.applied(commit.number)
        return True


def _following(request: CommitRequest, index: bytes, found: bytes) -> tuple[int, bytes] | None:
    """Return version and hash of the head that a commit puts on the head ``found``; None if it does not."""
    for section in request.sections:
        if section.index == index:
            try:
                head = parse_head(section.head.head)
            except IntegrityError:
                return None
            return (head.version, head_hash(section.head.head)) if head.previous == found else None
    return None
