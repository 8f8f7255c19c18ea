"""What an argument names: a place on the grid, below an alias or a capability; or, in ``cp``, a local path.

Loads next to nothing.

Source: docs/spec/cli.md, section 3.3.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from holdfast.errors import InputError

CAPABILITY_PREFIXES = ("URI:", "ro.URI:", "imm.URI:")
PRIVATE_ROOT = "~"  # stands for the client's own root where an alias would stand
PATH_MARK = ":./"  # between a capability and a path
WINDOWS = ("win32", "cygwin")


class BadPathError(InputError, ValueError):
    """A path has an empty name in it."""


class GridPath(NamedTuple):
    """A place on the grid: ``path`` below the capability ``cap``, or below the alias ``alias``, of which
    PRIVATE_ROOT means the client's own root.

    ``alias`` and ``cap`` None: below the default alias.
    """

    alias: str | None
    cap: str | None
    path: str

    @property
    def names(self) -> list[str]:
        """Return the names of the path, from the root down; none: the root itself.

        Raises:
            BadPathError: one of them is empty.
        """
        path = self.path.removesuffix("/")
        names = path.split("/") if self.path else []
        if not all(names):
            raise BadPathError(
                "a path on the grid neither begins with a slash nor has two in a row (where the shell has put"
                " a home directory in place of ~, write ~: for the private root)"
            )
        return names

    @property
    def trailing_slash(self) -> bool:
        return self.path.endswith("/")

    def below(self, name: str) -> GridPath:
        """Return the place ``name`` in this one."""
        separator = "/" if self.path and not self.trailing_slash else ""
        return self._replace(path=f"{self.path}{separator}{name}")

    def __repr__(self) -> str:
        return f"GridPath({self})"

    def __str__(self) -> str:
        """The place for people: a capability is not shown."""
        if self.alias == PRIVATE_ROOT:
            return f"~/{self.path}" if self.path else PRIVATE_ROOT
        if self.cap is None:
            return self.path if self.alias is None else f"{self.alias}:{self.path}"
        kind = self.cap.split(":")[1]
        return f"URI:{kind}:..." + (f"/{self.path}" if self.path else "")


class LocalPath(NamedTuple):
    """A path on this machine, with ``~`` expanded."""

    path: str

    @property
    def absolute(self) -> str:
        return os.path.abspath(self.path)

    @property
    def trailing_slash(self) -> bool:
        return self.path.endswith("/")

    def __str__(self) -> str:
        return self.path


def parse_grid_path(argument: str) -> GridPath:
    """Return the place on the grid that ``argument`` names. Nothing is refused before it is used."""
    text = argument.strip(" ")
    if text.startswith(CAPABILITY_PREFIXES):
        return _below_capability(text)
    if text == PRIVATE_ROOT or text.startswith(f"{PRIVATE_ROOT}/"):
        return GridPath(PRIVATE_ROOT, None, text.removeprefix(PRIVATE_ROOT).removeprefix("/"))
    alias, colon, path = text.partition(":")
    if not colon or "/" in alias:
        return GridPath(None, None, text)
    return GridPath(alias, None, path)


def parse_copy_path(argument: str, *, drives: bool = sys.platform in WINDOWS) -> GridPath | LocalPath:
    """Return what ``argument`` of ``cp`` names: where no alias is written, a local path. So ``~/x`` is in
    the home directory, and ``~:x`` in the private root.

    ``drives``: a single letter before a colon is a drive, not an alias.
    """
    text = argument.strip(" ")
    if text == PRIVATE_ROOT or text.startswith(f"{PRIVATE_ROOT}/"):
        return LocalPath(os.path.expanduser(argument))
    place = parse_grid_path(text)
    drive = drives and place.alias is not None and len(place.alias) == 1 and place.alias.isalpha()
    if drive or (place.alias is None and place.cap is None):
        return LocalPath(os.path.expanduser(argument))  # spaces may belong to the name of a file
    return place


def _below_capability(text: str) -> GridPath:
    if PATH_MARK in text:
        cap, _, path = text.partition(PATH_MARK)
    else:
        cap, _, path = text.partition("/")
    return GridPath(None, cap, path)
