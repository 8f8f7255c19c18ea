"""``holdfast remove-alias``: takes a name from a directory. The directory stays."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.node_aliases import alias_name, aliases_of
from holdfast.cli.options import node_option
from holdfast.cli.roots_update import update_roots


@click.command()
@click.argument("name")
@node_option
def remove_alias(name: str, node: Path | None) -> None:
    """Let NAME: stand for nothing any more.

    The directory stays; but if the alias was the only way to it, nobody finds it again. So its capability is
    printed.
    """
    aliases = aliases_of(node)
    alias = alias_name(name)
    removed = aliases.remove(alias)
    click.echo(removed)
    update_roots(node, {alias: removed})
