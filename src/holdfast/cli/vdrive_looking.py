"""``holdfast vdrive watch`` and ``ls``: a directory as it changes, and as it was.

Source: docs/spec/vdrive.md, sections 8.6 and 8.7.
"""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.messages import print_json
from holdfast.cli.options import json_option, node_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.quoting import shown_name
from holdfast.cli.vdrive_places import given_place, vdrive_directory


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@node_option
@json_option
def watch(place: str, node: Path | None, as_json: bool) -> None:
    """Print what changes in the directory, until interrupted: + for a name linked, - for one removed.

    With --json, a line for each new version. While the server is away this waits, and misses nothing.
    """
    event_loop.run(_watch(given_place(place), node, as_json))


async def _watch(place: GridPath, node: Path | None, as_json: bool) -> None:
    async with open_drive(node) as opened:
        directory = await vdrive_directory(opened, place)
        async with aclosing(directory.watch()) as changes:
            async for change in changes:
                if as_json:
                    print_json(
                        {"version": change.version, "put": list(change.put), "deleted": list(change.deleted)}
                    )
                else:
                    _print(change.put, change.deleted)


def _print(put: tuple[str, ...], deleted: tuple[str, ...]) -> None:
    lines = [f"+ {shown_name(name)}" for name in put] + [f"- {shown_name(name)}" for name in deleted]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option("--at", type=click.IntRange(0), metavar="VERSION", help="As it was in this version.")
@click.option("--uri", is_flag=True, help="Capabilities, too.")
@node_option
@json_option
def ls(place: str, at: int | None, uri: bool, node: Path | None, as_json: bool) -> None:
    """List a directory as it is or was, in no order, however large it is. Old versions are kept for about an
    hour.
    """
    event_loop.run(_ls(given_place(place), at, uri, node, as_json))


async def _ls(place: GridPath, at: int | None, uri: bool, node: Path | None, as_json: bool) -> None:
    async with open_drive(node) as opened:
        cap = (await vdrive_directory(opened, place)).contents.cap
        directory = opened.client.vdrive_client.directory(cap)
        async for page in directory.iter_pages(at=at, names_only=not (uri or as_json)):
            for entry in page:
                child_uri = (entry.child.strongest or b"").decode("ascii", "replace")
                if as_json:
                    print_json({"name": entry.name, "version": entry.version, "uri": child_uri or None})
                else:
                    sys.stdout.write(
                        f"{shown_name(entry.name)}{f' {child_uri}' if uri and child_uri else ''}\n"
                    )
