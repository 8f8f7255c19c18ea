"""The option that says in which format a new directory is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from holdfast.drive.node_making import DirectoryKind

Command = TypeVar("Command", bound=Callable[..., Any])


def directory_format_option(command: Command) -> Command:
    """Add ``--format``, whose value is the ``kind`` of the directory."""
    return click.option(
        "--format",
        "kind",
        type=click.Choice(["SDMF", "MDMF"], case_sensitive=False),
        default="SDMF",
        callback=_kind,
        show_default=True,
        help="How it is stored. MDMF suits directories of many thousands of entries.",
    )(command)


def _kind(ctx: click.Context, param: click.Parameter, value: str) -> DirectoryKind:
    return "mdmf" if value.upper() == "MDMF" else "sdmf"
