"""What a copy of several files and directories makes where: which source becomes which
name below the target, and which combinations are refused before anything is made.

It does not matter whether source and target lie on the grid or on a local disk.

Source: docs/spec/cli.md, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from holdfast.errors import InputError

T = TypeVar("T")

TargetState = Literal["missing", "file", "directory"]
TreePath = tuple[str, ...]
"""Names from the target directory down."""


class CopyRefusedError(InputError):
    """The sources do not fit the target, or each other; nothing was copied."""


@dataclass(frozen=True, slots=True)
class CopySource:
    """One thing to be copied.

    Attributes:
        shown: what it is called in messages.
        name: last part of its path; None for what has no path: the root of an alias, a bare capability.
    """

    shown: str
    name: str | None
    is_directory: bool
    trailing_slash: bool = False


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Where it is copied to, as it is found."""

    shown: str
    state: TargetState
    trailing_slash: bool = False


@dataclass(frozen=True, slots=True)
class ToFile:
    """The one source, a file, becomes the target itself: new, or with new contents."""


@dataclass(frozen=True, slots=True)
class IntoDirectory:
    """The target is a directory, to be made with its parents if ``create``.

    ``names``: what each source becomes in it; None for a directory whose entries go there directly.
    """

    create: bool
    names: tuple[str | None, ...]


def plan_copy(
    sources: Sequence[CopySource], target: CopyTarget, *, recursive: bool
) -> ToFile | IntoDirectory:
    """Decide what a copy makes.

    Raises:
        CopyRefusedError: the combination makes no sense; the message says why.
        ValueError: there are no sources.
    """
    if not sources:
        raise ValueError("a copy needs sources")
    for source in sources:
        if source.trailing_slash and not source.is_directory:
            raise CopyRefusedError(f"{source.shown} is a file, not a directory: leave out the slash")
    directories = [source for source in sources if source.is_directory]
    if directories and not recursive:
        raise CopyRefusedError(f"{directories[0].shown} is a directory; copy it with --recursive")
    one_file = len(sources) == 1 and not directories
    if target.state == "file" or (target.state == "missing" and one_file):
        return _plan_file(sources, target)
    for source in sources:
        if source.name is None and not source.is_directory:
            raise CopyRefusedError(f"{source.shown} has no name; give the target one: DIRECTORY/NAME")
    return IntoDirectory(target.state == "missing", tuple(source.name for source in sources))


def _plan_file(sources: Sequence[CopySource], target: CopyTarget) -> ToFile:
    if target.trailing_slash:
        what = "is a file" if target.state == "file" else "does not exist"
        raise CopyRefusedError(f"{target.shown} ends with a slash but {what}, so it is no directory")
    if len(sources) > 1:
        raise CopyRefusedError(f"{target.shown} is a file; several sources need a directory")
    if sources[0].is_directory:
        raise CopyRefusedError(f"{target.shown} is a file; the directory {sources[0].shown} cannot become it")
    return ToFile()


class CopyTree(Generic[T]):
    """Everything that is to be there in the target directory, with what each file is copied from.

    Directories of the same place become one. Two files, or a file and a directory, do not.
    """

    def __init__(self, normalised: Callable[[str], str] = lambda name: name) -> None:
        """``normalised``: names it makes equal are the same name in the target."""
        self._normalised = normalised
        self._directories: dict[TreePath, TreePath] = {}  # ordered; the key is normalised
        self._files: dict[TreePath, tuple[TreePath, T]] = {}

    @property
    def directories(self) -> list[TreePath]:
        """Return all directories below the target, each after the one that holds it."""
        return list(self._directories.values())

    @property
    def files(self) -> list[tuple[TreePath, T]]:
        """Return all files, with what they are copied from."""
        return list(self._files.values())

    def add_directory(self, path: TreePath, shown: str) -> None:
        """Add a directory whose parent is there already; the target itself is, as the empty path.

        Raises:
            CopyRefusedError: there is a file of that name.
        """
        key = self._key(path)
        if key in self._files:
            raise CopyRefusedError(f"{shown} is a directory, but a file of its name goes to the same place")
        self._directories.setdefault(key, path)

    def add_file(self, path: TreePath, file: T, shown: str) -> None:
        """Add a file whose directory is there already.

        Raises:
            CopyRefusedError: the name is taken.
        """
        key = self._key(path)
        if key in self._files:
            raise CopyRefusedError(f"{shown}: another file of this name goes to the same directory")
        if key in self._directories:
            raise CopyRefusedError(f"{shown} is a file, but a directory of its name goes to the same place")
        self._files[key] = (path, file)

    def _key(self, path: TreePath) -> TreePath:
        return tuple(map(self._normalised, path))
