"""The options that say of which kind a new directory is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from holdfast.drive.node_making import DirectoryKind

Command = TypeVar("Command", bound=Callable[..., Any])


def directory_kind_option(command: Command) -> Command:
    """Add ``--kind`` and ``--format``, which give the ``kind`` of the directory; None if neither is given."""

    @wraps(command)
    def decorated(*args: Any, where: str | None, directory_format: str | None, **options: Any) -> Any:
        return command(*args, kind=_kind(where, directory_format), **options)

    stored = click.option(
        "--format",
        "directory_format",
        type=click.Choice(["SDMF", "MDMF"], case_sensitive=False),
        help="Of one in the grid: how it is stored. MDMF suits many thousands of entries. Default: SDMF.",
    )
    where = click.option(
        "--kind",
        "where",
        type=click.Choice(["vdrive", "grid"]),
        help="At a virtual drive server, or in the grid as tahoe-lafs reads it. Default: at a server that"
        " lets this client, if there is one.",
    )
    return cast(Command, where(stored(decorated)))


def _kind(where: str | None, directory_format: str | None) -> DirectoryKind | None:
    if where == "vdrive":
        if directory_format is not None:
            raise click.UsageError(
                "--format says how directories in the grid are stored; they need --kind grid"
            )
        return "vdrive"
    if directory_format is None:
        return "sdmf" if where == "grid" else None
    return "mdmf" if directory_format.upper() == "MDMF" else "sdmf"
