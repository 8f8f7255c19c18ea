"""What TO means for ``ln`` and ``mv``: the new entry, or with a slash at its end the directory for it.

Source: docs/spec/cli.md, section 4.6.
"""

from __future__ import annotations

from holdfast.cli.path_arguments import GridPath
from holdfast.errors import InputError


class NamelessError(InputError):
    """What is to be linked in a directory has no name to be linked by."""

    def __init__(self, source: GridPath) -> None:
        super().__init__(f"{source} has no name; give the new entry one: DIRECTORY/NAME")


def link_target(source: GridPath, target: GridPath) -> GridPath:
    """Return the place of the new entry.

    Raises:
        NamelessError: ``target`` is a directory, and ``source`` has no path whose last name would do.
    """
    if target.path and not target.trailing_slash:
        return target
    if not source.names:
        raise NamelessError(source)
    return target.below(source.names[-1])
