"""``holdfast vdrive heal``: gives a server back what it has lost of a directory.

Source: docs/spec/vdrive.md, sections 7.6 and 14.7.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import plural, print_json
from holdfast.cli.options import json_option, node_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.quoting import shown_name
from holdfast.cli.vdrive_places import given_place, vdrive_directory
from holdfast.grid.vdrive.healing import HealReport


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option(
    "--disown",
    is_flag=True,
    help="Give up what nobody can bring back: the directory goes on from what the server has.",
)
@node_option
@json_option
def heal(place: str, disown: bool, node: Path | None, as_json: bool) -> int:
    """Send a server again what it has lost of a directory: it was restored from an old backup, say.

    Each client can give back what it has written itself, so let all of them do this before --disown. Exit
    status 3: something is still missing.
    """
    report = event_loop.run(_heal(given_place(place), disown, node))
    if as_json:
        print_json(
            {
                "found": report.found,
                "version": report.version,
                "remembered": report.remembered,
                "resent": list(report.resent),
                "missing": [report.missing.start, report.missing.stop - 1] if report.missing else None,
                "disowned": report.disowned,
                "made_again": list(report.made_again),
                "conflicts": list(report.conflicts),
            }
        )
    else:
        click.echo("\n".join(_lines(report)))
    return ExitCode.UNHEALTHY if report.missing or report.conflicts else ExitCode.DONE


async def _heal(place: GridPath, disown: bool, node: Path | None) -> HealReport:
    async with open_drive(node) as opened:
        cap = (await vdrive_directory(opened, place)).contents.cap
        return await opened.client.vdrive_client.heal(cap, disown=disown)


def _lines(report: HealReport) -> list[str]:
    lines = [f"the server had version {report.found}; it has {report.version} now"]
    if report.resent:
        lines.append(f"{plural(len(report.resent), 'version')} given back")
    if report.missing:
        first, last = report.missing.start, report.missing.stop - 1
        lines.append(
            f"still missing: versions {first} to {last}, which other clients wrote; let them heal it"
        )
    if report.disowned:
        lines.append("what was lost beyond that is given up")
    lines += [f"made anew: {shown_name(name)}" for name in report.made_again]
    lines += [f"left alone, since it is another now: {shown_name(name)}" for name in report.conflicts]
    return lines
