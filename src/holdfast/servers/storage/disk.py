"""Every change of the storage directory that has to survive a crash goes through a
``Disk``. So a test can subclass it, and stop the process, or fail, at any step.

Source: docs/spec/storage-disk.md, section 8.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress

from holdfast.interfaces.storage_errors import NoSpaceError
from holdfast.interfaces.types import Buffer

COPY_PIECE = 1 << 20  # bytes
COPY_AT_ONCE = 16 << 20  # bytes, by the system
COPY_BY_SYSTEM = 64 * 1024  # bytes; less is read and written
BLOCK = 4096  # bytes; where file systems that can share blocks do it
BEHIND_MIN = 128 * 1024  # bytes; less is not worth a hint
BEHIND = 4 << 20  # bytes of earlier pieces that may have reached the disk meanwhile
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
RENAME_EXCHANGE = 2  # of renameat2, as AT_FDCWD
AT_FDCWD = -100
NOT_OFFERED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EXDEV})


class Disk:
    """Durable file operations. Every method blocks; all raise OSError."""

    def __init__(self, *, synchronise: bool) -> None:
        self.synchronise = synchronise

    def create(self, path: str, size: int) -> tuple[int, bool]:
        """Create a file of ``size`` bytes.

        Returns:
            A descriptor, and whether the blocks of the file are allocated, so that writing cannot fail for
            lack of room. Not every file system can do that.

        Raises:
            OSError: among others ENOSPC, when there is no room; the file is then gone again.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            allocated = size == 0 or preallocate(descriptor, size)
            if not allocated:
                os.ftruncate(descriptor, size)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        return descriptor, allocated

    def create_with(self, path: str, content: bytes) -> None:
        """Create a small file that holds ``content``.

        Raises:
            OSError: among others ENOSPC, when there is no room; the file is then gone again.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.write(descriptor, content, 0)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def write(self, descriptor: int, data: Buffer, offset: int) -> None:
        """Write all of ``data``."""
        count = os.pwrite(descriptor, data, offset)
        if count < len(data):
            view = memoryview(data)
            while count < len(view):
                count += os.pwrite(descriptor, view[count:], offset + count)

    def write_behind(self, descriptor: int, data: Buffer, offset: int) -> None:
        """Write a large piece of a file that is written from front to back and synchronised at its end.

        The system begins at once to bring it to the disk, and lets go of what is there already. So
        synchronising has little left to do, and the memory that holds the file's pages stays small and warm:
        touching fresh memory costs more than all the rest of receiving a share.
        """
        self.write(descriptor, data, offset)
        self._let_go(descriptor, offset, offset + len(data))

    def _let_go(self, descriptor: int, begin: int, end: int) -> None:
        if self.synchronise and end - begin >= BEHIND_MIN and hasattr(os, "posix_fadvise"):
            start = max(0, begin - BEHIND)
            os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)

    def truncate(self, descriptor: int, size: int) -> None:
        """Set the length of a file; new bytes read as zero."""
        os.ftruncate(descriptor, size)

    def copy(self, source: int, target: int, begin: int, end: int, to: int | None = None) -> None:
        """Copy ``[begin, end)`` of one file to another, sharing blocks where the file system can.

        ``to``: where in the other file, if not at the same place.
        """
        shift = 0 if to is None else to - begin
        while begin < end:
            size = min(end - begin, COPY_AT_ONCE)
            if shift % BLOCK == 0 and begin % BLOCK:
                size = min(size, BLOCK - begin % BLOCK)  # from here on blocks can be shared
            count = self._copy_piece(source, target, begin, begin + shift, size)
            if count == 0:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            self._let_go(target, begin + shift, begin + shift + count)
            begin += count

    def _copy_piece(self, source: int, target: int, begin: int, to: int, size: int) -> int:
        """Copy at most ``size`` bytes; return how many."""
        if size >= COPY_BY_SYSTEM and hasattr(os, "copy_file_range"):
            try:
                return os.copy_file_range(source, target, size, begin, to)
            except OSError as error:
                if error.errno not in NOT_OFFERED:
                    raise
        piece = os.pread(source, min(COPY_PIECE, size), begin)
        self.write(target, piece, to)
        return len(piece)

    def sync_file(self, descriptor: int) -> None:
        """Return once the contents of the file are on stable storage."""
        if self.synchronise:
            os.fsync(descriptor)

    def sync_data(self, descriptor: int) -> None:
        """Do the same for what is needed to read the contents again; times of the file may be lost."""
        if self.synchronise:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)

    def sync_directory(self, path: str) -> None:
        """Return once the names in this directory are on stable storage."""
        if not self.synchronise:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_everything(self, path: str) -> bool:
        """Bring all that was written to the file system of ``path`` to stable storage.

        Returns:
            False if the system cannot do that; then files and directories are synchronised one by one.
        """
        if not self.synchronise:
            return True
        if _syncfs is None:
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(descriptor)
        return True

    def make_directory(self, path: str) -> None:
        """Create a directory, and those above it, unless they exist."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        except FileNotFoundError:
            self.make_directory(os.path.dirname(path))
            self.make_directory(path)

    def remove_directory(self, path: str) -> None:
        """Remove a directory if it is empty."""
        with suppress(OSError):
            os.rmdir(path)

    def publish(self, source: str, target: str) -> None:
        """Give a file its final name, which must be free.

        Raises:
            FileExistsError: the name is taken; nothing changed.
        """
        os.link(source, target, follow_symlinks=False)
        os.unlink(source)

    def replace(self, source: str, target: str) -> None:
        """Give a file its final name, in place of what has it."""
        os.replace(source, target)

    def replace_unsynchronised(self, source: str, target: str) -> None:
        """Do the same with a small file that is kept elsewhere until it is synchronised.

        Some file systems bring a file to the disk before it takes the name of another, and to exchange the
        two without that. After a crash ``source`` may be the old file.
        """
        if exchange(source, target):
            self.remove(source)
        else:
            os.replace(source, target)

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(path)

    def commit(self, commit: Callable[[], None]) -> None:
        """Commit a transaction of the catalog."""
        commit()


def refusal_of(error: OSError) -> Exception:
    """Return ``error`` as the refusal it means for a client, if it means one."""
    if error.errno in NO_ROOM:
        refusal = NoSpaceError("the disk is full")
        refusal.__cause__ = error
        return refusal
    return error


def preallocate(descriptor: int, size: int) -> bool:
    """Allocate the blocks of a file and set its length; False if the file system does not offer that.

    The C library's ``posix_fallocate`` is not used: where the call is missing it writes the whole file.
    """
    if _fallocate is None:
        return False
    while _fallocate(descriptor, 0, 0, size) != 0:
        code = ctypes.get_errno()
        if code in NOT_OFFERED:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def exchange(one: str, other: str) -> bool:
    """Let two files exchange their names; False if ``other`` is not there or the system cannot do that."""
    if _renameat2 is None or _renameat2(one, other, RENAME_EXCHANGE) == 0:
        return _renameat2 is not None
    code = ctypes.get_errno()
    if code in NOT_OFFERED or code == errno.ENOENT:
        return False
    raise OSError(code, os.strerror(code))


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate64
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return lambda descriptor, mode, offset, size: int(function(descriptor, mode, offset, size))


def _find_syncfs() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes = [ctypes.c_int]
    return lambda descriptor: int(function(descriptor))


def _find_renameat2() -> Callable[[str, str, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    here = AT_FDCWD
    return lambda one, other, flags: int(function(here, os.fsencode(one), here, os.fsencode(other), flags))


_fallocate = _find_fallocate()
_renameat2 = _find_renameat2()
_syncfs = _find_syncfs()
