"""Where uploads come from, and the one form the encoder reads them in: a plaintext
of known size that can be read at any offset from a worker thread.

A stream of unknown length is first spooled to a temporary file, encrypted under a
key that lives in memory only.

Source: docs/spec/seed-map.md, section P.
"""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import stat
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from holdfast.crypto.ctr import CtrCipher
from holdfast.errors import InputError, SourceChangedError
from holdfast.grid.uninterrupted import uninterrupted
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable

SPOOL_PIECE = 1 << 20  # bytes
UNCHANGING = b"unchanging"  # the mark of a source that nobody can change


class Plaintext(Protocol):
    """An opened source. Methods but ``close`` may be called from any thread."""

    @property
    def size(self) -> int: ...

    @property
    def mark(self) -> bytes:
        """What tells this very state of the source from any other.

        An upload may go on from an earlier attempt only if the source has not been touched since.
        """
        ...

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill ``out`` with the bytes at ``offset``.

        Raises:
            SourceChangedError: the source is shorter than it was.
            InputError: it cannot be read.
        """
        ...

    def check_unchanged(self) -> None:
        """Raise SourceChangedError if the source is seen to have changed since it was opened."""
        ...

    async def close(self) -> None: ...


async def open_source(source: Uploadable | AsyncUploadable) -> Plaintext:
    """Open ``source`` for reading. Whoever opens it closes it.

    Raises:
        InputError: it cannot be opened, or is not a file.
        TypeError: it is no source.
    """
    if isinstance(source, DataSource | FileNameSource):
        return _open_handle(source)  # takes no longer than reading what is small, which is done at once too
    if isinstance(source, Uploadable):
        return await asyncio.to_thread(_open_handle, source)
    if isinstance(source, AsyncUploadable):
        return await _spool(source)
    raise TypeError(f"{type(source).__name__} is not a source of an upload")


# -- sources


class DataSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_filehandle(self) -> BinaryIO:
        return io.BytesIO(self._data)

    def close_filehandle(self, f: BinaryIO) -> None:
        f.close()


class FileNameSource:
    """A file on this machine, by its absolute path.

    Raises:
        ValueError: the path is relative.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.is_absolute():
            raise ValueError(f"not an absolute path: {self._path}")

    @property
    def name(self) -> str:
        """Return the name of the file, without its directory."""
        return self._path.name

    def get_filehandle(self) -> BinaryIO:
        try:
            # Opening a FIFO would wait for a writer; a stream goes through StreamSource.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            handle = os.fdopen(descriptor, "rb", buffering=0)
        except IsADirectoryError:
            raise InputError(f"{self._path} is a directory; give a file") from None
        except OSError as error:
            raise InputError(f"cannot read {self._path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            handle.close()
            raise InputError(f"{self._path} is not a regular file")
        return handle

    def close_filehandle(self, f: BinaryIO) -> None:
        f.close()


class FileHandleSource:
    """An open, seekable handle, read from its beginning; it stays open."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    def get_filehandle(self) -> BinaryIO:
        return self._handle

    def close_filehandle(self, f: BinaryIO) -> None:
        pass


class StreamSource:
    """Bytes that arrive, of unknown number."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def read(self, length: int) -> bytes:
        while not self._rest:
            try:
                self._rest = await anext(self._pieces)
            except StopAsyncIteration:
                return b""
        piece, self._rest = self._rest[:length], self._rest[length:]
        return piece

    async def close(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


# -- plaintexts


class _FilePlaintext:
    """A regular file, read without moving its position."""

    def __init__(self, uploadable: Uploadable, handle: BinaryIO) -> None:
        self._uploadable = uploadable
        self._handle = handle
        self._descriptor = handle.fileno()
        self._before = _fingerprint(self._descriptor)
        self.size = self._before[0]
        # The time of change is set by the system at every write, and by nobody else.
        changed = os.fstat(self._descriptor).st_ctime_ns
        self.mark = repr((*self._before, changed)).encode()

    def read_into(self, offset: int, out: memoryview) -> None:
        while out:
            try:
                count = os.preadv(self._descriptor, [out], offset)
            except OSError as error:
                raise InputError(f"cannot read the file: {error.strerror}") from error
            if count == 0:
                raise SourceChangedError("the file became shorter while it was read; nothing was stored")
            out = out[count:]
            offset += count

    def check_unchanged(self) -> None:
        if _fingerprint(self._descriptor) != self._before:
            raise SourceChangedError("the file changed while it was read; try again when it rests")

    async def close(self) -> None:
        self._uploadable.close_filehandle(self._handle)


class _HandlePlaintext:
    """Anything with seek and read, used by one thread at a time."""

    def __init__(self, uploadable: Uploadable, handle: BinaryIO) -> None:
        self._uploadable = uploadable
        self._handle = handle
        self._lock = threading.Lock()
        self.size = handle.seek(0, os.SEEK_END)
        # Bytes cannot change; what else is behind a handle, nobody knows.
        self.mark = UNCHANGING if isinstance(uploadable, DataSource) else secrets.token_bytes(16)

    def read_into(self, offset: int, out: memoryview) -> None:
        with self._lock:
            self._handle.seek(offset)
            while out:
                piece = self._handle.read(len(out))
                if not piece:
                    raise SourceChangedError("the source became shorter while it was read")
                out[: len(piece)] = piece
                out = out[len(piece) :]

    def check_unchanged(self) -> None:
        with self._lock:
            if self._handle.seek(0, os.SEEK_END) != self.size:
                raise SourceChangedError("the source changed its length while it was read")

    async def close(self) -> None:
        self._uploadable.close_filehandle(self._handle)


class _SpooledPlaintext:
    """An encrypted temporary file without a name, and its key."""

    def __init__(self, file: BinaryIO, key: bytes, size: int) -> None:
        self._file = file
        self._key = key
        self.size = size
        self.mark = UNCHANGING

    def read_into(self, offset: int, out: memoryview) -> None:
        view, at = out, offset
        while view:
            count = os.preadv(self._file.fileno(), [view], at)
            if count == 0:
                raise SourceChangedError("the temporary file became shorter")
            view, at = view[count:], at + count
        out[:] = CtrCipher(self._key, offset).update(out)

    def check_unchanged(self) -> None:
        """Nobody else can reach the file."""

    async def close(self) -> None:
        self._file.close()


def _fingerprint(descriptor: int) -> tuple[int, int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def _open_handle(source: Uploadable) -> Plaintext:
    handle = source.get_filehandle()
    try:
        regular = stat.S_ISREG(os.fstat(handle.fileno()).st_mode)
    except (OSError, AttributeError, io.UnsupportedOperation):
        regular = False
    try:
        return _FilePlaintext(source, handle) if regular else _HandlePlaintext(source, handle)
    except (OSError, AttributeError) as error:
        source.close_filehandle(handle)
        raise InputError("the source cannot seek; hand it over as a stream") from error


async def _spool(source: AsyncUploadable) -> Plaintext:
    key = secrets.token_bytes(16)
    cipher = CtrCipher(key)
    size = 0
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (lives as long as the plaintext)
    try:
        while piece := await source.read(SPOOL_PIECE):
            size += len(piece)
            await uninterrupted(_write_fully, file.fileno(), cipher.update(piece))
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise InputError(f"cannot spool the stream: {error.strerror or error}") from error
        raise
    finally:
        await source.close()
    return _SpooledPlaintext(file, key, size)


def _write_fully(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
