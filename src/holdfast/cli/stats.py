"""``holdfast stats``: how much there is below a directory on the grid.

Source: docs/spec/cli.md, section 7.4.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive, walk_below
from holdfast.cli.options import given_capability, node_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.drive.traversal import Listed

SHOWN = (
    "count-immutable-files",
    "count-mutable-files",
    "count-literal-files",
    "count-files",
    "count-directories",
    "size-immutable-files",
    "size-literal-files",
    "size-directories",
    "largest-directory",
    "largest-immutable-file",
)
READABLE_FROM = 1000  # larger values are shown with units, too


@click.command()
@click.argument("place", metavar="[ALIAS:PATH]", default="")
@click.option("-r", "--raw", is_flag=True, help="Print the statistics as JSON.")
@node_option
def stats(place: str, raw: bool, node: Path | None) -> None:
    """Count everything that can be reached from ALIAS:PATH ("-": a capability from standard input)."""
    document = event_loop.run(_stats(parse_grid_path(given_capability(place)), node))
    click.echo(json.dumps(document, indent=1) if raw else stats_text(document))


async def _stats(place: GridPath, node: Path | None) -> dict[str, object]:
    async with open_drive(node) as opened:
        walk = await walk_below(opened, place)
        async with aclosing(walk.events()) as events:
            async for event in events:
                if isinstance(event, Listed) and event.error is not None:
                    raise event.error
        return walk.stats.to_document()


def stats_text(document: dict[str, object]) -> str:
    """Return the statistics for people."""
    width = max(map(len, SHOWN))
    lines = ["Counts and Total Sizes:"]
    for key in SHOWN:
        value = cast(int, document[key])
        sized = not key.startswith("count-") and value > READABLE_FROM
        lines.append(f"{key:>{width}}: {value}" + (f"    {_readable(value)}" if sized else ""))
    histogram = cast(Sequence[tuple[int, int, int]], document["size-files-histogram"])
    if histogram:
        lines.append("Size Histogram:")
        lines += _histogram_lines(histogram)
    return "\n".join(lines)


def _histogram_lines(histogram: Sequence[tuple[int, int, int]]) -> list[str]:
    lows, highs, counts = (max(len(str(row[column])) for row in histogram) for column in range(3))
    lines = []
    expected = histogram[0][0]
    for low, high, count in histogram:
        if low != expected:
            lines.append("    ...")
        lines.append(f" {low:>{lows}}-{high:<{highs}} : {count:<{counts}}    {_readable(high)}")
        expected = high + 1
    return lines


def _readable(value: int) -> str:
    return f"({_with_unit(value, 1000, 'B')}, {_with_unit(value, 1024, 'iB')})"


def _with_unit(value: int, base: int, ending: str) -> str:
    if value < base:
        return f"{value} B"
    amount = float(value)
    for prefix in "kMGTPE":
        amount /= base
        if amount < base or prefix == "E":
            return f"{amount:.2f} {prefix}{ending}"
    raise AssertionError("unreachable")
