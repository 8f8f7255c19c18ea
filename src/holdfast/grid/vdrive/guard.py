"""Compares every head that a server shows with what was seen before, and remembers it.

No server can go back behind what was seen here, or continue another history than that, without being
noticed. A history that a writer disowned, because it was lost, is given up when the writer's word is newer
than what is remembered.

Source: docs/spec/vdrive.md, section 7.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import structlog

from holdfast.crypto.vdrive_keys import log_name
from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.head import BadHeadError, SignedHead, head_hash, parse_head, verified_head
from holdfast.grid.vdrive.chains import checked
from holdfast.grid.vdrive.memory import KnownHead, VdriveMemory
from holdfast.grid.vdrive.patience import LookingServer
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive_errors import (
    ForkDetectedError,
    RollbackDetectedError,
    ServerMisbehavedError,
)
from holdfast.planning.vdrive_memory import BrokenChainError, HeadCheck, Remembered, Verdict

log = structlog.get_logger(__name__)

BOUND_PREFIX_SIZE = 16  # bytes of a head's hash in the metadata of an edge


class VersionBound(NamedTuple):
    """What a parent says of a directory: somebody saw this version there (7.5).

    Attributes:
        prefix: of the hash of its head, 16 bytes.
    """

    version: int
    prefix: bytes


class HeadGuard:
    """Shared by all directories of a client."""

    def __init__(self, memory: VdriveMemory, chain_limit: int) -> None:
        """``chain_limit``: versions of which a reader follows every head."""
        self._memory = memory
        self._chain_limit = chain_limit

    def verify(self, state: DirectoryState, signed: SignedHead, verify_key: bytes) -> VerifiedHead:
        """Return a head, if a writer of the directory signed it. Nothing is said about its age.

        Raises:
            ServerMisbehavedError: no writer did.
        """
        known = state.verified(signed)
        if known is not None:
            return known
        try:
            head = verified_head(signed, verify_key, state.index)
        except IntegrityError as error:
            self.misbehaved(state, str(error), signed)
        found = VerifiedHead(head.version, head_hash(signed.head), head, signed)
        state.add_verified(found)
        return found

    async def observe(
        self,
        server: LookingServer,
        state: DirectoryState,
        head: VerifiedHead,
        asked: KnownHead | None,
        *,
        writing: bool = False,
        bound: VersionBound | None = None,
    ) -> VerifiedHead:
        """Compare a head that was served as the current one with memory, and remember it.

        Args:
            asked: what was remembered when the request was sent; answers may overtake one another.
            writing: a writer is about to vouch for all that went before.
            bound: what the parent says.

        Raises:
            RollbackDetectedError, ForkDetectedError: as 7.2 says; what shows it is kept.
            ServerMisbehavedError: the server cannot show what lies between.
        """
        async with state.checking:
            known = self._memory.known(state.index)
            if known is None:
                await self._check_bound(server, state, head, None, bound)
                await self._remember(state, head)
                await self._note_bound(state, bound)
                return head
            if (known.version, known.head_hash) == (head.version, head.head_hash):
                await self._memory.met(state.index, known)
            else:
                await self._compare(server, state, head, known, asked, writing)
            if bound is not None and known.bound < bound.version:
                await self._check_bound(server, state, head, known, bound)
                await self._note_bound(state, bound)
            if writing:
                await self._catch_up(server, state)
            known = self._memory.known(state.index)
            return head._replace(chain_verified=known is None or known.chain_verified)

    async def check_old(
        self, server: LookingServer, state: DirectoryState, head: VerifiedHead
    ) -> VerifiedHead:
        """Return a head of an older version, if it is on the chain that is remembered.

        Raises:
            ForkDetectedError: it is not.
        """
        async with state.checking:
            known = self._memory.known(state.index)
            if known is None or known.version < head.version:
                raise ServerMisbehavedError("a server shows a version that is newer than the current one")
            complete = await self._is_ancestor(server, state, head, known)
            return head._replace(chain_verified=complete)

    def misbehaved(self, state: DirectoryState, reason: str, *answer: object) -> NoReturn:
        """Keep what a server answered, and raise ServerMisbehavedError."""
        where = self._memory.evidence.keep(state.index, "answer", {"reason": reason, "answer": answer})
        kept = "" if where is None else f" (kept in {where})"
        raise ServerMisbehavedError(
            f"directory {log_name(state.index)}: the server's answer proves nothing: {reason}{kept}"
        )

    # -- the rest is private

    async def _remember(
        self,
        state: DirectoryState,
        head: VerifiedHead,
        check: HeadCheck | None = None,
        base: tuple[int, bytes] | None = None,
    ) -> None:
        complete = check is None or check.chain_verified
        await self._memory.remember(
            state.index, head.version, head.head_hash, head.signed, chain_verified=complete, base=base
        )
        state.link({head.version: head.head_hash} if check is None or not complete else check.hashes)

    async def _note_bound(self, state: DirectoryState, bound: VersionBound | None) -> None:
        if bound is not None:
            await self._memory.bounded(state.index, bound.version)

    async def _compare(
        self,
        server: LookingServer,
        state: DirectoryState,
        head: VerifiedHead,
        known: KnownHead,
        asked: KnownHead | None,
        writing: bool,
    ) -> None:
        """Remember a head that is not the one remembered, if it continues the same history."""
        floor = 0 if asked is None else asked.version
        if floor <= head.version < known.version:  # it was overtaken by the answer to a later request
            await self._is_ancestor(server, state, head, known)
            return
        remembered = Remembered.of(parse_head(known.signed.head), known.head_hash)
        walk_max = None if writing else self._chain_limit
        check = await self._walked(server, state, head, remembered, walk_max)
        match check.verdict:
            case Verdict.ROLLED_BACK:
                self._rolled_back(state, head, known)
            case Verdict.FORKED:
                self._forked(state, head, known)
            case Verdict.DISOWNED:
                await self._give_up(state, head, known)
            case _:
                if not check.chain_verified:
                    log.info("a history was not followed", directory=log_name(state.index))
                skipped = walk_max is not None and head.version - known.version > walk_max
                base = known.base or (known.version, known.head_hash)
                await self._remember(state, head, check, base if skipped else None)

    async def _walked(
        self,
        server: LookingServer,
        state: DirectoryState,
        head: VerifiedHead,
        remembered: Remembered,
        walk_max: int | None = None,
    ) -> HeadCheck:
        try:
            return await checked(server, head, remembered, walk_max)
        except (BrokenChainError, BadHeadError) as error:
            self.misbehaved(state, str(error), head.signed)

    async def _is_ancestor(
        self, server: LookingServer, state: DirectoryState, head: VerifiedHead, known: KnownHead
    ) -> bool:
        """Return if memory descends from ``head``; False if the server has not kept enough to tell."""
        met = known.head_hash if head.version == known.version else state.chain.get(head.version)
        if met is not None:
            if met != head.head_hash:
                self._forked(state, head, known)
            return True
        check = await self._walked(server, state, _newest(known), Remembered.of(head.head, head.head_hash))
        if check.verdict is not Verdict.FINE:
            self._forked(state, head, known)
        if check.chain_verified:
            state.link(check.hashes)
        return check.chain_verified

    async def _catch_up(self, server: LookingServer, state: DirectoryState) -> None:
        """Walk where readers of this client were allowed not to."""
        known = self._memory.known(state.index)
        if known is None or known.base is None:
            return
        remembered = Remembered(*known.base, parse_head(known.signed.head).time)
        check = await self._walked(server, state, _newest(known), remembered)
        if check.verdict is not Verdict.FINE:
            self._forked(state, _newest(known), known)
        await self._memory.caught_up(state.index, chain_verified=check.chain_verified)

    async def _give_up(self, state: DirectoryState, head: VerifiedHead, known: KnownHead) -> None:
        """Remember what a writer said to be true in place of what was lost."""
        self._memory.evidence.keep(state.index, "disowned", _pair(head, known))
        log.warning(
            "history of a directory was disowned by a writer: what was seen is lost",
            directory=log_name(state.index),
            remembered=known.version,
            found=head.version,
        )
        state.chain.clear()
        state.context = None
        await self._memory.replace(state.index, head.version, head.head_hash, head.signed)
        state.link({head.version: head.head_hash})

    def _rolled_back(self, state: DirectoryState, head: VerifiedHead, known: KnownHead) -> NoReturn:
        self._memory.evidence.keep(state.index, "rollback", _pair(head, known))
        raise RollbackDetectedError(
            f"directory {log_name(state.index)}: the server shows version {head.version}, "
            f"and version {known.version} was seen before",
            found=head.version,
            remembered=known.version,
            heads=(head.signed, known.signed),
        )

    def _forked(self, state: DirectoryState, head: VerifiedHead, known: KnownHead) -> NoReturn:
        self._memory.evidence.keep(state.index, "fork", _pair(head, known))
        raise ForkDetectedError(
            f"directory {log_name(state.index)}: the server shows another history than the one seen before",
            version=min(head.version, known.version),
            heads=(head.signed, known.signed),
        )

    async def _check_bound(
        self,
        server: LookingServer,
        state: DirectoryState,
        head: VerifiedHead,
        known: KnownHead | None,
        bound: VersionBound | None,
    ) -> None:
        """Raise if a directory is not what its parent says of it."""
        if bound is None:
            return
        newest = head
        if known is not None and known.version > head.version:
            newest = _newest(known)
        remembered = Remembered(bound.version, bound.prefix, None)
        check = await self._walked(server, state, newest, remembered, self._chain_limit)
        if check.verdict is Verdict.ROLLED_BACK:
            self._memory.evidence.keep(state.index, "rollback", {"found": list(newest.signed)})
            raise RollbackDetectedError(
                f"directory {log_name(state.index)}: the server shows version {newest.version}, "
                f"and the parent tells of version {bound.version}",
                found=newest.version,
                remembered=bound.version,
                heads=(newest.signed,),
            )
        if check.verdict is not Verdict.FINE:
            self._memory.evidence.keep(state.index, "fork", {"found": list(newest.signed)})
            raise ForkDetectedError(
                f"directory {log_name(state.index)}: this is not the history that the parent tells of",
                version=bound.version,
                heads=(newest.signed,),
            )


def _newest(known: KnownHead) -> VerifiedHead:
    return VerifiedHead(known.version, known.head_hash, parse_head(known.signed.head), known.signed)


def _pair(head: VerifiedHead, known: KnownHead) -> dict[str, object]:
    return {"found": list(head.signed), "remembered": list(known.signed)}
