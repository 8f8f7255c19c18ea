"""Uploads through a node: of what the client sends, or of a file that the node reads.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import BinaryIO

from holdfast.grid.client import Grid
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.results import ServerProblem, UploadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, FileHandleSource
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable
from holdfast.node.control.arguments import Arguments, body_arguments, query_arguments
from holdfast.node.control.controlled import ControlledNode
from holdfast.node.control.counts import Counts
from holdfast.node.control.errors import BadRequestError
from holdfast.node.control.long_calls import answer_to
from holdfast.node.control.paths import PathRules
from holdfast.node.control.tokens import Grant
from holdfast.wire.http import Request, RequestBody, Response

IN_MEMORY_MAX = 1 << 20  # bytes of a body that is not written to a temporary file first


class BodySource:
    """The body of a request as the source of an upload. ``received`` is set once all of it is here."""

    def __init__(self, body: RequestBody, name: str) -> None:
        """``name``: of the file, for whoever looks at what the node does."""
        self.name = name
        self._pieces: AsyncIterator[memoryview] = body.chunks()
        self._rest = memoryview(b"")
        self.received = asyncio.Event()

    async def read(self, length: int) -> bytes:
        while not self._rest:
            try:
                self._rest = await anext(self._pieces)
            except StopAsyncIteration:
                self.received.set()
                return b""
        piece = bytes(self._rest[:length])
        self._rest = self._rest[length:]
        return piece

    async def close(self) -> None:
        """What is left is discarded with the request."""
        self._rest = memoryview(b"")


class _NamedData(DataSource):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _NamedFile(FileHandleSource):
    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file)
        self.name = name


class UploadCalls:
    """The upload calls of one node."""

    def __init__(self, node: ControlledNode, grid: Grid, paths: PathRules, counts: Counts) -> None:
        self._node = node
        self._grid = grid
        self._paths = paths
        self._counts = counts

    async def upload(self, request: Request, _: Grant) -> Response:
        """``POST upload``: store the body."""
        arguments = query_arguments(request)
        name = arguments.text("name", "")
        encoding = self._encoding(arguments)
        arguments.finish()
        length = request.body.length
        if length is not None and length <= IN_MEMORY_MAX:
            data = _NamedData(await request.body.read(length), name)
            return await answer_to(request, lambda progress: self._store(data, encoding, progress))
        source = BodySource(request.body, name)
        return await answer_to(
            request, lambda progress: self._store(source, encoding, progress), source.received
        )

    async def upload_file(self, request: Request, _: Grant) -> Response:
        """``POST upload-file``: store a file of the node's own disk."""
        arguments = await body_arguments(request)
        name = arguments.text("path")
        encoding = self._encoding(arguments)
        arguments.finish()

        async def work(progress: ProgressCallback) -> dict[str, object]:
            with await asyncio.to_thread(self._open, name) as file:
                return await self._store(_NamedFile(file, os.path.basename(name)), encoding, progress)

        return await answer_to(request, work)

    def _open(self, name: str) -> BinaryIO:
        """Open a file of the disk. Nobody need close it who is not there any more to get it."""
        return os.fdopen(self._paths.open_for_reading(name), "rb", buffering=0)

    async def _store(
        self,
        source: Uploadable | AsyncUploadable,
        encoding: EncodingSettings,
        progress: ProgressCallback,
    ) -> dict[str, object]:
        result = await self._grid.upload(source, encoding, progress)
        self._counts.bytes["upload"] += result.size
        return upload_as_json(result, encoding)

    def _encoding(self, arguments: Arguments) -> EncodingSettings:
        """Return how the file is encoded: as the node is used to, but for what the arguments say."""
        arguments.choice("kind", ("immutable",), "immutable")
        encoding = self._node.encoding
        if arguments.choice("convergence", ("default", "random"), "default") == "random":
            encoding = replace(encoding, convergence_secret=None)
        if arguments.has("encoding"):
            needed, happiness, total = _three_numbers(arguments.text("encoding"))
            encoding = replace(encoding, shares_needed=needed, happiness=happiness, shares_total=total)
        if arguments.has("segment-size"):
            encoding = replace(encoding, segment_size_max=arguments.number("segment-size", 1, 1 << 26))
        return encoding


def upload_as_json(result: UploadResult, encoding: EncodingSettings) -> dict[str, object]:
    """Return what a client is told of a stored file."""
    return {
        "uri": result.uri,
        "size": result.size,
        "servers": len({holder for holders in result.shares.values() for holder in holders}),
        "happiness": result.happiness,
        "shares": {str(number): list(holders) for number, holders in sorted(result.shares.items())},
        "shares_needed": encoding.shares_needed,
        "pushed": result.pushed,
        "found": result.found,
        "problems": [problem_as_json(problem) for problem in result.problems],
    }


def problem_as_json(problem: ServerProblem) -> dict[str, object]:
    """Return what a client is told of a server that did not do its part."""
    return {
        "server": problem.server_id,
        "nickname": problem.nickname,
        "what": problem.what,
        "share": problem.share,
    }


def _three_numbers(text: str) -> tuple[int, int, int]:
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        raise BadRequestError("encoding must be NEEDED/HAPPINESS/TOTAL, such as 3/7/10")
    needed, happiness, total = map(int, parts)
    return needed, happiness, total
