"""``holdfast manifest``: everything below a directory on the grid.

Source: docs/spec/cli.md, section 7.3; docs/spec/web-api.md, section 8.
"""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import click

from holdfast.caps import DirectoryCap
from holdfast.caps.slots import NodeCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive, walk_below
from holdfast.cli.options import given_capability, node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.cli.quoting import shown_name
from holdfast.crypto import base32
from holdfast.drive.known_node import KnownNode
from holdfast.drive.traversal import Listed, Visited
from holdfast.interfaces.drive import UnreadableEntry

Value = Literal["cap", "verifycap", "repaircap", "refresh-cap", "storage-index"]


@click.command()
@click.argument("place", metavar="[ALIAS:PATH]", default="")
@click.option("-s", "--storage-index", "value", flag_value="storage-index", help="Storage indexes only.")
@click.option("--verify-cap", "value", flag_value="verifycap", help="Verify capabilities only.")
@click.option("--repair-cap", "value", flag_value="repaircap", help="Only what repairing takes.")
@click.option(
    "--refresh-cap",
    "value",
    flag_value="refresh-cap",
    help="Only what renewing leases takes, for: holdfast renew --manifest",
)
@click.option(
    "-r", "--raw", is_flag=True, help="A line of JSON for each object; the last one holds statistics."
)
@node_option
def manifest(place: str, value: Value | None, raw: bool, node: Path | None) -> None:
    """Print capability and path of everything that can be reached from ALIAS:PATH, each object once.

    ALIAS:PATH "-": a capability is read from standard input.
    """
    event_loop.run(_manifest(parse_grid_path(given_capability(place)), value, raw, node))


async def _manifest(place: GridPath, value: Value | None, raw: bool, node: Path | None) -> None:
    async with open_drive(node) as opened:
        walk = await walk_below(opened, place)
        async with aclosing(walk.events()) as events:
            async for event in events:
                if isinstance(event, Visited):
                    line = _raw_line(event) if raw else _line(event, value)
                    if line is not None:
                        sys.stdout.write(line + "\n")
                else:
                    sys.stdout.flush()
                    if isinstance(event, Listed) and event.error is not None:
                        raise event.error
        if raw:
            sys.stdout.write(json.dumps({"type": "stats", "stats": walk.stats.to_document()}) + "\n")


def _raw_line(event: Visited) -> str | None:
    if isinstance(event.node, UnreadableEntry):
        return None
    unit = {"path": list(event.place.path), "cap": event.node.get_uri(), "type": event.node.kind}
    return json.dumps({**unit, **_values(event)})


def _line(event: Visited, value: Value | None) -> str | None:
    if not isinstance(event.node, KnownNode):
        return None
    if value is not None:
        if value == "refresh-cap":
            return event.node.get_refresh_capability()
        return _values(event)[value] or None
    return f"{event.node.get_uri()} {shown_name('/'.join(event.place.path))}"


def _values(event: Visited) -> dict[str, str]:
    if not isinstance(event.node, KnownNode):
        return {"verifycap": "", "repaircap": "", "storage-index": ""}
    cap = event.node.cap
    index = cap.storage_index
    return {
        "verifycap": event.node.get_verify_uri() or "",
        "repaircap": _repair_cap(cap),
        "storage-index": "" if index is None else base32.encode(index),
    }


def _repair_cap(cap: NodeCap) -> str:
    """Return what repairing takes; empty if nothing that is held will do."""
    if cap.mutable:
        return cap.to_text() if cap.writable else ""
    if isinstance(cap, DirectoryCap) or cap.verify_cap is None:
        return ""
    return cap.verify_cap.to_text()
