"""``holdfast recover``: makes a client again by its recovery line.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.files import STANDARD_STREAM
from holdfast.cli.messages import note, print_json, printable
from holdfast.cli.options import json_option
from holdfast.errors import BadCapabilityError
from holdfast.node.recovery import recover as make_again
from holdfast.protocol.recovery_line import LINE_MAX, parse_recovery_line


@click.command()
@click.argument("arguments", metavar="[LINE|-] DIR", nargs=-1, required=True)
@json_option
def recover(arguments: tuple[str, ...], as_json: bool) -> None:
    """Make DIR a client that has everything back: the private root, the aliases, the settings.

    LINE is what holdfast roots --recovery printed; absent or "-": it is read from standard input, which keeps
    it out of the list of processes.
    """
    if len(arguments) > 2:
        raise click.UsageError("give the line, or nothing in its place, and one directory")
    line = arguments[0] if len(arguments) == 2 else STANDARD_STREAM
    directory = Path(arguments[-1]).absolute()
    if line == STANDARD_STREAM:
        if sys.stdin.isatty():
            note("type the recovery line, and Return")
        line = sys.stdin.readline(LINE_MAX + 1)
        if not line.strip():
            raise BadCapabilityError("standard input holds no recovery line")
    made = event_loop.run(make_again(parse_recovery_line(line), directory, note))
    if as_json:
        print_json(
            {
                "directory": str(made.directory),
                "private_root": made.private_root,
                "aliases": list(made.aliases),
                "unreadable": list(made.unreadable),
            }
        )
        return
    root = "its private root" if made.private_root else "no private root"
    aliases = ", ".join(f"{printable(name)}:" for name in made.aliases) or "no alias"
    click.echo(f"{made.directory} is the client again, with {root}, and {aliases}")
    for name in made.unreadable:
        note(f"{printable(name)} could not be read in the roots directory")
