"""One mutable file, through one capability.

Source: docs/spec/mutable.md, sections 11 to 16.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.errors import CancelledTransferError, InputError, NotCapableError, NotEnoughSharesError
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.grid.canceller import Canceller
from holdfast.grid.mutable.checking import MutableCheckResult, check_result, verify_version
from holdfast.grid.mutable.file_identity import AnyMutableCap, FileIdentity
from holdfast.grid.mutable.in_place import NotInPlaceError, rewrite, update_in_place
from holdfast.grid.mutable.modification import Attempts, Change, modify
from holdfast.grid.mutable.operation import Encoding, Operation, operation
from holdfast.grid.mutable.parts import MutableParts
from holdfast.grid.mutable.repairing import (
    MutableRepairResult,
    can_keep,
    check_repairable,
    make_again,
    publish_again,
)
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.results import DownloadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, Plaintext, open_source
from holdfast.grid.targets import DataTarget, TargetCaller
from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable
from holdfast.interfaces.types import Buffer
from holdfast.planning.survey import SurveyMode

T = TypeVar("T")

Contents = Buffer | Uploadable | AsyncUploadable
"""What a file is to contain: bytes, or where they come from."""

READ_ATTEMPTS_MAX = 4


class MutableFile:
    """Made by ``MutableFiles``. Operations on one file take turns, whatever capability they come through."""

    def __init__(self, cap: AnyMutableCap, parts: MutableParts, turns: asyncio.Lock) -> None:
        self._cap = cap
        self._parts = parts
        self._turns = turns
        self._identity = FileIdentity.of(cap)
        self._encoding = Encoding(parts.encoding.shares_needed, parts.encoding.shares_total)

    @property
    def cap(self) -> MutableWriteCap | MutableReadCap | MutableVerifyCap:
        return self._cap

    @property
    def writeable(self) -> bool:
        """True if the capability allows changing the file."""
        return isinstance(self._cap, MutableWriteCap)

    # -- reading

    async def size(self) -> int:
        """Return the size of the best version, in bytes. A verify capability is enough.

        Raises: as ``read``.
        """
        async with self._turns, operation(self._parts, self._identity) as op:
            return (await self._best(op, SurveyMode.READ)).size

    async def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return the bytes ``[offset, offset + size)`` of the best version, cut at its end.

        Raises:
            NotCapableError: this is a verify capability.
            NoServersError, NotEnoughSharesError, NoSharesError: too little of the grid answered.
            RolledBackError: the servers show an older version than was read or written here before.
        """
        return (await self.read_into(DataTarget(), offset=offset, size=size)).value

    async def read_into(
        self,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]:
        """Write that range to ``target``, proven and of one version.

        Raises:
            CancelledTransferError: the target cancelled.
            Others as ``read``.
        """
        caller, cancelled = TargetCaller(target), Canceller()
        target.register_canceller(cancelled.cancel)
        try:
            if self._identity.read_key is None:
                raise NotCapableError("a verify capability does not allow reading the file")
            with cancelled:
                async with self._turns, operation(self._parts, self._identity) as op:
                    return await self._read(op, caller, offset, size, progress or ignore_progress)
        except asyncio.CancelledError as error:
            why = CancelledTransferError("the target cancelled the download") if cancelled.asked else error
            await caller.fail(why)
            raise why from None
        except BaseException as error:
            await caller.fail(error)
            raise

    async def _read(
        self,
        op: Operation,
        caller: TargetCaller[T],
        offset: int,
        size: int | None,
        progress: ProgressCallback,
    ) -> DownloadResult[T]:
        for attempt in range(READ_ATTEMPTS_MAX):
            # What could not be read at first may be found by looking further.
            version = await self._best(op, SurveyMode.CHECK if attempt else SurveyMode.READ)
            start = min(max(offset, 0), version.size)
            length = version.size - start if size is None else max(0, min(size, version.size - start))
            reader, done = op.reader(version), 0
            try:
                async with aclosing(reader.read(start, length)) as pieces:
                    async for piece in pieces:
                        if not done:
                            await caller.open(length)
                        await caller.write(piece)
                        done += len(piece)
                        progress(Progress("downloading", done, length))
            except NotEnoughSharesError:
                if done or attempt + 1 == READ_ATTEMPTS_MAX:
                    raise
                continue
            if not length:
                await caller.open(0)
            op.remember(version)
            return DownloadResult(await caller.finish(), length, op.problems.all(), reader.used)
        raise AssertionError("the last attempt returns or raises")

    async def _best(self, op: Operation, mode: SurveyMode) -> MutableHeader:
        await op.survey(mode, self._encoding)
        best = op.best()
        self._encoding = Encoding(best.shares_needed, best.shares_total)
        return best

    # -- writing

    async def overwrite(
        self,
        data: Contents,
        *,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
        new_version: int | None = None,
    ) -> None:
        """Replace the contents. The file keeps its encoding unless another one is given.

        ``new_version``: write only if this is the next sequence number after the newest that can be read.

        Raises:
            NotCapableError: the capability does not allow writing.
            UncoordinatedWriteError: somebody else wrote meanwhile; either contents may be there.
            NoServersError, NotEnoughServersError, NotEnoughSharesError: too little of the grid answered.
        """
        self._check_writeable()
        plaintext = await open_contents(data)
        try:
            async with self._turns:
                if new_version is None and await self._overwrite_known(plaintext, encoding, progress):
                    return
                async with operation(self._parts, self._identity) as op:
                    await op.survey(SurveyMode.WRITE, self._encoding)
                    best = op.sighting.map.best
                    if best is not None:
                        self._encoding = Encoding(best.shares_needed, best.shares_total)
                    chosen = self._encoding if encoding is None else encoding_of(encoding)
                    op.progress = progress or ignore_progress
                    outcome = await op.publish(plaintext, chosen, op.next_sequence(new_version))
                    outcome.check()
                    self._encoding = chosen
        finally:
            await plaintext.close()

    async def _overwrite_known(
        self, plaintext: Plaintext, encoding: EncodingSettings | None, progress: ProgressCallback | None
    ) -> bool:
        """Replace what was written here last, without a survey; False if other shares are there now.

        Whoever wrote them may have done so long ago, and has to be overwritten without an error.
        """
        attempts = self._attempts()
        async with attempts.recalled() as recalled:
            if recalled is None:
                return False
            op, known = recalled
            attempts.based_on(known)
            chosen = attempts.encoding if encoding is None else encoding_of(encoding)
            op.progress = progress or ignore_progress
            outcome = await op.publish(plaintext, chosen, op.next_sequence())
            if outcome.surprises:
                self._parts.known.changed_by_others(self._identity.index)
                return False
            outcome.check()
            self._encoding = chosen
            return True
        return False

    async def modify(self, change: Change) -> bytes:
        """Change the contents, again and again until nobody else wrote in between; return what they are now.

        Nothing is written if ``change`` raises, or returns None or the contents it was given. It is called
        once per attempt, and must not use this file. The first attempt may be made twice, if what this client
        wrote last is not there any more.

        Raises:
            NotCapableError: the capability does not allow writing.
            UncoordinatedWriteError: others wrote first, four times.
            NoServersError, NotEnoughServersError, NotEnoughSharesError: too little of the grid answered.
            RolledBackError: the servers show an older version than was read or written here before.
        """
        self._check_writeable()
        async with self._turns:
            attempts = self._attempts()
            contents = await modify(attempts, change)
            self._encoding = attempts.encoding
            return contents

    async def update(self, offset: int, data: Buffer) -> None:
        """Replace the bytes from ``offset`` on; the file grows if they reach beyond its end.

        Of an MDMF file only the segments are written that change. Nothing is done for no bytes.

        Raises:
            InputError: ``offset`` lies behind the end of the file, or is negative.
            Others as ``modify``.
        """
        self._check_writeable()
        if offset < 0:
            raise InputError("an offset is not negative")
        if not len(data):
            return
        new, in_place = bytes(data), self._identity.format == "MDMF"
        async with self._turns:
            attempts = self._attempts()
            if in_place:
                await attempts.run(partial(self._update, attempts, offset, new))
            else:
                await modify(attempts, lambda old, first: spliced(old, offset, new))
            self._encoding = attempts.encoding

    async def _update(
        self, attempts: Attempts, offset: int, data: bytes, op: Operation, base: MutableHeader, first: bool
    ) -> None:
        _check_offset(offset, base.size)
        try:
            outcome = await update_in_place(op, base, offset, data)
        except NotInPlaceError:
            outcome = await rewrite(op, base, offset, data)
        attempts.check(outcome)

    # -- checking and repairing

    async def check(
        self, verify: bool = False, add_lease: bool = False, progress: ProgressCallback | None = None
    ) -> MutableCheckResult:
        """Ask every server which shares it holds. A verify capability is enough.

        Args:
            verify: read and prove every byte of every share of the best version.
            add_lease: renew the lease of the shares.

        Raises:
            NoServersError: nobody answers.
        """
        async with self._turns, operation(self._parts, self._identity) as op:
            await op.survey(SurveyMode.CHECK, self._encoding, add_lease=add_lease)
            rolled_back = op.rolled_back
            if verify:
                await self._verify(op, progress)
            return self._checked(op, rolled_back)

    async def repair(
        self, force: bool = False, progress: ProgressCallback | None = None
    ) -> MutableRepairResult:
        """Verify everything, and make again what is missing or bad. Nothing is written if all is well.

        The version is kept if it is only shares that are missing; a new one is made if others contest it.

        Args:
            force: settle for the best version that can be read, even if that discards another one.

        Raises:
            NotCapableError: the capability does not allow writing.
            ConflictError: it would discard somebody's contents. Nothing was written.
            UncoordinatedWriteError: somebody else wrote meanwhile.
            RolledBackError: the servers show an older version than was read or written here before.
            NoServersError, NotEnoughServersError: too little of the grid answered.
        """
        self._check_writeable()
        async with self._turns, operation(self._parts, self._identity) as op:
            await op.survey(SurveyMode.REPAIR, self._encoding)
            rolled_back = op.rolled_back
            await self._verify(op, progress)
            before, best = self._checked(op, rolled_back), op.sighting.map.best
            if best is None or not (before.needs_repair or rolled_back):
                return MutableRepairResult(False, best is not None, best is not None, before, before)
            if not force:
                op.check_not_rolled_back()
                check_repairable(op)
            kept = not rolled_back and can_keep(op, best) and await make_again(op, best)
            if not kept:
                (await publish_again(op, best)).check()
            after = self._checked(op, rolled_back=False)
            return MutableRepairResult(True, after.healthy, kept, before, after)

    async def _verify(self, op: Operation, progress: ProgressCallback | None) -> None:
        """Verify the best version; the next one if too little of it is left, and so on."""
        verified: set[MutableHeader] = set()
        while (best := op.sighting.map.best) is not None and best not in verified:
            verified.add(best)
            await verify_version(op, best, progress or ignore_progress)

    def _checked(self, op: Operation, rolled_back: bool) -> MutableCheckResult:
        return check_result(op, len(self._parts.servers), rolled_back=rolled_back)

    def _attempts(self) -> Attempts:
        return Attempts(self._parts, self._identity, self._encoding)

    async def create(
        self,
        keys: FileKeys,
        plaintext: Plaintext,
        encoding: EncodingSettings | None,
        progress: ProgressCallback | None,
    ) -> None:
        """Store the first version. For ``MutableFiles``, which has made the keys."""
        self._identity.keys = keys
        if encoding is not None:
            self._encoding = encoding_of(encoding)
        async with self._turns, operation(self._parts, self._identity) as op:
            op.progress = progress or ignore_progress
            (await op.publish(plaintext, self._encoding, 1)).check()

    def _check_writeable(self) -> None:
        if not self.writeable:
            raise NotCapableError("the capability does not allow changing the file")


def spliced(old: bytes, offset: int, new: bytes) -> bytes:
    """Return ``old`` with ``new`` at ``offset``. Raises InputError if that is behind its end."""
    _check_offset(offset, len(old))
    return b"".join((old[:offset], new, old[offset + len(new) :]))


def _check_offset(offset: int, size: int) -> None:
    if offset > size:
        raise InputError(f"offset {offset} lies behind the end of the file, which has {size} bytes")


def encoding_of(settings: EncodingSettings) -> Encoding:
    return Encoding(settings.shares_needed, settings.shares_total)


async def open_contents(data: Contents) -> Plaintext:
    """Open what is to be written. Raises as ``open_source``."""
    if isinstance(data, bytes | bytearray | memoryview):
        return await open_source(DataSource(bytes(data)))
    return await open_source(data)
