"""The copying of files into a directory on this machine. Each file appears when it is whole. Below
that directory no link is followed, so nothing is written anywhere else.

Source: docs/spec/cli.md, sections 5.2 and 5.3.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING

from holdfast.cli.copy_sources import GridFile, LeftOut, LocalFile, SourceFile
from holdfast.cli.copy_work import CopyProgress, in_parallel
from holdfast.cli.files import OutputFile, target_for
from holdfast.errors import InputError
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.uninterrupted import uninterrupted
from holdfast.interfaces.types import Buffer
from holdfast.node.control.whole_file import WholeFile
from holdfast.planning.copy_plan import CopyRefusedError, CopyTree, TreePath

if TYPE_CHECKING:
    from holdfast.cli.progress_bars import Draw

Fill = Callable[[Callable[[Buffer], object]], object]
"""Calls what it is given with one piece after another."""

PIECE = 1 << 20  # bytes
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class DiskTree:
    """A directory that exists, and what is to be copied into it."""

    def __init__(self, root: str, tree: CopyTree[SourceFile], *, caps_only: bool = False) -> None:
        """``caps_only``: write the capability of each file for reading, in place of its contents."""
        self._root = root
        self._directories = tree.directories
        self._files = tree.files
        self._caps_only = caps_only

    def leave_out_impossible(self, left_out: LeftOut) -> None:
        """Leave out what cannot have its name on a disk."""
        self._directories = [path for path in self._directories if all(map(_possible, path))]
        kept = []
        for path, file in self._files:
            if all(map(_possible, path)):
                kept.append((path, file))
            else:
                left_out.missing("/".join(path), "no file here can have such a name")
        self._files = kept

    def check(self) -> None:
        """Compare with what is there.

        Raises:
            CopyRefusedError: a file would take the place of a directory, or the other way round.
        """
        for path in self._directories:
            mode = self._mode(path)
            if mode is not None and not stat.S_ISDIR(mode):
                what = "a link, which is not followed" if stat.S_ISLNK(mode) else "a file"
                raise CopyRefusedError(f"{self._shown(path)} is {what}; a directory is to be copied there")
        for path, _ in self._files:
            mode = self._mode(path)
            if mode is not None and stat.S_ISDIR(mode):
                raise CopyRefusedError(f"{self._shown(path)} is a directory; a file is to be copied there")

    async def copy(self, draw: Draw) -> None:
        """Make the directories, then the files. What is done stays if something fails."""
        await uninterrupted(self._make_directories)
        progress = CopyProgress(draw, sum(file.size for _, file in self._files))
        await in_parallel(self._files, lambda item: self._copy_file(*item, progress))

    def _make_directories(self) -> None:
        try:
            os.makedirs(self._root, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {self._root}: {error.strerror}") from error
        for path in self._directories:
            with self._opened(path[:-1]) as parent, suppress(FileExistsError):
                try:
                    os.mkdir(path[-1], dir_fd=parent)
                except FileExistsError:
                    raise
                except OSError as error:
                    raise InputError(f"cannot make {self._shown(path)}: {error.strerror}") from error

    async def _copy_file(self, path: TreePath, file: SourceFile, progress: CopyProgress) -> None:
        async def work(update: ProgressCallback) -> None:
            if isinstance(file, LocalFile):
                await uninterrupted(self._copy_local, file.path, path)
            elif self._caps_only:
                cap = file.node.get_immutable_uri().encode()
                await uninterrupted(self._write, path, lambda write: write(cap))
            else:
                await self._download(file, path, update)

        await progress.of_file(file.size, work)

    async def _download(self, file: GridFile, path: TreePath, update: ProgressCallback) -> None:
        with self._opened(path[:-1]) as parent:
            target = _EntryTarget(parent, path[-1])
            await file.node.download(target, progress=update)

    def _copy_local(self, source: str, path: TreePath) -> None:
        with _source_pieces(source) as copy_all:
            self._write(path, copy_all)

    def _write(self, path: TreePath, fill: Fill) -> None:
        with self._opened(path[:-1]) as parent:
            target = _EntryTarget(parent, path[-1])
            target.open_now()
            try:
                fill(target.write_now)
                target.close_now()
            finally:
                target.abandon()

    @contextmanager
    def _opened(self, path: Sequence[str]) -> Iterator[int]:
        """Give the descriptor of a directory below the root, reached without following a link."""
        descriptor = -1
        try:
            descriptor = os.open(self._root, _DIRECTORY)
            for name in path:
                below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise InputError(f"cannot write in {self._shown(path)}: {error.strerror}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _mode(self, path: TreePath) -> int | None:
        try:
            return os.lstat(os.path.join(self._root, *path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"cannot look at {self._shown(path)}: {error.strerror}") from error

    def _shown(self, path: Sequence[str]) -> str:
        return os.path.join(self._root, *path)


async def copy_file_to_disk(
    file: SourceFile, path: str, update: ProgressCallback, *, caps_only: bool
) -> None:
    """Copy one file to the absolute ``path``, as ``get`` would: a link stays one, a device is written.

    Raises:
        InputError: it cannot be written, or is the very file that is copied.
    """
    if isinstance(file, LocalFile):
        await uninterrupted(_copy_local_file, file.path, path)
    elif caps_only:
        cap = file.node.get_immutable_uri().encode()
        await uninterrupted(_write_file, path, lambda write: write(cap))
    else:
        with target_for(path) as target:
            await file.node.download(target, progress=update)


def _copy_local_file(source: str, path: str) -> None:
    if os.path.exists(path) and os.path.samefile(source, path):
        raise CopyRefusedError(f"{path} is the very file that is to be copied")
    with _source_pieces(source) as copy_all:
        _write_file(path, copy_all)


def _write_file(path: str, fill: Fill) -> None:
    with OutputFile(path) as output:
        output.begin()
        fill(lambda data: output.write(memoryview(data)))


@contextmanager
def _source_pieces(source: str) -> Iterator[Fill]:
    """Give what writes all of a local file."""
    try:
        file = FileIO(source)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error

    def copy_all(write: Callable[[Buffer], object]) -> None:
        while piece := _read_piece(file, source):
            write(piece)

    with file:
        yield copy_all


def _read_piece(file: FileIO, source: str) -> bytes:
    try:
        return file.read(PIECE)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error


class _EntryTarget:
    """A file in an open directory, as the target of a download. A link of its name is replaced."""

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name
        self._file: WholeFile | None = None

    def register_canceller(self, cb: Callable[[], None]) -> None:
        """Whoever copies cancels the task."""

    async def open(self, size: int) -> None:
        await uninterrupted(self.open_now)

    async def write(self, data: Buffer) -> None:
        await uninterrupted(self.write_now, data)

    async def close(self) -> None:
        await uninterrupted(self.close_now)

    def fail(self, why: BaseException) -> None:
        self.abandon()

    def finish(self) -> None:
        """There is nothing to return."""

    def open_now(self) -> None:
        self._file = WholeFile(self._directory, self._name)

    def write_now(self, data: Buffer) -> None:
        assert self._file is not None
        self._file.write(memoryview(data))

    def close_now(self) -> None:
        assert self._file is not None
        self._file.finish(overwrite=True, mode=self._mode())

    def abandon(self) -> None:
        """Remove what was written, unless it is whole."""
        if self._file is not None:
            self._file.abandon()

    def _mode(self) -> int:
        """Return the mode of the file that is replaced, or what the umask gives."""
        with suppress(OSError):
            status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return status.st_mode & 0o777
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _possible(name: str) -> bool:
    """Tell whether a file can have this name: names on the grid are any text."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name
