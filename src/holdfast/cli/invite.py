"""``holdfast invite``: print a code by which one more machine joins the grid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click

from holdfast.cli.messages import note, print_json
from holdfast.cli.node_options import run_command
from holdfast.cli.options import json_option, needed_node


def _life(ctx: click.Context, param: click.Parameter, value: str) -> int:
    from holdfast.node.durations import parse_duration

    try:
        return parse_duration(value)
    except ValueError:
        raise click.BadParameter("give a number and one of s, m, h, d, w, such as 24h", ctx, param) from None


@click.command()
@click.argument(
    "directory",
    metavar="[DIR]",
    required=False,
    envvar="HOLDFAST_NODE",
    type=click.Path(path_type=Path),
)
@click.option("--server", is_flag=True, help="For a storage server. Default: for a client.")
@click.option("--nickname", metavar="NAME", default="", help="What the node shall be called.")
@click.option(
    "--valid",
    "life_s",
    metavar="TIME",
    default="24h",
    show_default=True,
    callback=_life,
    help="How long the code is good, at most 30d.",
)
@json_option
def invite(directory: Path | None, server: bool, nickname: str, life_s: int, as_json: bool) -> None:
    """Print a code with which another machine joins this grid: holdfast join CODE DIR.

    DIR is an introducer's node, or a local grid; default: the environment variable HOLDFAST_NODE. The code is
    good once. Hand it over where nobody else reads it: whoever uses it first is in.
    """
    from holdfast.node.durations import duration_text
    from holdfast.node.inviting import introducer_directory, make_invitation, only_for_this_machine
    from holdfast.node.running import process_of

    directory = needed_node(directory)
    role: Literal["client", "server"] = "server" if server else "client"
    expires = int(time.time()) + life_s
    invitation = make_invitation(directory, role, nickname, life_s)
    if as_json:
        values = {"code": invitation.to_text(), "role": role, "nickname": nickname, "expires": expires}
        print_json({**values, "host": invitation.host, "port": invitation.port})
    else:
        click.echo(invitation.to_text())
        note(
            f"good once, for {duration_text(life_s)}: makes a {role} of this grid by: holdfast join CODE DIR"
        )
    if only_for_this_machine(invitation.host):
        note(
            f"the introducer is at {invitation.host}, so only this machine can use the code; "
            "node.host and node.location in its holdfast.toml say how others reach it"
        )
    node = introducer_directory(directory)
    if process_of(node) is None:
        note(f"the introducer does not run now; the code can be used once it does: {run_command(node)}")
