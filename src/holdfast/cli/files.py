"""What FILE on a command line means: a path, or a stream when it is "-" or no ordinary file.

Loads little: many a command only hands the bytes on to a node that runs.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from holdfast.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Any

    from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable
    from holdfast.wire.local_client import Writable

STANDARD_STREAM = "-"
PIECE = 1 << 20  # bytes


class InputFile(NamedTuple):
    """FILE, open for reading."""

    name: str  # as it was given
    descriptor: int
    size: int | None  # bytes of a regular file; None: a stream, read once from where it stands


@contextmanager
def open_input(file: str) -> Iterator[InputFile]:
    """Open ``file`` until the block ends.

    Raises:
        InputError: there is nothing that can be read.
    """
    if file == STANDARD_STREAM:
        yield InputFile(file, sys.stdin.fileno(), None)
        return
    try:
        if stat.S_ISDIR(os.stat(file).st_mode):
            raise InputError(f"{file} is a directory; give a file")
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {_why(error)}") from error
    try:
        status = os.fstat(descriptor)
        yield InputFile(file, descriptor, status.st_size if stat.S_ISREG(status.st_mode) else None)
    finally:
        os.close(descriptor)


@contextmanager
def source_for(file: str) -> Iterator[Uploadable | AsyncUploadable]:
    """Give the source for an upload of ``file``. Raises InputError, as ``open_input``."""
    with open_input(file) as opened:
        yield source_of(opened)


def source_of(file: InputFile) -> Uploadable | AsyncUploadable:
    """Return the source for an upload by this process."""
    from holdfast.grid.sources import FileNameSource, StreamSource

    if file.size is None:
        return StreamSource(_pieces(file.descriptor))
    return FileNameSource(os.path.abspath(file.name))


def check_output(file: str) -> None:
    """Raise InputError if ``file`` cannot be a place for a download."""
    if file != STANDARD_STREAM and os.path.isdir(file):
        raise InputError(f"{file} is a directory; give a file name")


@contextmanager
def target_for(file: str) -> Iterator[DownloadTarget[Any]]:
    """Give the target for a download to ``file``.

    An ordinary file appears when it is whole, or not at all. Into a device or a FIFO the bytes are written as
    they come; it is not replaced.

    Raises:
        InputError: it cannot be written.
    """
    from holdfast.grid.targets import FileHandleTarget, FileTarget

    check_output(file)
    if file == STANDARD_STREAM:
        # Unbuffered: after an interrupt, a buffer would wait for the thread that still waits for the pipe.
        with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as handle:
            yield FileHandleTarget(handle)
    elif _is_replaced(file):
        yield FileTarget(os.path.realpath(file))
    else:
        with open(_open_to_write(file), "wb", buffering=0) as handle:
            yield FileHandleTarget(handle)


class OutputFile:
    """Where a download to ``file`` is written, as by ``target_for``, without an event loop.

    Used in a ``with`` block: it is opened when the first bytes come, and finished when the block ends well.
    Methods raise InputError where it cannot be written.
    """

    def __init__(self, file: str) -> None:
        check_output(file)
        self._file = file
        self._stack = ExitStack()
        self._opened: Writable | None = None

    @property
    def begun(self) -> bool:
        """True once bytes were written."""
        return self._opened is not None

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, data: memoryview) -> int:
        """Append all of ``data``; return its length."""
        self.begin().write(data)
        return len(data)

    def begin(self) -> Writable:
        """Open the file, unless bytes were written; without this, what is empty would not appear."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Writable:
        if self._file == STANDARD_STREAM:
            return _Stream(sys.stdout.fileno())
        if _is_replaced(self._file):
            from holdfast.node.control.whole_file import open_whole_file

            return self._stack.enter_context(open_whole_file(os.path.realpath(self._file), overwrite=True))
        descriptor = _open_to_write(self._file)
        self._stack.callback(os.close, descriptor)
        return _Stream(descriptor)


class _Stream:
    """A descriptor. Nothing is kept back, so that nothing is left to be written after an interrupt."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: memoryview) -> int:
        view = data
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"cannot write: {error.strerror}") from error
        return len(data)


def _is_replaced(file: str) -> bool:
    """Tell whether ``file`` is a regular file, or will be one. A link stays one."""
    try:
        return not os.path.exists(file) or stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {file}: {_why(error)}") from error


def _open_to_write(file: str) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    import asyncio

    while True:
        try:
            piece = await asyncio.to_thread(os.read, descriptor, PIECE)
        except OSError as error:
            raise InputError(f"cannot read the stream: {error.strerror}") from error
        if not piece:
            return
        yield piece


def _why(error: OSError | ValueError) -> str:
    """Return the reason in the system's words; a name with a zero byte in it is refused by Python."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
