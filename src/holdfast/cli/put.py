"""``holdfast put``: store a file, print its capability.

By the node that runs, if there is one, as fast as Python starts; else by this process. A file that can
change, and one that gets a place on the grid, is stored through a drive.
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
    EncodingChoice,
    encoding_option,
    json_option,
    needed_node,
    node_option,
    quiet_option,
    segment_size_option,
)
from holdfast.cli.path_arguments import parse_grid_path
from holdfast.cli.problems import note_problems, problems_from_json

if TYPE_CHECKING:
    from typing import Any

    from holdfast.formats.mutable_segmentation import MutableFormat

REPORTED = ("uri", "size", "shares", "happiness", "pushed", "found", "problems")
REPORTED_MUTABLE = ("uri", "format", "new")


@click.command()
@click.argument("file", default=STANDARD_STREAM)
@click.argument("target", metavar="[ALIAS:PATH]", required=False)
@click.option("-m", "--mutable", is_flag=True, help="Make a file whose contents can be replaced.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["CHK", "SDMF", "MDMF"], case_sensitive=False),
    help="CHK: immutable. SDMF: mutable, small. MDMF: mutable, large. Counts for more than --mutable.",
)
@click.option(
    "--private-key-path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="RSA key (PEM, 2048 bits) of a new mutable file, which then has a capability known beforehand.",
)
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
    target: str | None,
    mutable: bool,
    file_format: str | None,
    private_key_path: Path | None,
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
    it stores immutable files.

    With ALIAS:PATH, that place leads to the file from then on. A mutable file that is there, or whose
    capability is given, gets new contents instead.
    """
    choice = EncodingChoice(encoding, segment_size, convergence_secret)
    chosen = _mutable_format(mutable, file_format, private_key_path)
    if chosen is not None and (segment_size is not None or convergence_secret is not None):
        raise click.UsageError("--segment-size and --convergence-secret are for immutable files")
    if dry_run:
        if target is not None:
            raise click.UsageError("a dry run stores nothing that ALIAS:PATH could lead to")
        uri = _dry_run(file, chosen, private_key_path, node, choice, quiet)
        print_json({"uri": uri}) if as_json else click.echo(uri)
        return
    _note_waiting(file, quiet)
    stored = _store(needed_node(node), file, target, chosen, private_key_path, choice, quiet)
    if as_json:
        print_json({key: stored[key] for key in (REPORTED if "size" in stored else REPORTED_MUTABLE)})
    else:
        click.echo(stored["uri"])
        if not quiet:
            _explain(stored)


def _mutable_format(
    mutable: bool, file_format: str | None, private_key_path: Path | None
) -> MutableFormat | None:
    """Return the format of a mutable file; None if the file is to be immutable."""
    chosen: MutableFormat | None
    match file_format and file_format.upper():
        case "SDMF":
            chosen = "SDMF"
        case "MDMF":
            chosen = "MDMF"
        case "CHK":
            chosen = None
        case _:
            chosen = "SDMF" if mutable else None
    if private_key_path is not None and chosen is None:
        raise click.UsageError("--private-key-path is for mutable files; add --mutable")
    return chosen


def _dry_run(
    file: str,
    mutable_format: MutableFormat | None,
    private_key_path: Path | None,
    node: Path | None,
    choice: EncodingChoice,
    quiet: bool,
) -> str:
    if mutable_format is not None:
        from holdfast.cli.private_keys import capability_by_key

        if private_key_path is None:
            raise click.UsageError(
                "a mutable file has a capability known beforehand by --private-key-path only"
            )
        return capability_by_key(private_key_path, mutable_format)
    from holdfast.cli.direct_transfers import find_capability

    _note_waiting(file, quiet)
    with open_input(file) as opened:
        return find_capability(node, opened, choice, quiet)


def _note_waiting(file: str, quiet: bool) -> None:
    if file == STANDARD_STREAM and sys.stdin.isatty() and not quiet:
        note("reading standard input; end it with Ctrl-D")


def _store(
    node: Path,
    file: str,
    target: str | None,
    mutable_format: MutableFormat | None,
    private_key_path: Path | None,
    choice: EncodingChoice,
    quiet: bool,
) -> dict[str, Any]:
    with open_input(file) as opened:
        if mutable_format is None and target is None:
            return _store_immutable(node, opened, choice, quiet)
        from holdfast.cli.drive_putting import NewFile, put_in_drive

        place = None if target is None else parse_grid_path(target)
        return put_in_drive(node, opened, place, NewFile(mutable_format, private_key_path, choice), quiet)


def _store_immutable(node: Path, file: InputFile, choice: EncodingChoice, quiet: bool) -> dict[str, Any]:
    stored = None
    if choice.convergence_secret in (None, RANDOM_KEY):  # another secret is not told to a node
        stored = stored_by_node(
            node,
            file,
            random_key=choice.convergence_secret == RANDOM_KEY,
            encoding=choice.encoding,
            segment_size=choice.segment_size,
            quiet=quiet,
        )
    if stored is None:
        from holdfast.cli.direct_transfers import store

        stored = store(node, file, choice, quiet)
    return stored


def _explain(stored: dict[str, Any]) -> None:
    if "size" not in stored:
        what = "stored as a mutable file" if stored["new"] else "the mutable file has new contents"
        note(f"{what} ({stored['format']})")
        return
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
