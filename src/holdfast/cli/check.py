"""``holdfast check``: count the shares of a file, or verify every byte of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from holdfast.cli import event_loop
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import note, plural, print_json, printable
from holdfast.cli.options import given_capability, json_option, needed_node, node_option, quiet_option
from holdfast.cli.problems import note_problems, problems_as_json
from holdfast.cli.progress_bars import progress_bars
from holdfast.cli.share_picture import PictureRow, share_picture
from holdfast.grid.results import CheckResult
from holdfast.grid.server_state import ServerState
from holdfast.node.wiring import connect


@click.command()
@click.argument("cap")
@click.option("--verify", is_flag=True, help="Read every byte of every share, and prove it.")
@node_option
@quiet_option
@json_option
def check(cap: str, verify: bool, node: Path | None, quiet: bool, as_json: bool) -> int:
    """Say which servers hold which shares of the file of capability CAP ("-": read from standard input).

    A capability that only verifies will do. Exit status 0: healthy; 3: shares are missing, but the file can
    be read; 4: too few good shares answer.
    """
    result, servers = event_loop.run(_check(given_capability(cap), needed_node(node), verify, quiet))
    if as_json:
        print_json(_as_json(result))
    else:
        click.echo(f"{health(result)}: {summary(result)}")
        if result.shares_total:
            servers = sorted(servers, key=lambda server: (server.nickname, server.server_id))
            rows = [
                PictureRow(s.server_id, printable(s.nickname) or s.server_id[:11], remark(s)) for s in servers
            ]
            click.echo(share_picture(result.shares, rows, result.shares_total))
        if not quiet:
            note_problems([*result.corrupt, *result.problems])
    return _exit_code(result)


async def _check(
    cap: str, node: Path, verify: bool, quiet: bool
) -> tuple[CheckResult, Sequence[ServerState]]:
    async with connect(node, on_problem=note) as grid:
        if not verify:
            return await grid.check(cap), grid.servers
        with progress_bars(show=not quiet) as progress:
            return await grid.verify(cap, progress), grid.servers


def health(result: CheckResult) -> str:
    """Return the state of a file in a word or two."""
    if result.healthy:
        return "healthy"
    return "unhealthy, can be read" if result.recoverable else "cannot be read now"


def summary(result: CheckResult) -> str:
    """Return the numbers behind it."""
    if not result.shares_total:
        return "the file is inside the capability; no server holds it"
    total = plural(result.shares_total, "share")
    known = plural(result.servers_known, "server")
    text = (
        f"{len(result.shares)} of {total}, any {result.shares_needed} suffice; "
        f"happiness {result.happiness}; {result.servers_asked} of {known} answered"
    )
    return f"{text}; {plural(len(result.corrupt), 'share')} corrupt" if result.corrupt else text


def remark(server: ServerState) -> str:
    """Return what the picture says beside a server."""
    return f"down: {printable(server.reason)}" if server.state == "down" else ""


def _exit_code(result: CheckResult) -> ExitCode:
    if result.healthy:
        return ExitCode.DONE
    return ExitCode.UNHEALTHY if result.recoverable else ExitCode.UNRECOVERABLE


def _as_json(result: CheckResult) -> dict[str, object]:
    return {
        "healthy": result.healthy,
        "recoverable": result.recoverable,
        "shares": {str(number): list(holders) for number, holders in sorted(result.shares.items())},
        "shares_needed": result.shares_needed,
        "shares_total": result.shares_total,
        "happiness": result.happiness,
        "corrupt": problems_as_json(result.corrupt),
        "problems": problems_as_json(result.problems),
        "servers_asked": result.servers_asked,
        "servers_known": result.servers_known,
    }
