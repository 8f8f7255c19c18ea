"""Options and kinds of arguments that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from holdfast.errors import BadCapabilityError, ConfigError

if TYPE_CHECKING:
    from holdfast.grid.settings import EncodingSettings

Command = TypeVar("Command", bound=Callable[..., Any])

RANDOM_KEY = "none"  # in place of a convergence secret
MAX_CAP_LINE = 64 << 10  # characters read of a line that should be a capability


def node_option(command: Command) -> Command:
    """Add ``--node``."""
    return click.option(
        "--node",
        type=click.Path(path_type=Path),
        envvar="HOLDFAST_NODE",
        metavar="DIR",
        help="Client node, or local grid, to use. Default: the environment variable HOLDFAST_NODE.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def quiet_option(command: Command) -> Command:
    """Add ``--quiet``."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result and errors.")(command)


def needed_node(node: Path | None) -> Path:
    """Return ``node``.

    Raises:
        ConfigError: none was given.
    """
    if node is None:
        raise ConfigError("say which grid: --node DIR, or the environment variable HOLDFAST_NODE")
    return node


def given_capability(argument: str) -> str:
    """Return the capability given as an argument, or in a line of standard input if that is "-".

    Raises:
        BadCapabilityError: standard input holds none.
    """
    if argument != "-":
        return argument
    line = sys.stdin.readline(MAX_CAP_LINE).strip()
    if not line:
        raise BadCapabilityError("standard input holds no capability; give it in one line")
    return line


class EncodingChoice(NamedTuple):
    """How the command line wants a file to be encoded; None for what it leaves as it is."""

    encoding: tuple[int, int, int] | None
    segment_size: int | None
    convergence_secret: str | None

    def applied_to(self, base: EncodingSettings) -> EncodingSettings:
        """Return ``base`` with what the command line says otherwise; see ``chosen_encoding``."""
        return chosen_encoding(base, *self)


def encoding_option(command: Command) -> Command:
    """Add ``--encoding``: three numbers."""
    return click.option(
        "--encoding",
        metavar="K/HAPPY/N",
        callback=_encoding,
        help="Shares needed, servers that must hold a share of their own, shares in all; such as 3/7/10.",
    )(command)


def segment_size_option(command: Command) -> Command:
    """Add ``--segment-size``: bytes."""
    return click.option(
        "--segment-size", metavar="BYTES", callback=size_value, help="Most bytes that are encoded at once."
    )(command)


def chosen_encoding(
    base: EncodingSettings,
    encoding: tuple[int, int, int] | None,
    segment_size: int | None,
    convergence_secret: str | None,
) -> EncodingSettings:
    """Return ``base`` with what the command line says otherwise.

    Raises:
        click.UsageError: the values make no sense.
    """
    from dataclasses import replace

    settings = base
    try:
        if encoding is not None:
            needed, happiness, total = encoding
            settings = replace(settings, shares_needed=needed, happiness=happiness, shares_total=total)
        if segment_size is not None:
            settings = replace(settings, segment_size_max=segment_size)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if convergence_secret is not None:
        settings = replace(settings, convergence_secret=_secret(convergence_secret))
    return settings


def _encoding(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    if value is None:
        return None
    parts = value.split("/")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter("give three numbers, such as 3/7/10", ctx, param)
    needed, happiness, total = map(int, parts)
    return needed, happiness, total


def size_value(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return the bytes that an option's value names."""
    from holdfast.node.sizes import parse_size

    try:
        return None if value is None else parse_size(value)
    except ValueError:
        raise click.BadParameter("give bytes, or a size such as 128Ki or 1M", ctx, param) from None


def duration_value(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Return the seconds that an option's value names."""
    from holdfast.node.durations import parse_duration

    try:
        return parse_duration(value)
    except ValueError:
        raise click.BadParameter("give a number and one of s, m, h, d, w, such as 24h", ctx, param) from None


def _secret(text: str) -> bytes | None:
    from holdfast.crypto import base32

    if text == RANDOM_KEY:
        return None
    try:
        return base32.decode(text)
    except ValueError:
        raise click.UsageError('--convergence-secret must be base32, or "none" for a random key') from None
