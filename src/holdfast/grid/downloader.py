"""Downloads immutable files: from a capability to a target.

Source: docs/spec/seed-map.md, section O; docs/spec/immutable.md, sections 11 to 13.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.caps import ImmutableReadCap, LiteralCap
from holdfast.errors import CancelledTransferError, NoServersError, NoSharesError, NotEnoughSharesError
from holdfast.formats.extension_block import packed_length
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_layout import ShareLayout
from holdfast.grid.advice import Problems
from holdfast.grid.bucket_reader import RemoteBucketReader
from holdfast.grid.canceller import Canceller
from holdfast.grid.decoder import FileDecoder
from holdfast.grid.file_caps import readable_file_cap
from holdfast.grid.finder import ShareFinder
from holdfast.grid.known_server import KnownServer
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.open_share import FileIdentity
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.results import DownloadResult
from holdfast.grid.servers import Servers
from holdfast.grid.settings import DEFAULT_SEGMENT_SIZE_MAX
from holdfast.grid.structured import first_error
from holdfast.grid.targets import TargetCaller
from holdfast.grid.workers import Workers
from holdfast.interfaces.transfer import DownloadTarget
from holdfast.interfaces.types import StorageIndex

T = TypeVar("T")


class Downloader:
    """Downloads files from the servers of one client."""

    def __init__(self, servers: Servers, workers: Workers, memory: MemoryBudget) -> None:
        self._servers = servers
        self._workers = workers
        self._memory = memory

    async def download(
        self,
        uri: str,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]:
        """Write the bytes ``[offset, offset + size)`` of a file, cut at its end, to ``target``.

        Every byte is proven before it is written. On failure the target's ``fail`` is called, and the
        error raised.

        Raises:
            BadCapabilityError, WrongCapabilityTypeError, NotCapableError: it cannot be read with this.
            NoServersError, NotEnoughSharesError, NoSharesError: too little of the grid answered.
            BadFileError: the file was made wrongly.
            CancelledTransferError: the target cancelled.
        """
        if not isinstance(target, DownloadTarget):
            raise TypeError(f"{type(target).__name__} is not a target of a download")
        cap = readable_file_cap(uri)
        caller = TargetCaller(target)
        cancelled = Canceller()
        target.register_canceller(cancelled.cancel)
        try:
            with first_error(), cancelled:
                run = _Run(caller, cancelled, progress or ignore_progress)
                return await self._run(cap, run, offset, size)
        except asyncio.CancelledError as error:
            why = CancelledTransferError("the target cancelled the download") if cancelled.asked else error
            await caller.fail(why)
            raise why from None
        except BaseException as error:
            await caller.fail(error)
            raise

    async def _run(
        self, cap: LiteralCap | ImmutableReadCap, run: _Run[T], offset: int, size: int | None
    ) -> DownloadResult[T]:
        total = len(cap.data) if isinstance(cap, LiteralCap) else cap.size
        start = min(max(offset, 0), total)
        length = total - start if size is None else max(0, min(size, total - start))
        if isinstance(cap, LiteralCap) or length == 0:
            await run.target.open(length)
            if length and isinstance(cap, LiteralCap):
                await run.target.write(cap.data[start : start + length])
            return DownloadResult(await run.target.finish(), length)
        return await self._run_shares(cap, run, start, length)

    async def _run_shares(
        self, cap: ImmutableReadCap, run: _Run[T], start: int, length: int
    ) -> DownloadResult[T]:
        index = StorageIndex(cap.storage_index)
        problems = Problems(index)
        try:
            async with aclosing(self._pieces(cap, index, problems, start, length)) as pieces:
                done = 0
                used: dict[int, str] = {}
                async for piece, seen in pieces:
                    run.canceller.check()
                    if done == 0:
                        await run.target.open(length)
                    await run.target.write(piece)
                    used = seen
                    done += len(piece)
                    run.progress(Progress("downloading", done, length))
            return DownloadResult(await run.target.finish(), length, problems.all(), used)
        except NotEnoughSharesError as error:
            raise type(error)(
                f"{error}{problems.summary()}", found=error.found, needed=error.needed
            ) from None
        finally:
            await problems.deliver()

    async def _pieces(
        self, cap: ImmutableReadCap, index: StorageIndex, problems: Problems, start: int, length: int
    ) -> AsyncGenerator[tuple[memoryview, dict[int, str]]]:
        servers = self._servers.in_order(index)
        if not servers:
            raise NoServersError(no_servers_message(self._servers))
        identity = FileIdentity(cap.ueb_hash, cap.shares_needed, cap.shares_total, cap.size)
        guess = guessed_layout(identity)
        asked = {server.id: server for server in servers}
        order = {server.id: i for i, server in enumerate(servers)}

        def found(server: KnownServer, number: int, whole: bytes | None) -> None:
            reader = RemoteBucketReader(server.service, index, number, identity.shares_total, guess, whole)
            decoder.add_shareholder(server.id, number, reader, order[server.id])

        finder = ShareFinder(
            index,
            servers,
            identity.shares_needed,
            found,
            problems.note,
            share_length=guess.share_length,
        )
        decoder = FileDecoder(
            identity,
            cap.key,
            self._workers,
            self._memory,
            find_more=finder.more,
            on_problem=lambda holder, number, error: problems.note(asked[holder], error, number),
        )
        try:
            async with finder, aclosing(decoder.read(start, length)) as plaintext:
                async for piece in plaintext:
                    yield piece, decoder.used
        except NoSharesError:
            if finder.answered:
                raise
            raise NoServersError(no_servers_message(self._servers)) from None


def guessed_layout(identity: FileIdentity) -> ShareLayout:
    """Return the layout a share has if its uploader used default parameters."""
    plan = Segmentation.plan(
        identity.size, identity.shares_needed, identity.shares_total, DEFAULT_SEGMENT_SIZE_MAX
    )
    return ShareLayout.plan(plan, packed_length(plan))


def no_servers_message(servers: Servers, *, for_uploads: bool = False) -> str:
    """Return a sentence that says why no server can be used."""
    if len(servers) == 0:
        return "no storage server is known; add some to the server list"
    reasons = [
        f"{s.name} is only read from"
        if for_uploads and s.incompatible is None and not s.uploads
        else f"{s.name} {s.state.reason}"
        for s in servers.all()[:3]
    ]
    return f"none of the {len(servers)} known servers can be used: {'; '.join(reasons)}"


@dataclass(frozen=True, slots=True)
class _Run(Generic[T]):
    """Whom one download serves."""

    target: TargetCaller[T]
    canceller: Canceller
    progress: ProgressCallback
