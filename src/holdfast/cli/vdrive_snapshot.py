"""``holdfast vdrive snapshot``: a tree as it is now, kept in the grid.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from holdfast.caps.expecting import directory_cap
from holdfast.caps.vdrive import VdriveReadCap, VdriveVerifyCap, VdriveWriteCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import OpenDrive, open_drive
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import note, plural, print_json
from holdfast.cli.options import json_option, node_option, quiet_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.cli.progress_bars import changing_line
from holdfast.cli.quoting import shown_name
from holdfast.cli.vdrive_checking import compared_part
from holdfast.cli.vdrive_places import given_place, vdrive_directory
from holdfast.drive.bundling import BundledTree, bundle_tree, read_catalogue
from holdfast.drive.freezing import FrozenTree, LeftOut, freeze
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.errors import WrongCapabilityTypeError


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option("--freeze", "kind", flag_value="freeze", help="Immutable directories, to be read as they are.")
@click.option("--bundle", "kind", flag_value="bundle", help="Bundles, from which a tree can be restored.")
@click.option("--deep", is_flag=True, help="With all directories below.")
@click.option("--since", metavar="CAP", help="With --bundle: an earlier one; what has not changed is reused.")
@node_option
@quiet_option
@json_option
def snapshot(
    place: str, kind: str | None, deep: bool, since: str | None, node: Path | None, quiet: bool, as_json: bool
) -> int:
    """Keep a directory as it is now in the grid, and print the capability of what was made.

    --freeze: a directory that never changes, and that every client of the grid reads without any virtual
    drive server. Files that can change are copied. A tree that has not changed gives the same capability.

    --bundle: what `holdfast vdrive restore` makes the tree of again, at any virtual drive server, with its
    write capability. Read capabilities and those that verify suffice to make it.

    Exit status 3: something was left out, as is told.
    """
    if kind is None:
        raise click.UsageError("say which kind: --freeze or --bundle")
    if since is not None and kind != "bundle":
        raise click.UsageError("--since goes with --bundle")
    made = event_loop.run(_snapshot(given_place(place), kind, deep, since, node, quiet))
    if as_json:
        print_json(_as_json(made))
    else:
        click.echo(made.directory.get_uri())
        tell_left_out(made.left_out)
        if not quiet:
            note(_summary(made))
    return ExitCode.UNHEALTHY if made.left_out else ExitCode.DONE


async def _snapshot(
    place: GridPath, kind: str, deep: bool, since: str | None, node: Path | None, quiet: bool
) -> FrozenTree | BundledTree:
    async with open_drive(node) as opened:
        with changing_line(show=not quiet) as show:
            if kind == "bundle":
                before = None if since is None else await read_catalogue(await directory_of(opened, since))
                return await bundle_tree(
                    opened.drive,
                    opened.client.vdrive_servers,
                    await exportable_cap(opened, place),
                    deep=deep,
                    before=before,
                    progress=lambda stored: show(f"{plural(stored, 'bundle')} stored"),
                )
            directory = await opened.places.directory(place)
            assert isinstance(directory, StoredDirectoryNode)
            return await freeze(
                opened.drive,
                directory,
                deep=deep,
                progress=lambda listed, stored: show(f"{listed} directories read, {stored} stored"),
            )


async def exportable_cap(
    opened: OpenDrive, place: GridPath
) -> VdriveWriteCap | VdriveReadCap | VdriveVerifyCap:
    """Return the capability of a directory at a virtual drive server; one that only verifies, too."""
    if place.cap is not None and not place.names:
        cap = directory_cap(place.cap)
        if isinstance(cap, VdriveVerifyCap):
            return cap
    return (await vdrive_directory(opened, place)).contents.cap


async def directory_of(opened: OpenDrive, argument: str) -> StoredDirectoryNode:
    """Return the directory that an argument names."""
    node = await opened.places.node(parse_grid_path(argument))
    if not isinstance(node, StoredDirectoryNode):
        raise WrongCapabilityTypeError("this is the capability of something else than a directory")
    return node


def tell_left_out(left_out: Sequence[LeftOut]) -> None:
    """Say what is missing."""
    for one in left_out:
        note(f"{shown_name('/'.join(one.path)) or 'the root'} is left out: {one.reason}")


def _summary(made: FrozenTree | BundledTree) -> str:
    if isinstance(made, BundledTree):
        return (
            f"version {made.version}, head {compared_part(made.head_hash)}:"
            f" {plural(made.bundles, 'bundle')}, {made.new} of them new"
        )
    head = made.head
    of_version = "" if head is None else f"version {head.version}, head {compared_part(head.head_hash)}: "
    return f"{of_version}{made.directories} directories and {plural(made.files, 'file')} frozen"


def _as_json(made: FrozenTree | BundledTree) -> dict[str, object]:
    left_out = [{"path": list(one.path), "reason": one.reason} for one in made.left_out]
    common = {"cap": made.directory.get_uri(), "left_out": left_out}
    if isinstance(made, BundledTree):
        head = compared_part(made.head_hash)
        return {
            **common,
            "version": made.version,
            "head": head,
            "bundles": made.bundles,
            "new": made.new,
        }
    return {
        **common,
        "version": None if made.head is None else made.head.version,
        "head": None if made.head is None else compared_part(made.head.head_hash),
        "directories": made.directories,
        "files": made.files,
    }
