"""``holdfast vdrive-server backup``, ``restore`` and ``nurl``: what an operator has for the day on which a
machine is lost.

Source: docs/spec/vdrive.md, sections 14.5 and 14.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import event_loop
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import note, size_text
from holdfast.cli.node_options import directory_argument
from holdfast.cli.options import given_capability, quiet_option
from holdfast.cli.progress_bars import changing_line
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.node.vdrive_backup import BackupReport
    from holdfast.node.vdrive_restoring import RestoreReport


@click.command()
@directory_argument
@quiet_option
def backup(directory: Path, quiet: bool) -> int:
    """Store what has changed since the last time in the grid that DIR is a client of.

    The first time, the capability of the backup is written to private/backup.cap in DIR: keep a copy
    elsewhere, with a copy of the other files in private/ but the database. Who has it can read neither names
    nor capabilities, and can restore the server.

    Exit status 3: some directory could not be stored, as is told.
    """
    report = event_loop.run(_backup(directory, quiet))
    for problem in report.problems:
        note(problem)
    click.echo(
        f"{report.directories} directories, {report.new} of them stored now ({size_text(report.size)})"
    )
    return ExitCode.UNHEALTHY if report.problems else ExitCode.DONE


async def _backup(directory: Path, quiet: bool) -> BackupReport:
    from holdfast.node.identity import load_node_identity
    from holdfast.node.vdrive_backup import CAP_FILE, back_up
    from holdfast.node.vdrive_operating import open_server_database, vdrive_server_directory
    from holdfast.node.vdrive_service import vdrive_settings
    from holdfast.node.wiring import connect

    node, config = vdrive_server_directory(directory)
    if not config.client.enabled and node == directory:  # of a local grid, the client is used
        raise ConfigError(f"{node} is no client of a grid, where a backup could be: it needs [client]")
    settings = vdrive_settings(node, config, load_node_identity(node / "private"))
    first = not (settings.private / CAP_FILE).exists()
    with changing_line(show=not quiet) as show:
        async with open_server_database(directory) as database, connect(directory, on_problem=note) as grid:
            report = await back_up(
                grid,
                database,
                settings,
                progress=lambda done, total: show(f"{done} of {total} directories stored"),
            )
    if first:
        note(f"keep a copy of {settings.private / CAP_FILE} elsewhere: the backup is found by it alone")
    return report


@click.command()
@click.argument("cap", metavar="BACKUP-CAP")
@directory_argument
@click.option(
    "--node", type=click.Path(path_type=Path), metavar="CLIENT", help="Client to read with. Default: DIR."
)
@quiet_option
def restore(cap: str, directory: Path, node: Path | None, quiet: bool) -> int:
    """Fill the empty database of the virtual drive server in DIR from a backup. "-": the capability is read
    from standard input.

    DIR is the old node directory without its database, or a new one with a copy of the old private files:
    with the same TLS key all capabilities work as before. What was written after the backup comes back from
    those who wrote it (`holdfast vdrive heal`, or by itself). The node must not run.

    Exit status 3: some directory could not be brought back, as is told.
    """
    report = event_loop.run(_restore(given_capability(cap), directory, node, quiet))
    for problem in report.problems:
        note(problem)
    if not report.same_key:
        note(
            "this service has another TLS key than the one in the backup: clients find it by [moved] in"
            " their private/vdrive.toml"
        )
    click.echo(f"{report.directories} directories restored")
    return ExitCode.UNHEALTHY if report.problems else ExitCode.DONE


async def _restore(cap: str, directory: Path, client: Path | None, quiet: bool) -> RestoreReport:
    from holdfast.node.identity import load_node_identity
    from holdfast.node.running import the_only_process
    from holdfast.node.vdrive_operating import open_server_database, vdrive_server_directory
    from holdfast.node.vdrive_restoring import restore_backup
    from holdfast.node.vdrive_service import vdrive_settings
    from holdfast.node.wiring import connect

    node, config = vdrive_server_directory(directory)
    settings = vdrive_settings(node, config, load_node_identity(node / "private"))
    with the_only_process(node), changing_line(show=not quiet) as show:
        async with (
            open_server_database(directory) as database,
            connect(client or directory, on_problem=note) as grid,
        ):
            return await restore_backup(
                grid,
                cap,
                database,
                settings,
                progress=lambda done, total: show(f"{done} of {total} directories restored"),
            )


@click.command()
@directory_argument
def nurl(directory: Path) -> None:
    """Print where the virtual drive server of DIR is reached, for clients that are not told by an introducer.

    The line is a secret of its users. It is known once the node has run, or has a port in its settings.
    """
    from holdfast.node.vdrive_operating import vdrive_server_directory
    from holdfast.node.vdrive_service import service_nurls

    for line in service_nurls(*vdrive_server_directory(directory)):
        click.echo(line)
