"""``holdfast create-alias``: make a directory, and give it a name of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.directory_options import directory_kind_option
from holdfast.cli.drive_places import open_drive
from holdfast.cli.messages import note
from holdfast.cli.node_aliases import alias_name, aliases_of
from holdfast.cli.options import node_option
from holdfast.cli.roots_update import update_roots
from holdfast.drive.node_making import DirectoryKind
from holdfast.errors import HoldfastError
from holdfast.node.aliases import listable_directory


@click.command()
@click.argument("name")
@directory_kind_option
@node_option
def create_alias(name: str, kind: DirectoryKind | None, node: Path | None) -> None:
    """Make a directory on the grid, and let NAME: stand for it."""
    aliases = aliases_of(node)
    alias = alias_name(name)
    aliases.check_new(alias)
    cap = event_loop.run(_new_directory(kind, node))
    try:
        aliases.add(alias, listable_directory(cap))
    except HoldfastError:
        note("the directory was made, but could not get its name; this is its capability:")
        click.echo(cap)
        raise
    click.echo(f"Alias '{alias}' created")
    update_roots(node)


async def _new_directory(kind: DirectoryKind | None, node: Path | None) -> str:
    async with open_drive(node) as opened:
        return (await opened.places.new_directory(None, kind=kind)).get_uri()
