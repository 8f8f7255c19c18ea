"""``holdfast vdrive pin``: notes with links which version is seen behind them, so that whoever comes there
later can be shown nothing older.

Source: docs/spec/vdrive.md, section 7.5.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.messages import note, plural
from holdfast.cli.options import node_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.vdrive_places import given_place, vdrive_directory
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import WrongCapabilityTypeError


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option("--deep", is_flag=True, help="All links below it, too.")
@node_option
def pin(place: str, deep: bool, node: Path | None) -> None:
    """Note with the link at ALIAS:PATH which version of the directory there is seen now.

    Whoever comes there through the link is then protected from a server that shows an older one. A capability
    or an alias alone is no link: with --deep, the links below it are meant.
    """
    click.echo(f"{plural(event_loop.run(_pin(given_place(place), deep, node)), 'link')} pinned")


async def _pin(place: GridPath, deep: bool, node: Path | None) -> int:
    async with open_drive(node) as opened:
        count = 0
        if place.names:
            parent, name = await opened.places.link(place)
            if not isinstance(parent, VdriveDirectoryNode):
                raise WrongCapabilityTypeError(
                    f"{place}: the directory above is not at a virtual drive server"
                )
            await parent.pin(name)
            count += 1
        elif not deep:
            raise click.UsageError("give the path of a link, or --deep for all those below")
        if deep:
            count += await _pin_below(await vdrive_directory(opened, place))
        return count


async def _pin_below(root: VdriveDirectoryNode) -> int:
    """Pin from the innermost links out, as far as they can be written; return how many."""
    found: list[tuple[VdriveDirectoryNode, str]] = []
    seen = {root.contents.cap.index}
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        async for child in directory.iter_unordered():
            node = child.node
            if not isinstance(node, VdriveDirectoryNode):
                continue
            if directory.is_mutable():
                found.append((directory, child.name))
            else:
                note(f"the link {child.name!r} is in a directory that is held read-only, and is not pinned")
            if node.contents.cap.index not in seen:
                seen.add(node.contents.cap.index)
                waiting.append(node)
    for directory, name in reversed(found):
        await directory.pin(name)
    return len(found)
