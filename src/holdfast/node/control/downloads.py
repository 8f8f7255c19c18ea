"""Downloads through a node: what is proven flows to the client at the pace at which it
takes it. A download that fails after its beginning ends the connection.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog

from holdfast.errors import HoldfastError
from holdfast.grid.client import Grid
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.uninterrupted import uninterrupted
from holdfast.interfaces.types import Buffer
from holdfast.node.control.answers import BYTES
from holdfast.node.control.arguments import body_arguments
from holdfast.node.control.counts import Counts
from holdfast.node.control.errors import AlreadyThereError
from holdfast.node.control.long_calls import answer_to, cancel_when_gone, cancelled
from holdfast.node.control.paths import PathRules, Place
from holdfast.node.control.tokens import Grant
from holdfast.node.control.whole_file import WholeFile
from holdfast.wire.http import Request, Response

log = structlog.get_logger(__name__)

PIECE = 1 << 20  # bytes handed over at once
PIECES_AHEAD = 2  # that wait to be sent
SIZE_MAX = (1 << 63) - 1


class DownloadCalls:
    """The download calls of one node."""

    def __init__(self, grid: Grid, paths: PathRules, counts: Counts) -> None:
        self._grid = grid
        self._paths = paths
        self._counts = counts

    async def download(self, request: Request, _: Grant) -> Response:
        """``POST download``: answer with the plaintext, or a range of it."""
        arguments = await body_arguments(request)
        uri = arguments.text("uri")
        offset = arguments.number("offset", 0, SIZE_MAX, 0)
        size = arguments.number("size", 0, SIZE_MAX) if arguments.has("size") else None
        arguments.finish()
        cancel_when_gone(request)
        stream = DownloadStream(self._grid, uri, offset, size)
        try:
            length = await stream.length()
            self._counts.bytes["download"] += length
        except BaseException:
            await stream.aclose()
            raise
        return Response(200, BYTES, stream, length)

    async def download_file(self, request: Request, _: Grant) -> Response:
        """``POST download-file``: write a file of the node's own disk."""
        arguments = await body_arguments(request)
        uri = arguments.text("uri")
        name = arguments.text("path")
        overwrite = arguments.flag("overwrite", False)
        arguments.finish()

        async def work(progress: ProgressCallback) -> dict[str, object]:
            with self._paths.place_for_writing(name) as place:
                if place.taken and not overwrite:
                    raise AlreadyThereError("the file exists already")
                done = await self._grid.download(uri, _PlaceTarget(place, overwrite), progress=progress)
            self._counts.bytes["download"] += done.size
            return {"path": name}

        return await answer_to(request, work)


class DownloadStream(AsyncIterator[bytes]):
    """The bytes of one download, which goes on while this is read, never far ahead.

    ``aclose`` ends it. If it fails, reading raises ConnectionError.
    """

    def __init__(self, grid: Grid, uri: str, offset: int, size: int | None) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(PIECES_AHEAD)
        self._opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        target = _Pipe(self._opened, self._put)
        self._task = asyncio.ensure_future(grid.download(uri, target, offset=offset, size=size))
        self._task.add_done_callback(lambda _: self._pieces.put_nowait(None))

    async def length(self) -> int:
        """Return how many bytes there will be, once the first are proven.

        Raises what the download raises before.
        """
        both: set[asyncio.Future[Any]] = {self._opened, self._task}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            self._task.result()
        return self._opened.result()

    async def __anext__(self) -> bytes:
        piece = await self._pieces.get()
        if piece is not None:
            self._room.release()
            return piece
        try:
            self._task.result()
        except HoldfastError as error:
            log.info("a download broke off", why=str(error))
            raise ConnectionError("the download broke off") from None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the download if it still goes on."""
        await cancelled(self._task)

    async def _put(self, data: Buffer) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            await self._room.acquire()
            self._pieces.put_nowait(bytes(view[start : start + PIECE]))


class _Pipe:
    """A download's target that hands on what it gets."""

    def __init__(self, opened: asyncio.Future[int], put: Callable[[Buffer], Awaitable[None]]) -> None:
        self._opened = opened
        self._put = put

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        self._opened.set_result(size)

    async def write(self, data: Buffer) -> None:
        await self._put(data)

    def close(self) -> None:
        pass

    def fail(self, why: BaseException) -> None:
        pass

    def finish(self) -> None:
        pass


class _PlaceTarget:
    """A download's target that is a file of the node's own disk: whole, or not there."""

    def __init__(self, place: Place, overwrite: bool) -> None:
        self._place = place
        self._overwrite = overwrite
        self._file: WholeFile | None = None

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        self._file = WholeFile(self._place.directory, self._place.name)

    async def write(self, data: Buffer) -> None:
        assert self._file is not None
        await uninterrupted(self._file.write, data)

    async def close(self) -> None:
        assert self._file is not None
        await uninterrupted(self._file.finish, overwrite=self._overwrite)

    def fail(self, why: BaseException) -> None:
        if self._file is not None:
            self._file.abandon()

    def finish(self) -> None:
        pass
