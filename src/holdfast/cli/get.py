"""``holdfast get``: read a file back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from holdfast.cli import event_loop
from holdfast.cli.files import STANDARD_STREAM, target_for
from holdfast.cli.messages import note, print_json
from holdfast.cli.options import given_capability, json_option, needed_node, node_option, quiet_option
from holdfast.cli.problems import note_problems, problems_as_json
from holdfast.cli.progress_bars import progress_bars
from holdfast.grid.results import DownloadResult
from holdfast.node.wiring import connect


@click.command()
@click.argument("cap")
@click.argument("file", default=STANDARD_STREAM)
@node_option
@quiet_option
@json_option
def get(cap: str, file: str, node: Path | None, quiet: bool, as_json: bool) -> None:
    """Read the file of capability CAP into FILE (absent or "-": to standard output).

    CAP "-": read from standard input, which keeps it out of the list of processes. FILE appears when it is
    whole and proven, or not at all. With --json the report goes to standard error if the bytes go to standard
    output.
    """
    result = event_loop.run(_read(given_capability(cap), file, needed_node(node), quiet))
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


async def _read(cap: str, file: str, node: Path, quiet: bool) -> DownloadResult[Any]:
    with target_for(file) as target, progress_bars(show=not quiet) as progress:
        async with connect(node, on_problem=note) as grid:
            return await grid.download(cap, target, progress=progress)
