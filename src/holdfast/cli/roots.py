"""``holdfast roots``: where the paths of a client begin, and the line that brings all of them back.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from holdfast.caps import parse_cap
from holdfast.caps.parsing import VdriveCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.messages import note, print_json, printable
from holdfast.cli.node_aliases import aliases_of
from holdfast.cli.options import json_option, node_option
from holdfast.cli.roots_update import roots_of
from holdfast.cli.tables import table_text
from holdfast.drive.roots import CapFile
from holdfast.node.private_root import PRIVATE_ROOT_FILE, PUBLIC_ROOT_FILE
from holdfast.node.roots_directory import ROOTS_FILE

WARNING = """\
This line is everything: whoever has it can read and change all that this client can. You can, too, on another
machine, by: holdfast recover DIR. Keep it on paper or in a password manager, not on this machine."""


class Root(NamedTuple):
    """A place where paths begin."""

    name: str
    kind: str  # vdrive, grid, or empty: there is none yet
    remark: str


@click.command()
@click.option("--recovery", is_flag=True, help="Print the recovery line. It is a secret.")
@node_option
@json_option
def roots(recovery: bool, node: Path | None, as_json: bool) -> None:
    """Show where paths begin: the private root (~), the public root, the aliases; and whether a recovery line
    brings them back.

    From the first --recovery on, a directory on the grid is kept that leads to all of them, up to date.
    """
    if recovery:
        line = event_loop.run(_line(node))
        if as_json:
            print_json({"recovery": line})
        else:
            click.echo(line)
            for sentence in WARNING.split("\n"):
                note(sentence)
        return
    found = _found(node)
    kept = event_loop.run(_updated(node))
    if as_json:
        print_json({"roots": [one._asdict() for one in found], "recoverable": kept})
        return
    click.echo(table_text(("root", "kind", ""), found))
    note(
        "the recovery line brings all of these back"
        if kept
        else "there is no recovery line yet: holdfast roots --recovery makes it"
    )


async def _line(node: Path | None) -> str:
    async with open_drive(node) as opened:
        return (await roots_of(opened, node).line()).to_text()


async def _updated(node: Path | None) -> bool:
    """Bring the roots directory up to date; return whether there is one."""
    private = aliases_of(node).path.parent
    if CapFile(private / ROOTS_FILE).read() is None:
        return False
    async with open_drive(node) as opened:
        await roots_of(opened, node).update()
    return True


def _found(node: Path | None) -> list[Root]:
    aliases = aliases_of(node)
    private = aliases.path.parent
    found = [
        _root("~", CapFile(private / PRIVATE_ROOT_FILE).read(), "private root", "made when it is used first"),
        _root(
            "public root",
            CapFile(private / PUBLIC_ROOT_FILE).read(),
            "its operator can read and change it",
            "none is known",
        ),
    ]
    for name, alias in sorted(aliases.read().items()):
        found.append(_root(f"{printable(name)}:", alias.text, "alias", ""))
    return found


def _root(name: str, cap: str | None, remark: str, absent: str) -> Root:
    if cap is None:
        return Root(name, "", absent)
    return Root(name, "vdrive" if isinstance(parse_cap(cap), VdriveCap) else "grid", remark)
