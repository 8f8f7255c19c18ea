"""``holdfast vdrive account``: what this client may use up at its virtual drive server, and uses.

Source: docs/spec/vdrive.md, section 13.2.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.messages import print_json, printable, size_text
from holdfast.cli.options import json_option, node_option
from holdfast.cli.tables import table_text
from holdfast.errors import ConfigError
from holdfast.interfaces.vdrive import AccountState


@click.command()
@node_option
@json_option
def account(node: Path | None, as_json: bool) -> None:
    """Show the limits of this client's account at its virtual drive server, and what is used of them."""
    state = event_loop.run(_account(node))
    rows = zip(("directories", "entries", "bytes"), state.used, state.allowed, strict=True)
    if as_json:
        counts = {name: {"used": used, "allowed": allowed} for name, used, allowed in rows}
        print_json({"label": state.label, **counts})
        return
    click.echo(f"account: {printable(state.label)}")
    shown = [
        (name, *(size_text(value) if name == "bytes" else str(value) for value in (used, allowed)))
        for name, used, allowed in rows
    ]
    click.echo(table_text(("", "used", "allowed"), shown))


async def _account(node: Path | None) -> AccountState:
    async with open_drive(node) as opened:
        default = opened.client.default
        place = await default.needed()
        if default.account is None:
            raise ConfigError(
                "this client has no account of its own: its directories are charged to one that all share"
            )
        return await opened.client.vdrive_servers.server(place).account(default.account)
