"""What FILE on a command line means: a path, or a stream when it is "-" or no ordinary file."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
from holdfast.grid.sources import FileNameSource, StreamSource
from holdfast.grid.targets import FileHandleTarget, FileTarget
from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable

STANDARD_STREAM = "-"
PIECE = 1 << 20  # bytes


@contextmanager
def source_for(file: str) -> Iterator[Uploadable | AsyncUploadable]:
    """Give the source for an upload of ``file``.

    Raises:
        InputError: there is nothing that can be read.
    """
    if file == STANDARD_STREAM:
        yield StreamSource(_pieces(sys.stdin.fileno()))
        return
    path = Path(file).absolute()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{file} is a directory; give a file")
    if stat.S_ISREG(mode):
        yield FileNameSource(path)
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    try:
        yield StreamSource(_pieces(descriptor))
    finally:
        os.close(descriptor)


@contextmanager
def target_for(file: str) -> Iterator[DownloadTarget[Any]]:
    """Give the target for a download to ``file``.

    An ordinary file appears when it is whole, or not at all. Into a device or a FIFO the bytes are written as
    they come; it is not replaced.

    Raises:
        InputError: it cannot be written.
    """
    if file == STANDARD_STREAM:
        yield FileHandleTarget(sys.stdout.buffer)
        return
    # A symbolic link stays one: what it points to is replaced.
    path = Path(os.path.realpath(file))
    try:
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
        if stat.S_ISDIR(mode):
            raise InputError(f"{file} is a directory; give a file name")
        if stat.S_ISREG(mode):
            yield FileTarget(path)
            return
        handle = open(path, "wb", buffering=0)  # noqa: SIM115  (closed below, whatever happens)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error
    with handle:
        yield FileHandleTarget(handle)


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    while True:
        try:
            piece = await asyncio.to_thread(os.read, descriptor, PIECE)
        except OSError as error:
            raise InputError(f"cannot read the stream: {error.strerror}") from error
        if not piece:
            return
        yield piece
