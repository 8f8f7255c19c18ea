"""``holdfast unlink``: remove an entry of a directory on the grid."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import NothingThereError, open_drive
from holdfast.cli.options import node_option
from holdfast.cli.path_arguments import parse_grid_path
from holdfast.interfaces.drive import NoSuchChildError


@click.command()
@click.argument("place", metavar="ALIAS:PATH")
@node_option
def unlink(place: str, node: Path | None) -> None:
    """Remove the entry at ALIAS:PATH from its directory.

    What it led to is not destroyed: other entries and capabilities still lead there. A directory is unlinked
    with all that is in it.
    """
    event_loop.run(_unlink(place, node))
    click.echo("OK")


async def _unlink(argument: str, node: Path | None) -> None:
    place = parse_grid_path(argument)
    async with open_drive(node) as opened:
        directory, name = await opened.places.link(place)
        try:
            await directory.delete(name)
        except NoSuchChildError:
            raise NothingThereError(place, name) from None
