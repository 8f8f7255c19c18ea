"""``holdfast create-introducer``: the directory of a grid's meeting point."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.node_options import (
    directory_argument,
    listening_options,
    listening_settings,
    nickname_option,
    place_for,
    quoted,
    run_command,
    say_if_for_this_machine_only,
    say_what_was_made,
)
from holdfast.cli.options import json_option
from holdfast.cli.vdrive_options import VdriveChoice, vdrive_options


@click.command()
@directory_argument
@nickname_option
@listening_options
@click.option(
    "--approve",
    is_flag=True,
    help="Let nodes announce only after an operator has admitted their keys (holdfast introducer admit).",
)
@vdrive_options
@json_option
def create_introducer(
    directory: Path,
    nickname: str,
    host: str | None,
    port: int | None,
    location: tuple[str, ...],
    approve: bool,
    vdrive: VdriveChoice,
    as_json: bool,
) -> None:
    """Make DIR an introducer: the meeting point where servers and clients of a grid find each other.

    With --vdrive it also keeps directories for them. DIR must not exist, or be empty.
    """
    from holdfast.node import creation

    settings = listening_settings(nickname, host, port, location)
    place = place_for(directory)
    creation.create_introducer(
        place, settings, admission="approve" if approve else "open", vdrive=vdrive.config()
    )
    steps = [
        run_command(place),
        f"holdfast introducer show-nurl {quoted(place)}, and holdfast create-node with what it prints",
    ]
    what, services = "an introducer", ["introducer"]
    if vdrive.wanted:
        what, services = "an introducer and a virtual drive server", ["introducer", "vdrive"]
    say_what_was_made(place, what, services, steps, as_json=as_json)
    say_if_for_this_machine_only(settings)
