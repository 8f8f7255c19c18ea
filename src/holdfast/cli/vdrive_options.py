"""Options of the commands that make a node which keeps directories for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from holdfast.node.config import VdriveServerConfig

Command = TypeVar("Command", bound=Callable[..., Any])

_NEEDS_VDRIVE = "--database, --public-root and --accounts say how directories are kept; they need --vdrive"


@dataclass(frozen=True, slots=True)
class VdriveChoice:
    """What the options say; None where they say nothing."""

    wanted: bool
    database: str | None
    public_root: str | None
    accounts: str | None

    def config(self) -> VdriveServerConfig | None:
        """Return the settings of the server; None if none is wanted.

        Raises:
            click.UsageError: settings of a server that is not wanted.
        """
        from holdfast.node.config import VdriveServerConfig

        given = {
            name: value
            for name, value in (
                ("database", self.database),
                ("public_root", self.public_root),
                ("accounts", self.accounts),
            )
            if value is not None
        }
        if not self.wanted:
            if given:
                raise click.UsageError(_NEEDS_VDRIVE)
            return None
        return VdriveServerConfig(enabled=True, **given)  # type: ignore[arg-type]  # click has checked them


def vdrive_options(command: Command) -> Command:
    """Add ``--vdrive``, ``--database``, ``--public-root`` and ``--accounts``, which give a ``VdriveChoice``
    as the parameter ``vdrive``."""

    @wraps(command)
    def decorated(
        *args: Any,
        vdrive: bool,
        database: str | None,
        public_root: str | None,
        accounts: str | None,
        **options: Any,
    ) -> Any:
        choice = VdriveChoice(vdrive, database, public_root, accounts)
        return command(*args, vdrive=choice, **options)

    accounts = click.option(
        "--accounts",
        type=click.Choice(("token", "open")),
        help="Who may make directories: who has an account (token; default), or all, within common limits.",
    )
    public_root = click.option(
        "--public-root",
        type=click.Choice(("none", "read-only", "read-write")),
        help="A root that all clients share; its operator can read and change it. Default: none.",
    )
    database = click.option(
        "--database",
        metavar="URL",
        help="postgresql://USER@HOST/NAME, for several servers over one database. Default: a file.",
    )
    wanted = click.option("--vdrive", is_flag=True, help="Keep directories too: be a virtual drive server.")
    return cast(Command, wanted(database(public_root(accounts(decorated)))))
