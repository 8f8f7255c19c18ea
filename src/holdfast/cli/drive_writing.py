"""A file that is to be stored at a place on the grid: what is there, and how the place comes to lead to it.

Source: docs/spec/cli.md, sections 4.4 and 5.3.
"""

from __future__ import annotations

from holdfast.cli.drive_places import DrivePlaces, NeedsPathError, NothingThereError
from holdfast.cli.path_arguments import GridPath
from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.interfaces.drive import ChildOfWrongTypeError, NewChild, Node, NotWriteableError


class NoFileThereError(ChildOfWrongTypeError):
    """A file is to be stored where there is something else."""

    def __init__(self, place: GridPath, what: str) -> None:
        super().__init__(str(place))
        self._text = f"{place} {what}; give the path of a file"

    def __str__(self) -> str:
        return self._text


async def file_to_overwrite(places: DrivePlaces, place: GridPath) -> MutableFileNode | None:
    """Return the mutable file at ``place``, whose contents are to be replaced. None: a new file goes there.

    Raises:
        NoFileThereError: there is something else than a file.
        NotWriteableError: what is there cannot be changed with the capability it is held by.
        NeedsPathError: the place is a capability alone, and not that of a mutable file.
    """
    try:
        found = await places.node(place)
    except NothingThereError:
        return None
    file = overwritten(found, place)
    if file is None and not place.names:
        raise NeedsPathError(place)
    return file


def overwritten(found: Node, place: GridPath) -> MutableFileNode | None:
    """Do the same for what was found."""
    if isinstance(found, ImmutableFileNode):
        return None
    if not isinstance(found, MutableFileNode):
        what = "is a directory" if found.kind == "directory" else "is of a kind that is not known here"
        raise NoFileThereError(place, what)
    if found.is_readonly():
        raise NotWriteableError(f"{place} is held read-only; changing it takes its write capability")
    return found


async def link_node(places: DrivePlaces, place: GridPath, node: Node) -> None:
    """Let ``place`` lead to ``node``; make the directories on the way that are missing.

    Raises:
        ChildAlreadyPresentError: there is a directory.
    """
    directory, name = await places.new_link(place)
    await directory.set_children({name: NewChild(node)}, replace="only-files")
