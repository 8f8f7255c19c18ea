"""Large messages in CBOR, in and out, without holding them in memory: they wait in nameless files.

Of a request no byte string is read that is not short; it is used where it lies.

Source: docs/spec/storage-protocol.md, section 9.1.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, cast

from holdfast.interfaces.storage import ShareVectors
from holdfast.protocol import storage_messages as messages
from holdfast.servers.storage.scratch import FileBytes, FileParts, ScratchFile, ScratchSpace
from holdfast.wire.http import BodyTooLargeError, FileRange, RequestBody

IN_MEMORY_MAX = 1 << 20  # bytes
FEW = 1000  # tests and writes
LITTLE = 4096  # bytes of each share

P = ParamSpec("P")

Vectors = Mapping[int, ShareVectors]


async def received(body: RequestBody, limit: int, scratch: ScratchSpace) -> ScratchFile:
    """Receive a whole body into a file, to be closed by the caller.

    Raises:
        BodyTooLargeError: more than ``limit`` bytes.
        NoSpaceError: it found no room to wait in; of a body that says how long it is nothing was read.
    """
    if body.length is not None and body.length > limit:
        raise BodyTooLargeError
    file = scratch.new_file()
    try:
        await _in_thread(file.open, body.length)
        async for piece in body.chunks():
            if file.size + len(piece) > limit:
                raise BodyTooLargeError
            await _in_thread(file.append, piece)
    except BaseException:
        await _in_thread(file.close)
        raise
    return file


async def _in_thread(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call ``function`` in a thread, to its end even if the caller is cancelled: it uses the file."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        if not call.done():
            await asyncio.wait([call])
        raise


def vectors_in(file: ScratchFile) -> tuple[Vectors, Sequence[tuple[int, int]]]:
    """Decode a read-test-write request. What it returns can be used while the file is open. Blocks.

    Raises:
        BadRequestError: it is none.
    """
    descriptor = file.descriptor
    message = cast("bytes", FileBytes(descriptor, file.size))
    return messages.decode_read_test_write_request(message, lambda parts: FileParts(descriptor, parts))


def needs_little(vectors: Vectors, reads: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a request in a file, and its answer, take hardly any memory."""
    items = sum(len(share.tests) + len(share.writes) for share in vectors.values())
    return items <= FEW and sum(size for _, size in reads) <= LITTLE


def to_send(message: bytes, directory: str) -> bytes | FileRange:
    """Return what an answer's body can be: the message itself, or a file that holds it if it is large."""
    if len(message) <= IN_MEMORY_MAX:
        return message
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        view = memoryview(message)
        while view:
            view = view[file.write(view) :]
        return FileRange(os.dup(file.fileno()), 0, len(message))
