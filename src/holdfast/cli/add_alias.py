"""``holdfast add-alias``: give a directory that exists a name of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.node_aliases import alias_name, aliases_of
from holdfast.cli.options import given_capability, node_option
from holdfast.cli.roots_update import update_roots
from holdfast.node.aliases import listable_directory


@click.command()
@click.argument("name")
@click.argument("cap")
@node_option
def add_alias(name: str, cap: str, node: Path | None) -> None:
    """Let NAME: stand for the directory of capability CAP ("-": read from standard input).

    CAP may allow only to read. Nobody is asked whether the directory exists. If there is a recovery line, the
    directory it leads to is told of the alias.
    """
    aliases = aliases_of(node)
    alias = alias_name(name)
    aliases.check_new(alias)
    aliases.add(alias, listable_directory(given_capability(cap)))
    click.echo(f"Alias '{alias}' added")
    update_roots(node)
