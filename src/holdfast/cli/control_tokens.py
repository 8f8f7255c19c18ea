"""``holdfast control token``: tokens with which other programs may control the node that runs,
each only in its own scopes, and for a time.

Source: docs/spec/control-and-introducer.md, section 2.3.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from holdfast.cli.messages import note, print_json, printable
from holdfast.cli.options import duration_value, json_option, node_option
from holdfast.cli.running_node import the_running_node
from holdfast.node.control import calls
from holdfast.node.durations import duration_text


@click.group()
def token() -> None:
    """Make, list and revoke tokens for programs that may use a part of the node's control interface."""


@token.command()
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it allows; can be repeated: status, wait, upload, download, upload-path, download-path, "
    "debug, tokens, stop.",
)
@click.option(
    "--valid",
    "life_s",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=duration_value,
    help="How long, at most 366d.",
)
@click.option("--label", default="", metavar="TEXT", help="For whom, so that a list of tokens tells.")
@node_option
@json_option
def mint(scopes: tuple[str, ...], life_s: int, label: str, node: Path | None, as_json: bool) -> None:
    """Print a new token. It cannot be shown again."""
    body = {"scopes": list(scopes), "seconds": life_s, "label": label}
    with the_running_node(node) as client:
        minted = calls.call(client, "POST", "tokens", body)
    if as_json:
        print_json(minted)
        return
    click.echo(minted["token"])
    note(f"allows {', '.join(scopes)} for {duration_text(life_s)}; its id is {minted['id']}")


@token.command("list")
@node_option
@json_option
def list_tokens(node: Path | None, as_json: bool) -> None:
    """Show the tokens that are valid: id, time left, scopes, label."""
    with the_running_node(node) as client:
        answer = calls.call(client, "GET", "tokens")
    if as_json:
        print_json(answer)
        return
    now = time.time()
    for one in answer["tokens"]:
        left = duration_text(max(0, one["expires"] - now))
        click.echo(f"{one['id']}  {left:>7}  {','.join(one['scopes'])}  {printable(one['label'])}".rstrip())


@token.command()
@click.argument("token_id", metavar="ID")
@node_option
@json_option
def revoke(token_id: str, node: Path | None, as_json: bool) -> None:
    """Make the token of this ID worthless at once."""
    from urllib.parse import quote

    with the_running_node(node) as client:
        answer = calls.call(client, "DELETE", f"tokens/{quote(token_id, safe='')}")
    if as_json:
        print_json(answer)
