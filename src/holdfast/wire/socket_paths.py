"""How a Unix socket of a long name is reached: the system takes about a hundred bytes."""

from __future__ import annotations

import os

PATH_SIZE_MAX = 103  # bytes: what macOS takes; Linux takes 107


class ShortPath:
    """Gives, for the length of a block, a name by which a socket can be bound or connected to.

    That is its own name, or for a long one a symbolic link to its directory, in a new directory that only
    this user can enter.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory: str | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= PATH_SIZE_MAX:
            return self._path
        self._directory = os.path.join("/tmp", f"holdfast-{os.urandom(8).hex()}")  # noqa: S108  (TMPDIR is long)
        os.mkdir(self._directory, 0o700)
        link = os.path.join(self._directory, "d")
        os.symlink(os.path.abspath(os.path.dirname(self._path)), link)
        return os.path.join(link, os.path.basename(self._path))

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            os.unlink(os.path.join(self._directory, "d"))
            os.rmdir(self._directory)
