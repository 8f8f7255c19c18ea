"""``holdfast get``: read a file back.

An immutable file by the node that runs, if there is one, as fast as Python starts; else by this process.
What is named by a path, and what can change, is read through a drive.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from holdfast.cli.files import STANDARD_STREAM, OutputFile
from holdfast.cli.messages import print_json
from holdfast.cli.node_transfers import read_by_node
from holdfast.cli.options import (
    given_capability,
    json_option,
    needed_node,
    node_option,
    quiet_option,
    size_value,
)
from holdfast.cli.path_arguments import parse_grid_path
from holdfast.cli.problems import note_problems, problems_as_json

IMMUTABLE_FILES = ("URI:CHK", "URI:LIT")  # how capabilities begin that a node that runs takes


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.argument("file", default=STANDARD_STREAM)
@click.option("--offset", metavar="BYTES", callback=size_value, help="Begin here, not at the first byte.")
@click.option("--size", metavar="BYTES", callback=size_value, help="Read so many bytes at most.")
@node_option
@quiet_option
@json_option
def get(
    place: str,
    file: str,
    offset: int | None,
    size: int | None,
    node: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read the file of capability CAP, or at ALIAS:PATH, into FILE (absent or "-": to standard output).

    CAP "-": read from standard input, which keeps it out of the list of processes. FILE appears when it is
    whole and proven, or not at all. If the node runs, it reads immutable files. With --json, this process
    does, and reports which shares it used, on standard error if the bytes go to standard output.
    """
    directory = needed_node(node)
    argument = given_capability(place)
    parsed = parse_grid_path(argument)
    start = offset or 0
    if parsed.cap is not None and parsed.cap.startswith(IMMUTABLE_FILES) and not parsed.path:
        by_node = not as_json and read_by_node(
            directory, argument, OutputFile(file), offset=start, size=size, quiet=quiet
        )
        if by_node:
            return
        from holdfast.cli.direct_transfers import read

        result = read(directory, argument, file, start, size, quiet)
    else:
        from holdfast.cli.drive_reading import read_at

        result = read_at(directory, parsed, file, start, size, quiet)
    to_stdout = file == STANDARD_STREAM
    if as_json:
        report = {
            "file": None if to_stdout else os.path.abspath(file),
            "size": result.size,
            "used": {str(number): server for number, server in sorted(result.used.items())},
            "problems": problems_as_json(result.problems),
        }
        print_json(report, to_stderr=to_stdout)
    elif not quiet:
        note_problems(result.problems)
