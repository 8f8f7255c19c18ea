"""``holdfast run``: the node of a directory, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.messages import note

if TYPE_CHECKING:
    from holdfast.node.running import RunningNode


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--exit-with-parent", is_flag=True, help="End when standard input is closed.")
def run(directory: Path, exit_with_parent: bool) -> None:
    """Run the node of the directory DIR until SIGTERM, Ctrl-C or `holdfast control stop`."""
    from holdfast.node.process import run_node

    def say(running: RunningNode) -> None:
        where = f"serves on port {running.port}" if running.port else "runs"
        note(f"{directory} {where}; Ctrl-C ends it")

    run_node(directory, exit_with_parent=exit_with_parent, on_serving=say)
