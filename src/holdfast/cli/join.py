"""``holdfast join``: become a client or a server of a grid, by a code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.messages import note, printable
from holdfast.cli.node_options import directory_argument, nickname_option, quoted, run_command
from holdfast.cli.options import MAX_CAP_LINE

if TYPE_CHECKING:
    from holdfast.node.joining import JoinResult


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    from holdfast.node.sizes import parse_size

    try:
        return 0 if value is None else parse_size(value)
    except ValueError:
        raise click.BadParameter("give bytes, or a size such as 5G or 500Gi", ctx, param) from None


@click.command()
@click.argument("code")
@directory_argument
@nickname_option
@click.option("--host", metavar="ADDRESS", help="Server: address to listen on. Default: every address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Server: port to listen on. Default: that of --location; else any free one, then always the same.",
)
@click.option(
    "--location",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Server: how others reach it; can be repeated. "
    "Default: the address by which this machine reaches the introducer.",
)
@click.option(
    "--reserved-space",
    metavar="SIZE",
    callback=_size,
    help="Server: bytes of the disk that stay free, such as 5G.",
)
def join(
    code: str,
    directory: Path,
    nickname: str,
    host: str | None,
    port: int | None,
    location: tuple[str, ...],
    reserved_space: int,
) -> None:
    """Make DIR a node of the grid that CODE (from holdfast invite) invites to.

    CODE "-": read from standard input, which keeps it out of the list of processes. DIR must not exist, or be
    empty. A join that fails before the introducer has answered leaves the code as good as it was.
    """
    from holdfast.cli import event_loop
    from holdfast.node.joining import JoinOptions
    from holdfast.node.joining import join as join_grid

    options = JoinOptions(
        nickname=nickname, host=host, port=port, location=location, reserved_space=reserved_space
    )
    result = event_loop.run(join_grid(_given_code(code), directory, options))
    _explain(result)
    if result.role == "client" and options.for_servers:
        note("the invitation was for a client: what was said of a server was left out")


def _given_code(argument: str) -> str:
    from holdfast.grid.invitation_client import InvitationError

    if argument != "-":
        return argument
    line = sys.stdin.readline(MAX_CAP_LINE).strip()
    if not line:
        raise InvitationError("standard input holds no invitation; give it in one line")
    return line


def _explain(result: JoinResult) -> None:
    """Say what was made, and what to do next."""
    directory = result.directory
    grid = f"the grid {printable(result.grid)}" if result.grid else "the grid"
    click.echo(f"{directory} is now a {result.role} of {grid}")
    if result.role == "server":
        if result.settings.location:
            places = ", ".join(result.settings.location)
            click.echo(f"others will be told to reach it at {places} (node.location in its holdfast.toml)")
        click.echo(f"next: {run_command(directory)}")
    else:
        click.echo(f"next: holdfast put --node {quoted(directory)} FILE")
