"""``holdfast create-node``: the directory of a server that can use its grid too."""

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
from holdfast.cli.vdrive_options import VdriveChoice, vdrive_options


@click.command()
@directory_argument
@nickname_option
@listening_options
@introducer_option
@click.option(
    "--reserved-space", metavar="SIZE", help="Bytes of the disk that stay free, such as 5G or 500Gi."
)
@encoding_option
@click.option("--no-storage", is_flag=True, help="Store no shares; without --vdrive, a client alone.")
@vdrive_options
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
    vdrive: VdriveChoice,
    as_json: bool,
) -> None:
    """Make DIR a node that serves the grid of its introducers, and can use that grid itself.

    It stores shares (unless --no-storage), keeps directories (with --vdrive), or both.

    DIR must not exist, or be empty. A server needs the NURL that allows to announce: the one that `holdfast
    introducer show-nurl` prints without --subscribe.
    """
    directories = vdrive.config()
    if no_storage and reserved_space is not None:
        raise click.UsageError("a node without storage has no use for --reserved-space")
    if no_storage and directories is None:
        if (host, port) != (None, None) or location:
            raise click.UsageError("a node that serves nothing has no use for --host, --port, --location")
        make_client(directory, nickname, introducers, encoding, as_json)
        return
    from holdfast.grid.settings import EncodingSettings
    from holdfast.node.config import StorageConfig
    from holdfast.node.creation import create_server_node

    settings = listening_settings(nickname, host, port, location)
    storage = StorageConfig(enabled=not no_storage, reserved_space=_size(reserved_space))
    chosen = chosen_encoding(EncodingSettings(), encoding, None, None)
    known = given_introducers(introducers)
    place = place_for(directory)
    create_server_node(
        place, settings, introducers=known, storage=storage, encoding=chosen, vdrive=directories
    )
    services = [*([] if no_storage else ["storage"]), *([] if directories is None else ["vdrive"]), "client"]
    say_what_was_made(place, _names(services), services, [run_command(place)], as_json=as_json)
    say_if_for_this_machine_only(settings)
    if not known:
        note_no_introducer(place, "so that clients hear of this server")


_NAMES = {"storage": "a storage server", "vdrive": "a virtual drive server", "client": "a client"}


def _names(services: list[str]) -> str:
    *first, last = (_NAMES[service] for service in services)
    return f"{', '.join(first)} and {last}"


def _size(text: str | None) -> int:
    from holdfast.node.sizes import parse_size

    try:
        return 0 if text is None else parse_size(text)
    except ValueError:
        raise click.UsageError("--reserved-space: give bytes, or a size such as 5G or 500Gi") from None
