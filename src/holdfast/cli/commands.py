"""The list of commands. A command's module is loaded when the command is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from holdfast import __version__
from holdfast.cli.exit_codes import table

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: Mapping[str, str] = {
    "put": "store a file, print its capability",
    "get": "read a file back",
    "check": "count the shares of a file or directory, verify every byte of them, mend them",
    "create-alias": "make a directory on the grid, and let a name stand for it",
    "add-alias": "let a name stand for a directory on the grid",
    "list-aliases": "the names that stand for directories",
    "remove-alias": "let a name stand for nothing any more",
    "mkdir": "make a directory on the grid",
    "ls": "list a directory on the grid",
    "cp": "copy files and directories to the grid, from it, and within it",
    "mv": "move or rename an entry of a directory on the grid",
    "ln": "let one more entry lead to a file or directory on the grid",
    "unlink": "remove an entry of a directory on the grid",
    "rm": "the same as unlink",
    "manifest": "everything below a directory on the grid, with its capabilities",
    "stats": "how much there is below a directory on the grid",
    "share": "print the capability to give to others, which only reads unless more is asked for",
    "renew": "renew the leases of everything in a manifest",
    "roots": "where paths begin, and the line that brings all of them back",
    "recover": "make a client again by that line",
    "vdrive": "compare, watch, pin and heal directories at virtual drive servers",
    "status": "how a running node is: its introducers, servers and transfers",
    "control": "let a running node do something: wait, store, read, measure, stop",
    "grid": "a whole grid on this machine, for trying and testing",
    "systemd-unit": "print a systemd unit that runs a node",
    "completion": "print a script by which a shell completes commands",
    "debug": "take capabilities and stored shares apart, for finding defects",
    "demo": "store a file on a grid of ten servers, kill seven, read it back",
    "create-introducer": "make the directory of an introducer, the meeting point of a grid",
    "create-node": "make the directory of a storage server that can use the grid too",
    "create-client": "make the directory of a client",
    "config": "show every setting of a node",
    "servers": "storage servers: those a client knows, lists to keep and exchange",
    "introducer": "look after an introducer: its NURLs, the nodes it knows, who may announce",
    "vdrive-server": "look after a virtual drive server: its accounts, a check of all it keeps",
    "run": "run the node of a directory",
    "invite": "print a code with which one more machine joins the grid",
    "join": "become a client or a server of a grid, by such a code",
}
EPILOG = f"Exit status of every command:\n\n\b\n{table()}"


class OutputGoneError(Exception):
    """Whoever read the output went away."""


class LazyGroup(click.Group):
    """Knows the names of its commands, and loads the module of one of them: of ``create-node``, say,
    ``holdfast.cli.create_node``, where a function of that name is the command.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"holdfast.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without loading them, and options."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

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
