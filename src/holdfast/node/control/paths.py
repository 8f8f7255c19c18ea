"""Which files the node itself opens for those who control it: those below configured
directories, reached without following a single link, and none of its own.

Each directory on the way is opened inside the one before, so what is checked is what
is used, whatever happens to names meanwhile.

Source: docs/spec/control-and-introducer.md, section 2.5.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.node.control.errors import NotAbsoluteError, PathNotAllowedError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an open directory, where a file may be written."""

    directory: int  # descriptor
    name: str
    taken: bool = False  # by a regular file


class PathRules:
    """What a node reads and writes. Every refusal but that of a relative name says the same."""

    def __init__(
        self,
        read_roots: Sequence[str],
        write_roots: Sequence[str],
        node: Path,
        owners: Collection[int] = (),
    ) -> None:
        """
        Args:
            read_roots, write_roots: absolute directories; links on the way to them are the operator's choice.
            node: the node's directory, which is out of bounds.
            owners: ids of users whose files are read, beside the node's own user.
        """
        self._read_roots = tuple(read_roots)
        self._write_roots = tuple(write_roots)
        self._node = node
        self._owners = {os.geteuid(), *owners}

    def open_for_reading(self, name: str) -> int:
        """Return a descriptor of the regular file of this absolute name.

        Raises:
            NotAbsoluteError: the name is relative, or leads back on its way.
            PathNotAllowedError: anything else; it is not told what.
        """
        _check_normal(name)
        try:
            with self._parent_of(name, self._read_roots) as place:
                self._check_file(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False))
                descriptor = os.open(place.name, _READ, dir_fd=place.directory)
        except OSError:
            raise _refused() from None
        try:
            self._check_file(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def place_for_writing(self, name: str) -> Iterator[Place]:
        """Give where the file of this absolute name may be written; a regular file may be there already.

        Raises:
            NotAbsoluteError, PathNotAllowedError: as for ``open_for_reading``.
        """
        _check_normal(name)
        with self._parent_of(name, self._write_roots) as place:
            try:
                self._check_file(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False))
                taken = True
            except FileNotFoundError:
                taken = False
            except OSError:
                raise _refused() from None
            yield replace(place, taken=taken)

    @contextmanager
    def _parent_of(self, name: str, roots: Sequence[str]) -> Iterator[Place]:
        """Walk from a root down to the directory that ``name`` is in."""
        fitting = [root for root in roots if name.startswith(root.rstrip("/") + "/")]
        if not fitting:
            raise _refused()
        root = max(fitting, key=len)
        *directories, last = name[len(root.rstrip("/")) + 1 :].split("/")
        descriptor = -1
        try:
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._check_outside_node(root)
            for directory in directories:
                below = os.open(directory, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
                self._check_not_node(descriptor)
        except OSError:
            _close(descriptor)
            raise _refused() from None
        except BaseException:
            _close(descriptor)
            raise
        try:
            yield Place(descriptor, last)
        finally:
            os.close(descriptor)

    def _check_outside_node(self, root: str) -> None:
        """Refuse a root that is the node's directory, or lies in it."""
        real, node = os.path.realpath(root), os.path.realpath(self._node)
        if os.path.commonpath([real, node]) == node:
            raise _refused()

    def _check_not_node(self, directory: int) -> None:
        if os.path.samestat(os.fstat(directory), os.stat(self._node)):
            raise _refused()

    def _check_file(self, status: os.stat_result) -> None:
        # A second name may have been made for a file that lies out of bounds.
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in self._owners or status.st_nlink > 1:
            raise _refused()


def _check_normal(name: str) -> None:
    normal = name.startswith("/") and name == os.path.normpath(name) and not name.startswith("//")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b"\0"
    if not normal or b"\0" in encoded:
        raise NotAbsoluteError("the name of the file must be absolute, without parts such as '..'")


def _refused() -> PathNotAllowedError:
    return PathNotAllowedError("the node does not read or write this file")


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
