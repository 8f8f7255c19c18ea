"""``holdfast vdrive export``, ``import`` and ``restore``: directories as bundles, and back.

Source: docs/spec/vdrive.md, sections 14.4 to 14.6.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from holdfast.caps.expecting import directory_cap
from holdfast.caps.vdrive import VdrivePlace, VdriveVerifyCap, VdriveWriteCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import note
from holdfast.cli.options import given_capability, node_option, quiet_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.progress_bars import changing_line
from holdfast.cli.vdrive_checking import compared_part
from holdfast.cli.vdrive_places import given_place
from holdfast.cli.vdrive_snapshot import directory_of, exportable_cap, tell_left_out
from holdfast.drive.bundling import read_catalogue
from holdfast.drive.restoring import RestoredTree
from holdfast.drive.restoring import restore as restore_tree
from holdfast.errors import InputError, NotCapableError
from holdfast.grid.targets import FileTarget
from holdfast.grid.vdrive.bundle_files import Export, bring, read_bundle
from holdfast.grid.vdrive.servers import place_of
from holdfast.node.places import client_directory
from holdfast.node.vdrive_places import change_vdrive_places
from holdfast.protocol.nurl import Nurl, parse_nurl

to_option = click.option(
    "--to", "nurl", metavar="NURL", help="The service that gets it. Default: the one in the capability."
)


@click.command("export")
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE")
@node_option
@quiet_option
def export_(place: str, output: Path, node: Path | None, quiet: bool) -> None:
    """Write one directory, as it is now, into FILE: a bundle, all of it encrypted.

    Everything in it is proven before FILE appears. A capability that reads or only verifies will do.
    """
    event_loop.run(_export(given_place(place), output, node, quiet))


async def _export(place: GridPath, output: Path, node: Path | None, quiet: bool) -> None:
    async with open_drive(node) as opened:
        cap = await exportable_cap(opened, place)
        client = opened.client
        known = None
        if not isinstance(cap, VdriveVerifyCap):
            known = await client.vdrive_client.directory(cap).head()
        export = Export(client.vdrive_servers, cap, known)
        target = FileTarget(output)
        await target.open(0)
        size = 0
        try:
            with changing_line(show=not quiet) as show:
                async for piece in export.pieces():
                    await target.write(piece)
                    size += len(piece)
                    show(f"{size} bytes")
            await target.close()
        except BaseException as error:
            target.fail(error)
            raise
        if not quiet:
            note(f"version {export.head.version}, head {compared_part(export.head_hash)}")


@click.command("import")
@click.argument("cap", metavar="WRITE-CAP")
@click.argument("file", type=click.Path(path_type=Path))
@to_option
@node_option
def import_(cap: str, file: Path, nurl: str | None, node: Path | None) -> None:
    """Give the directory in FILE, which `holdfast vdrive export` made, to a service; print its capability.

    A directory that is there already is brought forward to the version in FILE, if that follows from it.
    """
    click.echo(event_loop.run(_import(given_capability(cap), file, _nurl(nurl), node)))


async def _import(text: str, file: Path, nurl: Nurl | None, node: Path | None) -> str:
    cap = _write_cap(text)
    place = cap.place if nurl is None else place_of(nurl)
    bundle = await read_bundle(file, cap.index, cap.keys)
    async with open_drive(node) as opened:
        committed = await bring(opened.client.vdrive_servers, place, cap.keys, bundle)
        known = opened.client.vdrive_client.memory.known(cap.index)
        if known is not None and known.version > committed.version:
            note(
                f"version {known.version} was seen here; what is lost since version {committed.version}"
                " comes back with: holdfast vdrive heal"
            )
    return VdriveWriteCap(place, cap.write_key).to_text()


@click.command()
@click.argument("catalogue", metavar="CATALOGUE-CAP")
@click.argument("cap", metavar="WRITE-CAP")
@to_option
@click.option("--redirect", is_flag=True, help="With --to: let old capabilities lead there on this client.")
@node_option
@quiet_option
def restore(
    catalogue: str, cap: str, nurl: str | None, redirect: bool, node: Path | None, quiet: bool
) -> int:
    """Make a tree again from what `holdfast vdrive snapshot --bundle` kept; print the capability of its root.

    WRITE-CAP is the old one of the root; it leads to those of the directories below. What this client has
    written since the snapshot is added. Directories that are held read-only are left to those who can write.

    Old capabilities still name the old service. --redirect notes in private/vdrive.toml where its directories
    are now; other clients need the same line.

    Exit status 3: something was left out, as is told.
    """
    if redirect and nurl is None:
        raise click.UsageError("--redirect goes with --to")
    made = event_loop.run(_restore(catalogue, _write_cap(cap), _nurl(nurl), redirect, node, quiet))
    click.echo(made.root.to_text())
    tell_left_out(made.left_out)
    if not quiet:
        note(f"{made.directories} directories are there")
    return ExitCode.UNHEALTHY if made.left_out else ExitCode.DONE


async def _restore(
    catalogue: str, cap: VdriveWriteCap, nurl: Nurl | None, redirect: bool, node: Path | None, quiet: bool
) -> RestoredTree:
    place = None if nurl is None else place_of(nurl)
    async with open_drive(node) as opened:
        bundles = await read_catalogue(await directory_of(opened, catalogue))
        with changing_line(show=not quiet) as show:
            made = await restore_tree(
                opened.drive,
                opened.client.vdrive_client,
                opened.client.vdrive_servers,
                bundles,
                cap,
                place,
                lambda restored: show(f"{restored} of {len(bundles)} directories"),
            )
    if redirect and nurl is not None and node is not None:
        _redirect(client_directory(node) / "private", cap.place, nurl)
    return made


def _redirect(private: Path, lost: VdrivePlace, nurl: Nurl) -> None:
    change_vdrive_places(private, lambda places: replace(places, moved={**places.moved, lost.sid: nurl}))


def _write_cap(text: str) -> VdriveWriteCap:
    cap = directory_cap(text)
    if not isinstance(cap, VdriveWriteCap):
        raise NotCapableError("this takes the write capability of a directory at a virtual drive server")
    return cap


def _nurl(text: str | None) -> Nurl | None:
    try:
        return None if text is None else parse_nurl(text)
    except ValueError as error:
        raise InputError(f"--to: {error}") from None
