"""``holdfast status``: how a running node is, its introducers, servers and transfers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.interrupts import raising_on_signals
from holdfast.cli.messages import print_json
from holdfast.cli.options import json_option, needed_node
from holdfast.cli.running_node import client_of, the_running_node
from holdfast.node.control import calls
from holdfast.wire.local_client import NotRunningError

if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console, RenderableType

INTERVAL_S = 1.0
WIDTH_ELSEWHERE = 120  # columns, where the output is no terminal


@click.command()
@click.argument(
    "directory", metavar="[DIR]", required=False, envvar="HOLDFAST_NODE", type=click.Path(path_type=Path)
)
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@json_option
def status(directory: Path | None, watch: bool, as_json: bool) -> None:
    """Show how the node of the directory DIR is: its introducers, servers and transfers.

    Default: the environment variable HOLDFAST_NODE. Of a local grid, its client is meant.
    """
    node = needed_node(directory)
    with the_running_node(node) as client:
        first = calls.call(client, "GET", "status")
    if as_json:
        print_json(first)
        while watch:
            time.sleep(INTERVAL_S)
            print_json(calls.call(client_of(node), "GET", "status"))
        return
    if not watch:
        console = _console()
        console.print(_view(first, console))
        return
    with raising_on_signals():
        _watch(node)


def _watch(node: Path) -> None:
    from rich.live import Live

    console = _console()
    if not console.is_terminal:
        while True:
            console.print(_present_view(node, console), "")
            sys.stdout.flush()
            time.sleep(INTERVAL_S)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_present_view(node, console), refresh=True)
            time.sleep(INTERVAL_S)


def _present_view(node: Path, console: Console) -> RenderableType:
    """Return how the node is now; one that was stopped may come back."""
    try:
        return _view(calls.call(client_of(node), "GET", "status"), console)
    except NotRunningError as error:
        from rich.text import Text

        return Text(str(error))


def _view(value: dict[str, Any], console: Console) -> RenderableType:
    from holdfast.cli.status_view import status_view

    return status_view(value, time.time(), console.width)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_ELSEWHERE)
    return console
