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
@click.option("--allow-stdin-close", is_flag=True, help="Go on when a pipe at standard input is closed.")
def run(directory: Path, allow_stdin_close: bool) -> None:
    """Run the node of the directory DIR until SIGTERM, Ctrl-C or `holdfast control stop`.

    If standard input is a pipe, the node ends with whoever holds its other end.
    """
    from holdfast.node.process import run_node

    def say(running: RunningNode) -> None:
        where = f"serves on port {running.port}" if running.port else "runs"
        note(f"{directory} {where}; Ctrl-C ends it")

    run_node(directory, exit_with_parent=not allow_stdin_close, on_serving=say)
