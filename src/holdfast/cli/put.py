"""``holdfast put``: store a file, print its capability.

By the node that runs, if there is one, as fast as Python starts; else by this process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.files import STANDARD_STREAM, InputFile, open_input
from holdfast.cli.messages import note, plural, print_json, size_text
from holdfast.cli.node_transfers import stored_by_node
from holdfast.cli.options import (
    RANDOM_KEY,
    encoding_option,
    json_option,
    needed_node,
    node_option,
    quiet_option,
    segment_size_option,
)
from holdfast.cli.problems import note_problems, problems_from_json

if TYPE_CHECKING:
    from typing import Any

REPORTED = ("uri", "size", "shares", "happiness", "pushed", "found", "problems")


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

    The capability is all that is needed to read the file back: keep it, and keep it secret. If the node runs,
    it does the work.
    """
    if file == STANDARD_STREAM and sys.stdin.isatty() and not quiet:
        note("reading standard input; end it with Ctrl-D")
    if dry_run:
        from holdfast.cli.direct_transfers import find_capability

        with open_input(file) as opened:
            uri = find_capability(node, opened, encoding, segment_size, convergence_secret, quiet)
        print_json({"uri": uri}) if as_json else click.echo(uri)
        return
    place = needed_node(node)
    with open_input(file) as opened:
        stored = _store(place, opened, encoding, segment_size, convergence_secret, quiet)
    if as_json:
        print_json({key: stored[key] for key in REPORTED})
    else:
        click.echo(stored["uri"])
        if not quiet:
            _explain(stored)


def _store(
    node: Path,
    file: InputFile,
    encoding: tuple[int, int, int] | None,
    segment_size: int | None,
    convergence_secret: str | None,
    quiet: bool,
) -> dict[str, Any]:
    stored = None
    if convergence_secret in (None, RANDOM_KEY):  # another secret is not told to a node
        stored = stored_by_node(
            node,
            file,
            random_key=convergence_secret == RANDOM_KEY,
            encoding=encoding,
            segment_size=segment_size,
            quiet=quiet,
        )
    if stored is None:
        from holdfast.cli.direct_transfers import store

        stored = store(node, file, encoding, segment_size, convergence_secret, quiet)
    return stored


def _explain(stored: dict[str, Any]) -> None:
    shares = stored["shares"]
    if not shares:
        note(f"{plural(stored['size'], 'byte')} fit into the capability itself; no server holds them")
        return
    servers = {holder for holders in shares.values() for holder in holders}
    where = f"{plural(len(shares), 'share')} on {plural(len(servers), 'server')}"
    note(
        f"stored {size_text(stored['size'])}: {where}, any {stored['shares_needed']} give it back; "
        f"happiness {stored['happiness']}, {stored['pushed']} sent, {stored['found']} found there"
    )
    note_problems(problems_from_json(stored["problems"]))
