"""A file that appears under its name only when it is whole and on stable storage.

Loads next to nothing: commands use it too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from holdfast.errors import InputError
from holdfast.node.control.errors import AlreadyThereError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def open_whole_file(path: str, *, overwrite: bool) -> Iterator[WholeFile]:
    """Give what can be written to; when the block ends well, that is the file of this name.

    The mode is that of the file that is replaced, or what the umask gives.

    Raises:
        InputError: the directory cannot be written, or ``path`` is a directory.
        AlreadyThereError: the name is taken, and ``overwrite`` is False.
    """
    parent, name = os.path.split(os.path.abspath(path))
    if os.path.isdir(path) or not name:
        raise InputError(f"{path} is a directory; give a file name")
    try:
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    try:
        file = WholeFile(directory, name)
        try:
            yield file
            file.finish(overwrite=overwrite, mode=_usual_mode(path))
        finally:
            file.abandon()
    finally:
        os.close(directory)


class WholeFile:
    """Being written in an open directory, under a name of its own until ``finish``.

    Methods raise InputError where the system refuses.
    """

    def __init__(self, directory: int, name: str) -> None:
        """``directory``: its descriptor, which must stay open; ``name``: of the file in it."""
        self._directory = directory
        self._name = name
        self._temporary: str | None = f".holdfast-{os.urandom(8).hex()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor: int | None = os.open(self._temporary, flags, 0o600, dir_fd=directory)
        except OSError as error:
            raise self._refused(error) from error

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of ``data``; return its length."""
        assert self._descriptor is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise self._refused(error) from error
        return len(data)

    def finish(self, *, overwrite: bool, mode: int = 0o600) -> None:
        """Give the file its name and ``mode``; the whole of it is on stable storage then.

        Raises:
            AlreadyThereError: the name is taken, and ``overwrite`` is False.
        """
        assert self._descriptor is not None
        assert self._temporary is not None
        here = self._directory
        try:
            os.fchmod(self._descriptor, mode)
            os.fsync(self._descriptor)
            if overwrite:
                os.rename(self._temporary, self._name, src_dir_fd=here, dst_dir_fd=here)
                self._temporary = None
            else:
                os.link(self._temporary, self._name, src_dir_fd=here, dst_dir_fd=here)
            os.fsync(here)
        except FileExistsError:
            raise AlreadyThereError(f"{self._name} exists already") from None
        except OSError as error:
            raise self._refused(error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what was written, unless it has its name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
            self._temporary = None

    def _refused(self, error: OSError) -> InputError:
        return InputError(f"cannot write {self._name}: {error.strerror}")


def _usual_mode(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
