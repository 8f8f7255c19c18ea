"""``holdfast list-aliases``: the names that stand for directories.

Source: docs/spec/cli.md, section 3.2.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from holdfast.cli.messages import printable
from holdfast.cli.node_aliases import aliases_of
from holdfast.cli.options import json_option, node_option


@click.command()
@click.option("--readonly-uri", is_flag=True, help="Show what allows others to read, not to write.")
@node_option
@json_option
def list_aliases(readonly_uri: bool, node: Path | None, as_json: bool) -> None:
    """List the aliases of the node, with their capabilities: who sees them can use them."""
    aliases = aliases_of(node)
    found = sorted(aliases.read().items())
    if as_json:
        report = {
            name: {
                "readwrite": alias.text,
                "readonly": aliases.directory_of(alias).read_only.to_text(),
            }
            for name, alias in found
        }
        click.echo(json.dumps(report, indent=4))
        return
    width = max((len(name) for name, _ in found), default=0) + 2
    for name, alias in found:
        cap = aliases.directory_of(alias)
        shown = (cap.read_only if readonly_uri else cap).to_text()
        click.echo(f"{printable(name):>{width}}: {shown}")
