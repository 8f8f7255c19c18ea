"""``holdfast mkdir``: make a directory on the grid."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.directory_options import directory_kind_option
from holdfast.cli.drive_places import open_drive
from holdfast.cli.options import node_option
from holdfast.cli.path_arguments import parse_grid_path
from holdfast.drive.node_making import DirectoryKind


@click.command()
@click.argument("place", metavar="[ALIAS:PATH]", default="")
@directory_kind_option
@node_option
def mkdir(place: str, kind: DirectoryKind | None, node: Path | None) -> None:
    """Make sure that there is a directory at ALIAS:PATH, and those above it; print its capability.

    Without a path: a new directory that is linked nowhere. Its capability is then the only way to it. Unless
    it is said otherwise, directories are of the kind of the one that they are in.
    """
    click.echo(event_loop.run(_mkdir(place, kind, node)))


async def _mkdir(argument: str, kind: DirectoryKind | None, node: Path | None) -> str:
    place = parse_grid_path(argument)
    async with open_drive(node) as opened:
        if place.names:
            return (await opened.places.made_directory(place, place.names, kind)).get_uri()
        return (await opened.places.new_directory(None, kind=kind)).get_uri()
