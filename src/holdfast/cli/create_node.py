"""``holdfast create-node``: the directory of a storage server that can use its grid too."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.create_client import make_client
from holdfast.cli.node_options import (
    directory_argument,
    given_introducers,
    introducer_option,
    listening_options,
    listening_settings,
    nickname_option,
    note_no_introducer,
    place_for,
    run_command,
    say_if_for_this_machine_only,
    say_what_was_made,
)
from holdfast.cli.options import chosen_encoding, encoding_option, json_option


@click.command()
@directory_argument
@nickname_option
@listening_options
@introducer_option
@click.option(
    "--reserved-space", metavar="SIZE", help="Bytes of the disk that stay free, such as 5G or 500Gi."
)
@encoding_option
@click.option("--no-storage", is_flag=True, help="Serve nothing: a client alone.")
@json_option
def create_node(
    directory: Path,
    nickname: str,
    host: str | None,
    port: int | None,
    location: tuple[str, ...],
    introducers: tuple[str, ...],
    reserved_space: str | None,
    encoding: tuple[int, int, int] | None,
    no_storage: bool,
    as_json: bool,
) -> None:
    """Make DIR a node that serves storage to the grid of its introducers, and can use that grid itself.

    DIR must not exist, or be empty. A server needs the NURL that allows to announce: the one that `holdfast
    introducer show-nurl` prints without --subscribe.
    """
    if no_storage:
        if (host, port, reserved_space) != (None, None, None) or location:
            raise click.UsageError(
                "a node without storage has no use for --host, --port, --location, --reserved-space"
            )
        make_client(directory, nickname, introducers, encoding, as_json)
        return
    from holdfast.grid.settings import EncodingSettings
    from holdfast.node.config import StorageConfig
    from holdfast.node.creation import create_storage_node

    settings = listening_settings(nickname, host, port, location)
    storage = StorageConfig(enabled=True, reserved_space=_size(reserved_space))
    chosen = chosen_encoding(EncodingSettings(), encoding, None, None)
    known = given_introducers(introducers)
    place = place_for(directory)
    create_storage_node(place, settings, introducers=known, storage=storage, encoding=chosen)
    say_what_was_made(
        place,
        "a storage server and a client",
        ["storage", "client"],
        [run_command(place)],
        as_json=as_json,
    )
    say_if_for_this_machine_only(settings)
    if not known:
        note_no_introducer(place, "so that clients hear of this server")


def _size(text: str | None) -> int:
    from holdfast.node.sizes import parse_size

    try:
        return 0 if text is None else parse_size(text)
    except ValueError:
        raise click.UsageError("--reserved-space: give bytes, or a size such as 5G or 500Gi") from None
