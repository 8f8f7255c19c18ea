"""``holdfast vdrive snapshots``: those that a running node took.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from holdfast.cli.messages import print_json, printable
from holdfast.cli.options import json_option, needed_node, node_option
from holdfast.cli.tables import table_text
from holdfast.node.places import client_directory
from holdfast.node.snapshot_book import KeptSnapshot, SnapshotBook


@click.command()
@click.option("--uri", is_flag=True, help="Capabilities, too.")
@node_option
@json_option
def snapshots(uri: bool, node: Path | None, as_json: bool) -> None:
    """Show the snapshots that the running node took, as [vdrive.snapshot] in its holdfast.toml says; the
    newest last. With --json, their capabilities are shown, too.
    """
    found = SnapshotBook(client_directory(needed_node(node)) / "private").read()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    heads = ("made", "seen to be current", "name", "kind", "version", "left out", *(("",) if uri else ()))
    click.echo(table_text(heads, [(*_row(one), *((one.cap,) if uri else ())) for one in found]))


def _row(one: KeptSnapshot) -> tuple[str, ...]:
    return (
        _time(one.made),
        _time(one.checked),
        printable(one.name),
        one.kind,
        "" if one.version is None else str(one.version),
        str(one.left_out or ""),
    )


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
