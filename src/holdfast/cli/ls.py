"""``holdfast ls``: what is in a directory on the grid."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.listing import Columns, Line, listing_text
from holdfast.cli.listing_blocks import blocks_of, json_of
from holdfast.cli.messages import note
from holdfast.cli.node_json import node_as_json
from holdfast.cli.options import given_capability, json_option, node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.cli.quoting import shown_name
from holdfast.drive.file_nodes import MutableFileNode
from holdfast.errors import UnavailableError
from holdfast.interfaces.drive import DirectoryNode, Node, UnreadableEntry


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
        found, metadata = await opened.places.listed(place)
        if as_json and found.kind == "directory":
            async for piece in json_of(found):
                sys.stdout.write(piece)
        elif as_json:
            click.echo(json.dumps(node_as_json(found, size=await _size(found), metadata=metadata), indent=1))
        elif found.kind == "directory":
            await _show(found, columns)
        else:
            name = place.names[-1] if place.names else ""
            _print([Line(name, found, metadata or {}, await _size(found))], columns)


async def _show(directory: DirectoryNode, columns: Columns) -> None:
    odd = blocks = 0
    async for block in blocks_of(directory):
        blocks += 1
        odd += _print([Line(child.name, child.node, child.metadata) for child in block], columns)
    if blocks > 1:
        note("there are too many entries to be shown in order")
    if odd:
        note(f"{odd} of these are of a kind that this version does not know, or cannot be read")


def _print(lines: list[Line], columns: Columns) -> int:
    """Print lines; return how many are of something that nobody knows or can read."""
    shown = [line._replace(name=shown_name(line.name)) for line in lines] if sys.stdout.isatty() else lines
    text = listing_text(shown, columns, time.time())
    if text:
        click.echo(text)
    return sum(line.node.kind in ("unknown", "unreadable") for line in lines)


async def _size(node: Node | UnreadableEntry) -> int | None:
    """Return the size of a mutable file, if there is somebody who knows."""
    if not isinstance(node, MutableFileNode):
        return None
    try:
        return await node.get_size()
    except UnavailableError:
        return None
