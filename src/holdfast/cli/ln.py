"""``holdfast ln``: let one more entry lead to a file or directory on the grid."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.drive_writing import link_node
from holdfast.cli.link_targets import link_target
from holdfast.cli.options import given_capability, node_option
from holdfast.cli.path_arguments import parse_grid_path


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@node_option
def ln(source: str, target: str, node: Path | None) -> None:
    """Let the entry TO lead to what FROM leads to: an ALIAS:PATH, or a capability ("-": read from standard
    input).

    With a slash at its end TO is the directory for it. A file of that name is replaced, a directory is not.
    """
    event_loop.run(_ln(given_capability(source), target, node))
    click.echo("OK")


async def _ln(source: str, target: str, node: Path | None) -> None:
    place = parse_grid_path(source)
    async with open_drive(node) as opened:
        places = opened.places
        found = await places.node(place)
        await link_node(places, link_target(place, parse_grid_path(target)), found)
