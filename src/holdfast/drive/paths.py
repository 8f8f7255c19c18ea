"""From a path to a node, one directory after another; and at which root a path begins.

Source: docs/spec/seed-map.md, S-103 to S-105 and S-199 to S-204; docs/spec/directories.md, section 7.7.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.interfaces.drive import (
    Node,
    NoSuchChildError,
    NotADirectoryNodeError,
    Path,
)

PRIVATE = "~"
LITERAL = "."  # in front of a text whose other elements mean themselves


class RootedPath(NamedTuple):
    """Where a path begins, and what follows.

    Attributes:
        private: it begins at the private root.
        alias: it begins at what the user gave this name to. Neither: at the public root, or another one.
        names: from there down.
    """

    private: bool
    alias: str | None
    names: list[str]


def rooted(path: Path) -> RootedPath:
    """Tell at which root ``path`` begins (S-200 to S-203)."""
    names = names_of(path)
    if isinstance(path, str) and names[:1] == [LITERAL]:
        return RootedPath(False, None, names[1:])
    if names[:1] == [PRIVATE]:
        return RootedPath(True, None, names[1:])
    if isinstance(path, str) and names and not path.startswith("/"):
        alias, colon, first = names[0].partition(":")
        if colon:
            return RootedPath(False, alias, [first, *names[1:]] if first else names[1:])
    return RootedPath(False, None, names)


def names_of(path: Path) -> list[str]:
    """Return the names in ``path``: of a string without the empty ones, of a list as they are."""
    return [name for name in path.split("/") if name] if isinstance(path, str) else list(path)


async def child_at_path(root: Node, path: Path) -> Node:
    """Return what is at ``path`` below ``root``, and ``root`` for an empty path.

    Raises:
        NoSuchChildError: with the name that is missing, and how deep it was looked for.
        NotADirectoryNodeError: the path goes on behind something that is not a directory.
        UnreadableChildError: an entry on the way cannot be read.
    """
    node: Node = root
    previous = ""
    for depth, name in enumerate(names_of(path)):
        if node.kind != "directory":
            raise NotADirectoryNodeError(previous, depth - 1)
        try:
            node = await node.get(name)
        except NoSuchChildError:
            raise NoSuchChildError(name, depth) from None
        previous = name
    return node
