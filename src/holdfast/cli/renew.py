"""``holdfast renew``: renews the leases of everything in a manifest of refresh capabilities.

Source: docs/spec/vdrive.md, section 12.3.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.drive_places import open_drive
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_renewal import (
    AnyRefreshCap,
    RenewalReport,
    cancel_gone,
    parse_manifest,
    renew_all,
)
from holdfast.cli.messages import note, plural, print_json
from holdfast.cli.options import json_option, needed_node, node_option
from holdfast.errors import InputError

SUFFIX = ".manifest"
SHOWN = 5  # problems


@click.command()
@click.option(
    "--manifest",
    "manifests",
    metavar="FILE|DIR",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help=f"A manifest, or a directory of files *{SUFFIX}; can be repeated.",
)
@click.option(
    "--cancel",
    "before",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An older manifest: give up the leases of directories that are gone from the new ones.",
)
@node_option
@json_option
def renew(manifests: tuple[Path, ...], before: Path | None, node: Path | None, as_json: bool) -> int:
    """Renew the leases of all that is in manifests made by: holdfast manifest --refresh-cap PLACE > FILE

    That takes no other capability, so any machine can do it that is on often: once a week is enough. Exit
    status 3: not everything could be renewed everywhere.
    """
    needed_node(node)
    caps = [cap for path in manifests for file in _files(path) for cap in _read(file)]
    gone = [] if before is None else _read(before)
    report = event_loop.run(_renew(list(dict.fromkeys(caps)), gone, node))
    if as_json:
        print_json(
            {
                "renewed": report.renewed,
                "partly": report.partly,
                "cancelled": report.cancelled,
                "failed": [{"refresh_cap": cap, "reason": reason} for cap, reason in report.failed],
            }
        )
    else:
        _say(report)
    return ExitCode.UNHEALTHY if report.failed or report.partly else ExitCode.DONE


async def _renew(caps: list[AnyRefreshCap], gone: list[AnyRefreshCap], node: Path | None) -> RenewalReport:
    async with open_drive(node) as opened:
        report = await renew_all(opened.client, caps)
        await cancel_gone(opened.client, gone, caps, report)
        return report


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise InputError(f"{path} holds no files *{SUFFIX}")
    return found


def _read(path: Path) -> list[AnyRefreshCap]:
    try:
        with open(path, encoding="utf-8") as file:
            return parse_manifest(file, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no manifest: it is not a text") from None


def _say(report: RenewalReport) -> None:
    click.echo(f"{plural(report.renewed, 'lease')} renewed")
    if report.cancelled:
        click.echo(f"{plural(report.cancelled, 'lease')} given up")
    if report.partly:
        note(f"{report.partly} more were renewed in part: some servers do not answer")
    for _, reason in report.failed[:SHOWN]:
        note(f"not renewed: {reason}")
    if len(report.failed) > SHOWN:
        note(f"{len(report.failed) - SHOWN} more were not renewed")
