"""``holdfast mv``: move or rename an entry of a directory on the grid."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import DrivePlaces, NothingThereError, open_drive
from holdfast.cli.link_targets import link_target
from holdfast.cli.options import node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.errors import InputError
from holdfast.interfaces.drive import NoSuchChildError


class MoveIntoItselfError(InputError):
    """A directory was to be moved to a place below itself, where nothing would lead to it any more."""


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@node_option
def mv(source: str, target: str, node: Path | None) -> None:
    """Move the entry FROM to TO; both are places as ALIAS:PATH.

    With a slash at its end TO is the directory to move into. A file of that name is replaced, a directory is
    not. At no moment is the entry in neither place.
    """
    event_loop.run(_mv(parse_grid_path(source), parse_grid_path(target), node))
    click.echo("OK")


async def _mv(source: GridPath, target: GridPath, node: Path | None) -> None:
    async with open_drive(node) as opened:
        places = opened.places
        old = await places.link(source)
        target = link_target(source, target)
        await _check_not_below(places, source, target)
        new = await places.new_link(target)
        try:
            await old.directory.move_child_to(old.name, new.directory, new.name, replace="only-files")
        except NoSuchChildError:
            raise NothingThereError(source, old.name) from None


async def _check_not_below(places: DrivePlaces, source: GridPath, target: GridPath) -> None:
    moved = await places.node(source)
    if moved.kind != "directory":
        return
    async for directory in places.directories_on_the_way(target):
        if directory.get_immutable_uri() == moved.get_immutable_uri():
            raise MoveIntoItselfError(f"{source} cannot be moved to {target}, which is inside it")
