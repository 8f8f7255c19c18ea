"""Where downloads go.

Source: docs/spec/seed-map.md, section N.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from holdfast.errors import InputError
from holdfast.grid.uninterrupted import uninterrupted
from holdfast.interfaces.transfer import DownloadTarget
from holdfast.interfaces.types import Buffer

T = TypeVar("T")


class DataTarget:
    """Collects the bytes in memory; ``finish`` returns them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        self._parts.clear()

    def write(self, data: Buffer) -> None:
        self._parts.append(bytes(data))

    def close(self) -> None:
        pass

    def fail(self, why: BaseException) -> None:
        self._parts.clear()

    def finish(self) -> bytes:
        return b"".join(self._parts)


class DiscardTarget:
    """Counts the bytes and forgets them; ``finish`` returns their number."""

    def __init__(self) -> None:
        self._count = 0

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        self._count = 0

    def write(self, data: Buffer) -> None:
        self._count += len(data)

    def close(self) -> None:
        pass

    def fail(self, why: BaseException) -> None:
        pass

    def finish(self) -> int:
        return self._count


class FileHandleTarget:
    """Writes to an open handle, which stays open; ``finish`` returns it."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    def open(self, size: int) -> None:
        pass

    async def write(self, data: Buffer) -> None:
        await asyncio.to_thread(_write_handle, self._handle, data)

    async def close(self) -> None:
        await asyncio.to_thread(self._handle.flush)

    def fail(self, why: BaseException) -> None:
        pass

    def finish(self) -> BinaryIO:
        return self._handle


class FileTarget:
    """Writes a file that appears under its name only when it is whole and on stable storage.

    ``finish`` returns the absolute path. ``open`` raises InputError if the directory cannot be written, or
    if the name is taken and ``overwrite`` is False.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        self._path = Path(path).absolute()
        self._overwrite = overwrite
        self._descriptor: int | None = None
        self._temporary: str | None = None

    def register_canceller(self, cb: Callable[[], None]) -> None:
        pass

    async def open(self, size: int) -> None:
        await uninterrupted(self._open, size)

    async def write(self, data: Buffer) -> None:
        await uninterrupted(self._write, data)

    async def close(self) -> None:
        await uninterrupted(self._close)

    def fail(self, why: BaseException) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None

    def finish(self) -> Path:
        return self._path

    def _open(self, size: int) -> None:
        if self._path.is_dir():
            raise InputError(f"{self._path} is a directory; give a file name")
        if not self._overwrite and self._path.exists():
            raise InputError(f"{self._path} exists already")
        try:
            self._descriptor, self._temporary = tempfile.mkstemp(
                prefix=f".{self._path.name[:100]}.", suffix=".part", dir=self._path.parent
            )
            if size and hasattr(os, "posix_fallocate"):
                self._reserve(size)
        except OSError as error:
            self.fail(error)
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error

    def _reserve(self, size: int) -> None:
        assert self._descriptor is not None
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            if error.errno in _FULL:
                raise
            # A file system that cannot reserve: writes will tell.

    def _write(self, data: Buffer) -> None:
        assert self._descriptor is not None
        try:
            _write_fully(self._descriptor, data)
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error

    def _close(self) -> None:
        assert self._descriptor is not None
        assert self._temporary is not None
        try:
            os.fchmod(self._descriptor, self._mode())
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            if self._overwrite:
                os.replace(self._temporary, self._path)
            else:
                os.link(self._temporary, self._path)
                os.unlink(self._temporary)
            self._temporary = None
            _sync_directory(self._path.parent)
        except FileExistsError:
            raise InputError(f"{self._path} exists already") from None
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error

    def _mode(self) -> int:
        """Return the mode of the file that is replaced, or what the umask gives."""
        with contextlib.suppress(OSError):
            return self._path.stat().st_mode & 0o777
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


class TargetCaller(Generic[T]):
    """Calls a target's methods in order, awaiting those that are coroutines; nothing after ``fail``."""

    def __init__(self, target: DownloadTarget[T]) -> None:
        self._target = target
        self._failed = False

    async def open(self, size: int) -> None:
        await _maybe(self._target.open(size))

    async def write(self, data: Buffer) -> None:
        await _maybe(self._target.write(data))

    async def finish(self) -> T:
        await _maybe(self._target.close())
        result = self._target.finish()
        return await result if inspect.isawaitable(result) else result

    async def fail(self, why: BaseException) -> None:
        if not self._failed:
            self._failed = True
            await _maybe(self._target.fail(why))


_FULL = frozenset((28, 122, 27))  # ENOSPC, EDQUOT, EFBIG


async def _maybe(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


def _write_handle(handle: BinaryIO, data: Buffer) -> None:
    view = memoryview(data)
    try:
        while view:
            count = handle.write(view)
            view = view[count if count is not None else len(view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}") from error


def _write_fully(descriptor: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
