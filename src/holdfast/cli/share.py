"""``holdfast share``: the capability to give to others. It only reads unless more is asked for.

Source: docs/spec/seed-map.md, S-095.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.options import given_capability, node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.errors import BadCapabilityError
from holdfast.interfaces.drive import NotWriteableError


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option("--writable", is_flag=True, help="The capability that allows to change it, if it is held.")
@node_option
def share(place: str, writable: bool, node: Path | None) -> None:
    """Print what to give to others, so that they can read what is at ALIAS:PATH; with --writable, change it.

    Of a directory, all that is below it goes along. What was once given away cannot be taken back.
    """
    click.echo(event_loop.run(_share(parse_grid_path(given_capability(place)), writable, node)))


async def _share(place: GridPath, writable: bool, node: Path | None) -> str:
    async with open_drive(node) as opened:
        found = await opened.places.node(place)
        strongest, reading = found.get_uri(), found.get_immutable_uri()
        if writable:
            if strongest is None or strongest == reading:
                raise NotWriteableError(f"{place} is held read-only, so there is no more to give")
            return strongest
        if reading is None:
            raise BadCapabilityError(f"{place} is of a kind that cannot be told to be for reading only")
        return reading
