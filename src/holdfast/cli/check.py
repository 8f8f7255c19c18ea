"""``holdfast check``: count the shares of a file or directory, verify every byte of them, mend them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.caps.parsing import VdriveCap
from holdfast.cli import event_loop
from holdfast.cli.check_report import (
    deed,
    findings,
    is_missing,
    repair_as_json,
    result_as_json,
    status_of,
    verdict,
)
from holdfast.cli.check_targets import (
    ImmutableTarget,
    MutableTarget,
    Target,
    Wishes,
    check_wishes,
    target_of,
)
from holdfast.cli.drive_places import DrivePlaces, open_drive
from holdfast.cli.messages import print_json, printable
from holdfast.cli.options import given_capability, json_option, needed_node, node_option, quiet_option
from holdfast.cli.path_arguments import GridPath, parse_grid_path
from holdfast.cli.problems import note_problems
from holdfast.cli.progress_bars import progress_bars
from holdfast.cli.share_picture import PictureRow, share_picture
from holdfast.cli.vdrive_checking import VdriveChecked, check_vdrive
from holdfast.errors import BadCapabilityError
from holdfast.grid.client import Grid
from holdfast.grid.mutable.repairing import MutableRepairResult
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.results import CheckResult
from holdfast.grid.server_state import ServerState


class Checked(NamedTuple):
    """What was found, and what was done about it."""

    result: CheckResult  # as it is now
    repair: MutableRepairResult | None
    servers: Sequence[ServerState]


@click.command()
@click.argument("place", metavar="[CAP|ALIAS:PATH]", default="")
@click.option("--verify", is_flag=True, help="Read every byte of every share, and prove it.")
@click.option("--repair", is_flag=True, help="Verify, and make again what is missing or bad.")
@click.option(
    "--force", is_flag=True, help="With --repair: keep the version shown, even if that discards others."
)
@click.option("--add-lease", is_flag=True, help="Renew the lease of the shares.")
@node_option
@quiet_option
@json_option
def check(
    place: str,
    verify: bool,
    repair: bool,
    force: bool,
    add_lease: bool,
    node: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Say which servers hold which shares of the file or directory of capability CAP ("-": read from standard
    input), or at ALIAS:PATH.

    A capability that only verifies will do. --repair and --add-lease are for what can change; --repair takes
    the capability to write. Of a directory at a virtual drive server, its version is proven, with --verify
    each entry; --repair gives the server back what it has lost and this client knows. Exit status 0: healthy;
    3: shares are missing or wrong, but the file can be read; 4: too few good shares answer.
    """
    if force and not repair:
        raise click.UsageError("--force is for --repair")
    wishes = Wishes(verify=verify, repair=repair, force=force, add_lease=add_lease)
    checked = event_loop.run(
        _check(parse_grid_path(given_capability(place)), wishes, needed_node(node), quiet)
    )
    if isinstance(checked, VdriveChecked):
        print_json(checked.to_json()) if as_json else click.echo("\n".join(checked.lines()))
        return checked.status
    if as_json:
        value = result_as_json(checked.result)
        print_json({**value, "repair": repair_as_json(checked.repair)} if repair else value)
    else:
        click.echo("\n".join(_lines(checked)))
        if not quiet:
            before = checked.repair.before.corrupt if checked.repair else ()
            note_problems(list(dict.fromkeys([*before, *checked.result.corrupt, *checked.result.problems])))
    return status_of(checked.result)


async def _check(place: GridPath, wishes: Wishes, node: Path, quiet: bool) -> Checked | VdriveChecked:
    target = None
    if place.cap is not None and not place.names:
        target = target_of(place.cap)
        check_wishes(target, wishes)  # before servers are looked for
    async with open_drive(node) as opened:
        if target is None:
            target = await _target_at(opened.places, place)
            check_wishes(target, wishes)
        if isinstance(target, VdriveCap):
            return await check_vdrive(opened.client, target, wishes)
        with progress_bars(show=not quiet) as progress:
            result, repair = await _carry_out(opened.grid, target, wishes, progress)
        return Checked(result, repair, opened.grid.servers)


async def _target_at(places: DrivePlaces, place: GridPath) -> Target:
    node = await places.node(place)
    try:
        return target_of(node.get_uri() or "")
    except BadCapabilityError as error:
        raise BadCapabilityError(f"{place}: {error}") from None


async def _carry_out(
    grid: Grid, target: ImmutableTarget | MutableTarget, wishes: Wishes, progress: ProgressCallback
) -> tuple[CheckResult, MutableRepairResult | None]:
    if isinstance(target, MutableWriteCap | MutableReadCap | MutableVerifyCap):
        return await _carry_out_on_mutable(grid, target, wishes, progress)
    if wishes.verify:
        return await grid.verify(target.to_text(), progress), None
    return await grid.check(target.to_text()), None


async def _carry_out_on_mutable(
    grid: Grid, target: MutableTarget, wishes: Wishes, progress: ProgressCallback
) -> tuple[CheckResult, MutableRepairResult | None]:
    file = grid.mutable.open(target)
    if not wishes.repair:
        return await file.check(wishes.verify, wishes.add_lease, progress), None
    if wishes.add_lease:  # of what is there, whatever becomes of the repair; what is written gets one anyway
        await file.check(add_lease=True)
    repair = await file.repair(wishes.force, progress)
    return repair.after, repair


def _lines(checked: Checked) -> list[str]:
    result, repair = checked.result, checked.repair
    lines = []
    if repair is not None:
        if repair.attempted:
            lines += [f"before: {verdict(repair.before)}", *findings(repair.before)]
        lines.append(deed(repair))
    lines += [verdict(result), *findings(result)]
    if result.shares_total and not is_missing(result):
        servers = sorted(checked.servers, key=lambda server: (server.nickname, server.server_id))
        rows = [
            PictureRow(s.server_id, printable(s.nickname) or s.server_id[:11], _remark(s)) for s in servers
        ]
        lines.append(share_picture(result.shares, rows, result.shares_total))
    return lines


def _remark(server: ServerState) -> str:
    """Return what the picture says beside a server."""
    return f"down: {printable(server.reason)}" if server.state == "down" else ""
