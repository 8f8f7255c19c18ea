"""``holdfast create-client``: the directory of a client, which serves nothing."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.node_options import (
    directory_argument,
    given_introducers,
    introducer_option,
    nickname_option,
    note_no_introducer,
    place_for,
    quoted,
    run_command,
    say_what_was_made,
)
from holdfast.cli.options import chosen_encoding, encoding_option, json_option


@click.command()
@directory_argument
@introducer_option
@nickname_option
@encoding_option
@json_option
def create_client(
    directory: Path,
    introducers: tuple[str, ...],
    nickname: str,
    encoding: tuple[int, int, int] | None,
    as_json: bool,
) -> None:
    """Make DIR a client of the grid of its introducers.

    DIR must not exist, or be empty. A client does with the NURL that only allows to read: the one that
    `holdfast introducer show-nurl --subscribe` prints.
    """
    make_client(directory, nickname, introducers, encoding, as_json)


def make_client(
    directory: Path,
    nickname: str,
    introducers: tuple[str, ...],
    encoding: tuple[int, int, int] | None,
    as_json: bool,
) -> None:
    """Make the node and say so."""
    from holdfast.grid.settings import EncodingSettings
    from holdfast.node.creation import create_client_node

    chosen = chosen_encoding(EncodingSettings(), encoding, None, None)
    known = given_introducers(introducers)
    place = place_for(directory)
    create_client_node(place, chosen, nickname=nickname, introducers=known)
    steps = [
        f"holdfast put --node {quoted(place)} FILE",
        f"{run_command(place)}, which keeps it connected; commands are then faster",
    ]
    say_what_was_made(place, "a client", ["client"], steps, as_json=as_json)
    if not known:
        note_no_introducer(place, "or give it a list of servers: holdfast servers import")
