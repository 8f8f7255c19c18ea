"""``holdfast ls``: what is in a directory on the grid."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import OpenDrive, open_drive
from holdfast.cli.listing import Columns, Line, listing_text
from holdfast.cli.messages import note
from holdfast.cli.node_json import directory_as_json, node_as_json
from holdfast.cli.options import given_capability, json_option, node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.cli.quoting import shown_name
from holdfast.drive.file_nodes import MutableFileNode
from holdfast.errors import UnavailableError
from holdfast.interfaces.drive import Node, UnreadableEntry


@click.command()
@click.argument("place", metavar="[ALIAS:PATH]", default="")
@click.option("-l", "--long", is_flag=True, help="Mode, size and time of the link, too.")
@click.option("-F", "--classify", is_flag=True, help="Mark directories (/), writable files (*), unknown (?).")
@click.option("--uri", is_flag=True, help="Capabilities, too.")
@click.option("--readonly-uri", is_flag=True, help="Capabilities that only read, too.")
@node_option
@json_option
def ls(
    place: str,
    long: bool,
    classify: bool,
    uri: bool,
    readonly_uri: bool,
    node: Path | None,
    as_json: bool,
) -> None:
    """List the directory at ALIAS:PATH, or show the file there. A capability stands for itself, and "-" for
    one in a line of standard input.
    """
    columns = Columns(long, classify, uri, readonly_uri)
    event_loop.run(_ls(parse_grid_path(given_capability(place)), columns, node, as_json))


async def _ls(place: GridPath, columns: Columns, node: Path | None, as_json: bool) -> None:
    async with open_drive(node) as opened:
        if as_json:
            click.echo(json.dumps(await _described(opened, place), indent=1))
            return
        lines = await _lines(opened, place)
    if sys.stdout.isatty():
        lines = [line._replace(name=shown_name(line.name)) for line in lines]
    text = listing_text(lines, columns, time.time())
    if text:
        click.echo(text)
    odd = sum(line.node.kind in ("unknown", "unreadable") for line in lines)
    if odd:
        note(f"{odd} of these are of a kind that this version does not know, or cannot be read")


async def _described(opened: OpenDrive, place: GridPath) -> list[object]:
    found, metadata = await opened.places.listed(place)
    if found.kind == "directory":
        return await directory_as_json(found, found.iter_children())
    return node_as_json(found, size=await _size(found), metadata=metadata)


async def _lines(opened: OpenDrive, place: GridPath) -> list[Line]:
    found, metadata = await opened.places.listed(place)
    if found.kind == "directory":
        return [Line(child.name, child.node, child.metadata) async for child in found.iter_children()]
    name = place.names[-1] if place.names else ""
    return [Line(name, found, metadata or {}, await _size(found))]


async def _size(node: Node | UnreadableEntry) -> int | None:
    """Return the size of a mutable file, if there is somebody who knows."""
    if not isinstance(node, MutableFileNode):
        return None
    try:
        return await node.get_size()
    except UnavailableError:
        return None
