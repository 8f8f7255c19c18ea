"""One mutable file, through one capability.

Source: docs/spec/mutable.md, sections 11 to 16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.errors import NotCapableError, NotEnoughSharesError
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.grid.mutable.file_identity import AnyMutableCap, FileIdentity
from holdfast.grid.mutable.operation import Encoding, Operation, operation
from holdfast.grid.mutable.parts import MutableParts
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
        """Write that range to ``target``, proven and of one version. Raises as ``read``."""
        caller = TargetCaller(target)
        target.register_canceller(_canceller())
        try:
            if self._identity.read_key is None:
                raise NotCapableError("a verify capability does not allow reading the file")
            async with self._turns, operation(self._parts, self._identity) as op:
                return await self._read(op, caller, offset, size, progress or ignore_progress)
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
    ) -> None:
        """Replace the contents. The file keeps its encoding unless another one is given.

        Raises:
            NotCapableError: the capability does not allow writing.
            UncoordinatedWriteError: somebody else wrote meanwhile; either contents may be there.
            NoServersError, NotEnoughServersError, NotEnoughSharesError: too little of the grid answered.
        """
        self._check_writeable()
        plaintext = await open_contents(data)
        try:
            async with self._turns, operation(self._parts, self._identity) as op:
                await op.survey(SurveyMode.WRITE, self._encoding)
                best = op.sighting.map.best
                if best is not None:
                    self._encoding = Encoding(best.shares_needed, best.shares_total)
                chosen = self._encoding if encoding is None else encoding_of(encoding)
                outcome = await op.publish(plaintext, chosen, op.next_sequence())
                outcome.check()
                self._encoding = chosen
        finally:
            await plaintext.close()

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
            (await op.publish(plaintext, self._encoding, 1)).check()

    def _check_writeable(self) -> None:
        if not self.writeable:
            raise NotCapableError("the capability does not allow changing the file")


def encoding_of(settings: EncodingSettings) -> Encoding:
    return Encoding(settings.shares_needed, settings.shares_total)


async def open_contents(data: Contents) -> Plaintext:
    """Open what is to be written. Raises as ``open_source``."""
    if isinstance(data, bytes | bytearray | memoryview):
        return await open_source(DataSource(bytes(data)))
    return await open_source(data)


def _canceller() -> Callable[[], None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    return lambda: None if task is None else (loop.call_soon_threadsafe(task.cancel), None)[1]
