"""Large messages in CBOR, in and out, without holding them in memory while the network
is slow: they wait in nameless files.

Source: docs/spec/storage-protocol.md, section 9.1.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import RawIOBase
from typing import cast

from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.servers.storage.disk import refusal_of
from holdfast.wire.http import BodyTooLargeError, FileRange, RequestBody

IN_MEMORY_MAX = 1 << 20  # bytes


@asynccontextmanager
async def received(body: RequestBody, limit: int, directory: str) -> AsyncIterator[bytes]:
    """Receive a whole body into a file, and give it as something that can be sliced like ``bytes``.

    Raises:
        BodyTooLargeError: more than ``limit`` bytes.
        NoSpaceError: it found no room to wait in.
    """
    if body.length is not None and body.length > limit:
        raise BodyTooLargeError
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        size = 0
        async for piece in body.chunks():
            size += len(piece)
            if size > limit:
                raise BodyTooLargeError
            try:
                await asyncio.to_thread(_write, file, piece)
            except OSError as error:
                raise refusal_of(error) from error
        yield cast("bytes", FileBytes(file.fileno(), size))


class FileBytes:
    """The contents of a file, read as they are sliced."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice | int) -> bytes | int:
        if isinstance(part, int):
            return self._read(part, part + 1)[0]
        begin, end, _ = part.indices(self._size)
        return self._read(begin, end)

    def _read(self, begin: int, end: int) -> bytes:
        data = os.pread(self._descriptor, max(0, end - begin), begin)
        if len(data) != max(0, end - begin):
            raise BadRequestError("the body could not be read back")
        return data


def to_send(message: bytes, directory: str) -> bytes | FileRange:
    """Return what an answer's body can be: the message itself, or a file that holds it if it is large."""
    if len(message) <= IN_MEMORY_MAX:
        return message
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        _write(file, memoryview(message))
        return FileRange(os.dup(file.fileno()), 0, len(message))


def _write(file: RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]
