"""``holdfast grid``: a whole grid on this machine, for trying and testing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from holdfast.cli.interrupts import raise_on_signals
from holdfast.cli.messages import note, plural, print_json, size_text
from holdfast.cli.options import json_option
from holdfast.cli.progress_bars import counting_bar
from holdfast.grid.settings import EncodingSettings
from holdfast.node.local_grid import LocalGrid, ServerStatus, default_encoding

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
NAME = click.argument("name")
DEFAULT_SERVERS = 10


@click.group()
def grid() -> None:
    """Run an introducer and storage servers as separate processes under one directory, with a client."""
    raise_on_signals()


@grid.command()
@DIRECTORY
@click.option(
    "--servers",
    type=int,
    metavar="N",
    help=f"How many. Default: as before; {DEFAULT_SERVERS} for a new grid.",
)
@click.option(
    "--needed", type=click.IntRange(1, 256), metavar="K", help="Shares that give a file back (new grids)."
)
@click.option(
    "--happy",
    type=click.IntRange(1, 256),
    metavar="H",
    help="Servers that must hold a share of their own (new grids).",
)
@click.option("--total", type=click.IntRange(1, 256), metavar="N", help="Shares made of a file (new grids).")
@json_option
def start(
    directory: Path,
    servers: int | None,
    needed: int | None,
    happy: int | None,
    total: int | None,
    as_json: bool,
) -> None:
    """Make the grid in DIR unless it exists, start what does not run, return when all serve.

    Can be repeated at any time: after a crash, a kill, a restart of the machine. A grid can grow.
    """
    local = LocalGrid(directory)
    if servers is None and not local.exists:
        servers = DEFAULT_SERVERS
    encoding = None
    if (needed, happy, total) != (None, None, None):
        usual = default_encoding(servers if servers is not None else len(local.names))
        encoding = EncodingSettings(
            shares_needed=needed or usual.shares_needed,
            happiness=happy or min(usual.happiness, total or usual.shares_total),
            shares_total=total or usual.shares_total,
        )
    with counting_bar("starting", servers if servers is not None else len(local.names)) as count:
        local.start(servers, encoding, on_running=count)
    _show(local, as_json)
    if not as_json:
        note(f"{plural(len(local.names), 'server')} running; now: holdfast put FILE --node {directory}")


@grid.command()
@DIRECTORY
@json_option
def status(directory: Path, as_json: bool) -> None:
    """Show the servers of the grid in DIR: state, process, port, shares, bytes used."""
    _show(LocalGrid(directory), as_json)


@grid.command()
@DIRECTORY
@json_option
def stop(directory: Path, as_json: bool) -> None:
    """End all servers of the grid in DIR. What they store stays; start brings them back."""
    local = LocalGrid(directory)
    local.stop()
    if as_json:
        _show(local, as_json)


@grid.command()
@DIRECTORY
@NAME
@json_option
def kill(directory: Path, name: str, as_json: bool) -> None:
    """End the server (or introducer) NAME as a power cut would (kill -9)."""
    local = LocalGrid(directory)
    local.kill(name)
    if as_json:
        _show(local, as_json)


@grid.command()
@DIRECTORY
@NAME
@json_option
def revive(directory: Path, name: str, as_json: bool) -> None:
    """Start the server (or introducer) NAME again."""
    local = LocalGrid(directory)
    local.revive(name)
    if as_json:
        _show(local, as_json)


def _show(local: LocalGrid, as_json: bool) -> None:
    servers = local.status()
    if as_json:
        print_json(
            {
                "client": str(local.client_directory),
                "introducer": asdict(local.introducer_status()),
                "servers": [asdict(server) for server in servers],
            }
        )
        return
    introducer = local.introducer_status()
    width = max(len("name"), *(len(server.name) for server in [introducer, *servers]))
    click.echo(f"{'name':{width}}  {'state':8}  {'pid':>8}  {'port':>5}  {'shares':>7}  {'used':>10}")
    for server in [introducer, *servers]:
        click.echo(_row(server, width))


def _row(server: ServerStatus, width: int) -> str:
    pid = "-" if server.pid is None else str(server.pid)
    port = "-" if server.port is None else str(server.port)
    used = size_text(server.bytes_used)
    return f"{server.name:{width}}  {server.state:8}  {pid:>8}  {port:>5}  {server.shares:>7}  {used:>10}"
