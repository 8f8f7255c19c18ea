"""``holdfast config``: the settings of a node as it understands them."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.messages import print_json
from holdfast.cli.node_options import directory_argument
from holdfast.cli.options import json_option


@click.command()
@directory_argument
@json_option
def config(directory: Path, as_json: bool) -> None:
    """Show every setting of the node DIR with the value that counts, defaults included, as TOML.

    What is wrong in its holdfast.toml is named, as at its start. No secret is among the settings.
    """
    from holdfast.node.config import load_config
    from holdfast.node.config_text import effective_config_text

    text = effective_config_text(load_config(directory))
    if as_json:
        import tomllib

        print_json(tomllib.loads(text))
    else:
        click.echo(text, nl=False)
