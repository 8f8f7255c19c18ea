"""The list of commands. A command's module is loaded when the command is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from holdfast import __version__
from holdfast.cli.exit_codes import table

COMMANDS: Mapping[str, str] = {
    "put": "store a file, print its capability",
    "get": "read a file back",
    "check": "count the shares of a file, or verify every byte of them",
    "grid": "a whole grid on this machine, for trying and testing",
    "demo": "store a file on a grid of ten servers, kill seven, read it back",
    "run": "run the storage server of a node directory",
}
EPILOG = f"Exit status of every command:\n\n\b\n{table()}"


class OutputGoneError(Exception):
    """Whoever read the output went away."""


class LazyGroup(click.Group):
    """Knows the names of its commands, and loads ``holdfast.cli.<name>`` for one of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"holdfast.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputGoneError from error  # of a broken pipe click makes a status of its own

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def holdfast() -> None:
    """Keep files on storage servers that need not be trusted.

    A file is encrypted, cut into shares and spread over servers; some of them suffice to read it back. Its
    capability, a line of text, is all that is needed for that: keep it, and keep it secret.
    """
