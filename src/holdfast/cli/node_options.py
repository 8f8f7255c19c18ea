"""Options of the commands that make nodes, and what they say in the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.cli.interrupts import raise_on_signals
from holdfast.cli.messages import note, print_json
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.node.config import NodeSettings
    from holdfast.protocol.nurl import Nurl

Command = TypeVar("Command", bound=Callable[..., Any])

STANDARD_INPUT = "-"
NURL_PREFIXES = ("pb://", "pb+tor://")
NURL_FILE_MAX = 64 << 10  # characters read of what should be one line

directory_argument = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


def nickname_option(command: Command) -> Command:
    """Add ``--nickname``."""
    return click.option(
        "--nickname",
        metavar="NAME",
        default="",
        callback=_nickname,
        help="What people see in place of the node's id; need not be unique.",
    )(command)


def listening_options(command: Command) -> Command:
    """Add ``--host``, ``--port`` and ``--location``."""
    location = click.option(
        "--location",
        metavar="HOST[:PORT]",
        multiple=True,
        callback=_locations,
        help="How others reach the node; can be repeated. Default: the host and port it listens on.",
    )
    port = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Port to listen on. Default: the one of --location; else any free one, then always the same.",
    )
    host = click.option(
        "--host",
        metavar="ADDRESS",
        help="Address to listen on. Default: with --location every address, else this machine alone.",
    )
    return host(port(location(command)))


def introducer_option(command: Command) -> Command:
    """Add ``--introducer``, which gives a tuple of NURLs as texts."""
    return click.option(
        "--introducer",
        "introducers",
        metavar="NURL|FILE|-",
        multiple=True,
        help="Introducer of the grid; can be repeated. In a FILE or on standard input (-) the NURL stays out "
        "of the list of processes, which other users of the machine can read.",
    )(command)


def listening_settings(
    nickname: str, host: str | None, port: int | None, locations: tuple[str, ...]
) -> NodeSettings:
    """Return where a node listens, and what others are told.

    Raises:
        click.UsageError: nobody could be told where to come.
    """
    from holdfast.node.config import NodeSettings
    from holdfast.node.locations import WILDCARD_HOSTS, split_location

    if host is None:
        host = "0.0.0.0" if locations else NodeSettings().host  # noqa: S104  (who names a location serves others)
    if host in WILDCARD_HOSTS and not locations:
        raise click.UsageError(
            "--host names every address of this machine; say by --location where others go"
        )
    if port is None:
        named = {where for _, where in map(split_location, locations) if where is not None}
        port = named.pop() if len(named) == 1 else 0
    return NodeSettings(nickname=nickname, host=host, port=port, location=locations)


def given_introducers(values: Sequence[str]) -> dict[str, str]:
    """Return the introducers given by ``--introducer``: petname to NURL.

    Raises:
        click.UsageError: a NURL is none, or standard input would be read twice.
        InputError: a file, or standard input, holds none.
    """
    if list(values).count(STANDARD_INPUT) > 1:
        raise click.UsageError("--introducer: standard input gives one NURL, so - can be given once")
    texts = dict.fromkeys(_given_nurl(value).to_text() for value in values)
    return {f"introducer-{i}" if i > 1 else "introducer": text for i, text in enumerate(texts, 1)}


def place_for(directory: Path) -> Path:
    """Return where the node is to be made, in full. From now on an interruption leaves nothing half made."""
    raise_on_signals()
    return Path(os.path.abspath(directory))


def say_what_was_made(
    directory: Path, what: str, services: Sequence[str], next_steps: Sequence[str], *, as_json: bool
) -> None:
    """Say on standard output what a command made, and what to do next."""
    from holdfast.node.identity import load_node_identity

    server_id = load_node_identity(directory / "private").server_id
    if as_json:
        print_json({"directory": str(directory), "node_id": server_id, "services": list(services)})
        return
    click.echo(f"{directory} is now {what}: {server_id}")
    for step in next_steps:
        click.echo(f"next: {step}")


def say_if_for_this_machine_only(settings: NodeSettings) -> None:
    """Say so if other machines will not reach the node."""
    from holdfast.node.inviting import only_for_this_machine

    hosts = [host for host, _ in settings.advertised_hosts]
    if all(map(only_for_this_machine, hosts)):
        note(
            f"only programs on this machine will reach it, at {', '.join(hosts)}; "
            "for others set node.host and node.location in its holdfast.toml"
        )


def note_no_introducer(directory: Path, why: str) -> None:
    """Say that a new node will meet nobody, and what would change that."""
    from holdfast.node.introducer_list import INTRODUCERS_FILE

    note(f"it knows no introducer yet: name one in {directory / 'private' / INTRODUCERS_FILE}, {why}")


def run_command(directory: Path) -> str:
    """Return the command that runs a node, to be pasted into a shell."""
    return f"holdfast run {quoted(directory)}"


def quoted(path: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))


# -- what the options say


def _given_nurl(value: str) -> Nurl:
    from holdfast.protocol.nurl import parse_nurl

    if value.startswith(NURL_PREFIXES):
        try:
            return _usable(parse_nurl(value))
        except ValueError as error:
            raise click.UsageError(f"--introducer: {error}") from None
    where = "standard input" if value == STANDARD_INPUT else value
    try:
        return _usable(parse_nurl(_text_of(value)))
    except OSError as error:
        raise InputError(f"--introducer: cannot read {where}: {error.strerror}") from None
    except ValueError as error:  # of a file that is no text too
        reason = "not a text" if isinstance(error, UnicodeDecodeError) else error
        raise InputError(f"--introducer: {where} does not hold a NURL alone: {reason}") from None


def _text_of(value: str) -> str:
    if value == STANDARD_INPUT:
        return sys.stdin.readline(NURL_FILE_MAX).strip()
    with open(value, encoding="utf-8") as file:
        return file.read(NURL_FILE_MAX).strip()


def _usable(nurl: Nurl) -> Nurl:
    if nurl.scheme != "pb":
        raise ValueError("it needs Tor, which Holdfast does not use")
    return nurl


def _nickname(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from holdfast.node.config_reading import NICKNAME_MAX

    if len(value) > NICKNAME_MAX or not value.isprintable():
        raise click.BadParameter(f"at most {NICKNAME_MAX} characters, all of which can be shown", ctx, param)
    return value


def _locations(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from holdfast.node.locations import WILDCARD_HOSTS, split_location

    for value in values:
        try:
            host, _ = split_location(value)
        except ValueError:
            raise click.BadParameter("give HOST or HOST:PORT", ctx, param) from None
        if host in WILDCARD_HOSTS:
            raise click.BadParameter(f"{value} is every address, not one that others can go to", ctx, param)
    return values
