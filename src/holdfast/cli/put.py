"""``holdfast put``: store a file, print its capability."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.files import STANDARD_STREAM, source_for
from holdfast.cli.messages import note, plural, print_json, size_text
from holdfast.cli.options import (
    chosen_encoding,
    encoding_option,
    json_option,
    needed_node,
    node_option,
    quiet_option,
    segment_size_option,
)
from holdfast.cli.problems import note_problems, problems_as_json
from holdfast.cli.progress_bars import progress_bars
from holdfast.grid.dry_run import capability_of
from holdfast.grid.results import UploadResult
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.node.client_node import load_client_settings
from holdfast.node.wiring import connect

RANDOM_KEY = "none"


@click.command()
@click.argument("file", default=STANDARD_STREAM)
@encoding_option
@segment_size_option
@click.option(
    "--convergence-secret",
    metavar="BASE32",
    help='In place of the node\'s; equal files under one secret are stored once. "none": a random key.',
)
@click.option("--dry-run", is_flag=True, help="Print the capability the file would get; store nothing.")
@node_option
@quiet_option
@json_option
def put(
    file: str,
    encoding: tuple[int, int, int] | None,
    segment_size: int | None,
    convergence_secret: str | None,
    dry_run: bool,
    node: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Store FILE (absent or "-": standard input) and print its capability.

    The capability is all that is needed to read the file back: keep it, and keep it secret.
    """
    if file == STANDARD_STREAM and sys.stdin.isatty() and not quiet:
        note("reading standard input; end it with Ctrl-D")
    if dry_run:
        base = _dry_run_base(node, convergence_secret)
        settings = chosen_encoding(base, encoding, segment_size, convergence_secret)
        uri = event_loop.run(_find_capability(file, settings, quiet))
        print_json({"uri": uri}) if as_json else click.echo(uri)
        return
    client = load_client_settings(needed_node(node))
    settings = chosen_encoding(client.encoding, encoding, segment_size, convergence_secret)
    result = event_loop.run(_store(file, needed_node(node), replace(client, encoding=settings), quiet))
    if as_json:
        print_json(_as_json(result))
    else:
        click.echo(result.uri)
        if not quiet:
            _explain(result, settings)


async def _store(file: str, node: Path, settings: ClientSettings, quiet: bool) -> UploadResult:
    with source_for(file) as source, progress_bars(show=not quiet) as progress:
        async with connect(node, settings=settings, on_problem=note) as grid:
            return await grid.upload(source, progress=progress)


async def _find_capability(file: str, settings: EncodingSettings, quiet: bool) -> str:
    with source_for(file) as source, progress_bars(show=not quiet) as progress:
        return await capability_of(source, settings, progress)


def _dry_run_base(node: Path | None, convergence_secret: str | None) -> EncodingSettings:
    if convergence_secret == RANDOM_KEY:
        raise click.UsageError("with a random key the capability of a dry run would be of no use")
    if node is None and convergence_secret is not None:
        return EncodingSettings()
    return load_client_settings(needed_node(node)).encoding


def _explain(result: UploadResult, settings: EncodingSettings) -> None:
    if not result.shares:
        note(f"{plural(result.size, 'byte')} fit into the capability itself; no server holds them")
        return
    servers = {holder for holders in result.shares.values() for holder in holders}
    where = f"{plural(len(result.shares), 'share')} on {plural(len(servers), 'server')}"
    note(
        f"stored {size_text(result.size)}: {where}, any {settings.shares_needed} give it back; "
        f"happiness {result.happiness}, {result.pushed} sent, {result.found} found there"
    )
    note_problems(result.problems)


def _as_json(result: UploadResult) -> dict[str, object]:
    return {
        "uri": result.uri,
        "size": result.size,
        "shares": {str(number): list(holders) for number, holders in sorted(result.shares.items())},
        "happiness": result.happiness,
        "pushed": result.pushed,
        "found": result.found,
        "problems": problems_as_json(result.problems),
    }
