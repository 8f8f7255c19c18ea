"""``holdfast run``: the storage server of a node directory, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.messages import note
from holdfast.node.running import RunningNode
from holdfast.node.storage_node import run_storage_node


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--exit-with-parent", is_flag=True, help="End when standard input is closed.")
def run(directory: Path, exit_with_parent: bool) -> None:
    """Run the storage server of the node directory DIR until SIGTERM or Ctrl-C."""

    def say(running: RunningNode) -> None:
        note(f"{directory} serves on port {running.port}; Ctrl-C ends it")

    run_storage_node(directory, exit_with_parent=exit_with_parent, on_serving=say)
