"""``holdfast get``: read a file back.

By the node that runs, if there is one, as fast as Python starts; else by this process.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from holdfast.cli.files import STANDARD_STREAM, OutputFile
from holdfast.cli.messages import print_json
from holdfast.cli.node_transfers import read_by_node
from holdfast.cli.options import given_capability, json_option, needed_node, node_option, quiet_option
from holdfast.cli.problems import note_problems, problems_as_json


@click.command()
@click.argument("cap")
@click.argument("file", default=STANDARD_STREAM)
@node_option
@quiet_option
@json_option
def get(cap: str, file: str, node: Path | None, quiet: bool, as_json: bool) -> None:
    """Read the file of capability CAP into FILE (absent or "-": to standard output).

    CAP "-": read from standard input, which keeps it out of the list of processes. FILE appears when it is
    whole and proven, or not at all. If the node runs, it does the work. With --json, this process does, and
    reports which shares it used, on standard error if the bytes go to standard output.
    """
    place = needed_node(node)
    capability = given_capability(cap)
    if not as_json and read_by_node(place, capability, OutputFile(file), quiet=quiet):
        return
    from holdfast.cli.direct_transfers import read

    result = read(place, capability, file, quiet)
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
