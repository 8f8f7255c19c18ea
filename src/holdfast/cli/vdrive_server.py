"""``holdfast vdrive-server``: what the operator of a virtual drive server does, whether it runs or not.

Source: docs/spec/vdrive.md, sections 11, 13.1 and 16.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import event_loop
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import note, plural, print_json, printable, size_text
from holdfast.cli.node_options import directory_argument
from holdfast.cli.options import json_option, size_value
from holdfast.cli.tables import table_text
from holdfast.cli.vdrive_server_backup import backup, nurl, restore
from holdfast.crypto import base32
from holdfast.errors import InputError
from holdfast.node.vdrive_operating import USUAL_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from holdfast.interfaces.vdrive import Counts
    from holdfast.servers.vdrive.accounts import NewAccount, StoredAccount
    from holdfast.servers.vdrive.checking import CheckReport

INDEX_SIZES = (5, 32)  # bytes


@click.group("vdrive-server")
def vdrive_server() -> None:
    """Look after a virtual drive server: the directory DIR of its node, or of a local grid."""


@vdrive_server.group()
def account() -> None:
    """Who may make directories there, and how much they use."""


@account.command()
@directory_argument
@click.option("--label", required=True, metavar="TEXT", help="What you call it.")
@click.option(
    "--dirs",
    type=click.IntRange(0),
    default=USUAL_ACCOUNT.directories,
    show_default=True,
    help="Directories.",
)
@click.option(
    "--entries",
    type=click.IntRange(0),
    default=USUAL_ACCOUNT.entries,
    show_default=True,
    help="Entries in all.",
)
@click.option("--bytes", "size", metavar="BYTES", callback=size_value, help="Bytes in all. Default: 4Gi.")
@json_option
def add(directory: Path, label: str, dirs: int, entries: int, size: int | None, as_json: bool) -> None:
    """Make an account, and print its token: a client that has it makes directories that are charged to the
    account. It is shown this once.

    The client keeps it in private/vdrive.toml as: account = "TOKEN"
    """
    from holdfast.interfaces.vdrive import Counts

    made = event_loop.run(
        _add(directory, label, Counts(dirs, entries, USUAL_ACCOUNT.size if size is None else size))
    )
    if as_json:
        print_json({"id": made.id, "token": made.token})
    else:
        click.echo(made.token)
        note(
            f"account {made.id}: whoever has this token makes directories at its cost; it is not shown again"
        )


async def _add(directory: Path, label: str, allowed: Counts) -> NewAccount:
    from holdfast.node.vdrive_operating import open_server_database
    from holdfast.servers.vdrive import accounts

    if not label.isprintable():
        raise InputError("the label of an account must be readable")
    async with open_server_database(directory) as database:
        return await database.write(
            lambda connection: accounts.add(connection, label, allowed, int(time.time()))
        )


@account.command("list")
@directory_argument
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """Show all accounts: their limits and what is used of them."""
    found = event_loop.run(_all(directory))
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    heads = ("id", "label", "directories", "entries", "bytes", "")
    click.echo(table_text(heads, [_row(one) for one in found]))


async def _all(directory: Path) -> Sequence[StoredAccount]:
    from holdfast.node.vdrive_operating import open_server_database
    from holdfast.servers.vdrive import accounts

    async with open_server_database(directory) as database:
        return await database.read(accounts.all_accounts)


@account.command()
@directory_argument
@click.argument("number", metavar="ID", type=int)
@click.option("--enable", is_flag=True, help="Let it make directories again.")
def disable(directory: Path, number: int, enable: bool) -> None:
    """Let an account make no more directories. Those it has stay, and can be changed."""
    event_loop.run(_disable(directory, number, not enable))
    click.echo("OK")


async def _disable(directory: Path, number: int, disabled: bool) -> None:
    from holdfast.node.vdrive_operating import open_server_database
    from holdfast.servers.vdrive import accounts

    async with open_server_database(directory) as database:
        if not await database.write(lambda link: accounts.change(link, number, disabled=disabled)):
            raise InputError(f"there is no account {number}")


@vdrive_server.command()
@directory_argument
@json_option
def check(directory: Path, as_json: bool) -> int:
    """Compute every tree anew, verify every head, and add up every account. It takes long. Exit status 3:
    something is wrong.
    """
    report = event_loop.run(_check(directory))
    counts = {"directories": report.directories, "entries": report.entries, "heads": report.heads}
    if as_json:
        print_json({**counts, "problems": report.problems})
    else:
        for problem in report.problems:
            click.echo(problem)
        seen = ", ".join(f"{count} {name}" for name, count in counts.items())
        click.echo(f"{seen}: {plural(len(report.problems), 'problem') if report.problems else 'all is well'}")
    return ExitCode.UNHEALTHY if report.problems else ExitCode.DONE


async def _check(directory: Path) -> CheckReport:
    from holdfast.node.vdrive_operating import open_server_database
    from holdfast.servers.vdrive.checking import check as check_all

    async with open_server_database(directory) as database:
        return await database.read(check_all)


@vdrive_server.command()
@directory_argument
@click.argument("index", metavar="INDEX")
def dump(directory: Path, index: str) -> None:
    """Print what is kept of a directory, in lines of JSON: itself, then its entries, which nobody reads here.

    INDEX is that of its capability to verify, or the beginning of it that logs show.
    """
    event_loop.run(_dump(directory, _index(index)))


async def _dump(directory: Path, index: bytes) -> None:
    from holdfast.cli.vdrive_dump import head_as_json, sealed_as_json
    from holdfast.formats.vdrive.head import head_hash, verified_head
    from holdfast.node.vdrive_operating import open_server_database
    from holdfast.servers.vdrive.describing import describe, entries_of

    async with open_server_database(directory) as database:
        found = await database.read(lambda connection: describe(connection, index))
        head = verified_head(found.head, found.verify_key, found.index)
        print_json(
            {
                "index": base32.encode(found.index),
                "refresh_id": base32.encode(found.refresh_id),
                "verify_key": base32.encode(found.verify_key),
                "commitment": base32.encode(found.commitment),
                **head_as_json(head, head_hash(found.head.head)),
                "account": found.account,
                "bytes": found.size,
                "condemned": found.condemned,
                "leases": found.leases,
                "heads_kept": found.heads,
            }
        )

        def print_entries(connection: Connection) -> None:
            for entry in entries_of(connection, found.id):
                print_json(sealed_as_json(entry))

        await database.read(print_entries)


def _index(text: str) -> bytes:
    """Return the bytes of an index, or the first ones of it."""
    try:
        index = base32.decode(text.strip())
    except ValueError:
        index = b""
    if len(index) not in INDEX_SIZES:
        raise InputError("an index has 52 letters and digits from 2 to 7; logs show the first 8 of them")
    return index


def _row(one: StoredAccount) -> tuple[str, ...]:
    used, allowed = one.state.used, one.state.allowed
    return (
        str(one.id),
        printable(one.state.label),
        f"{used.directories} of {allowed.directories}",
        f"{used.entries} of {allowed.entries}",
        f"{size_text(used.size)} of {size_text(allowed.size)}",
        "disabled" if one.disabled else "",
    )


def _as_json(one: StoredAccount) -> dict[str, object]:
    return {
        "id": one.id,
        "label": one.state.label,
        "disabled": one.disabled,
        "created": one.created_at,
        "used": one.state.used._asdict(),
        "allowed": one.state.allowed._asdict(),
    }


for command in (backup, restore, nurl):
    vdrive_server.add_command(command)
