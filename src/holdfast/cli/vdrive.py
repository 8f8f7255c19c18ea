"""``holdfast vdrive``: what directories at virtual drive servers can do beyond other directories.

Source: docs/spec/vdrive.md, sections 7, 8.7, 9.3, 13.2, 14.7 and 16.
"""

from __future__ import annotations

import click

from holdfast.cli.vdrive_account import account
from holdfast.cli.vdrive_bundles import export_, import_, restore
from holdfast.cli.vdrive_dump import dump
from holdfast.cli.vdrive_heads import head, heartbeat
from holdfast.cli.vdrive_healing import heal
from holdfast.cli.vdrive_looking import ls, watch
from holdfast.cli.vdrive_pinning import pin
from holdfast.cli.vdrive_snapshot import snapshot
from holdfast.cli.vdrive_snapshots import snapshots


@click.group()
def vdrive() -> None:
    """Compare, watch, pin, heal and keep directories at virtual drive servers. All else is done as with other
    directories: mkdir, ls, put, get, cp, mv, ln, rm, check.
    """


for command in (head, watch, ls, pin, heartbeat, heal):
    vdrive.add_command(command)
for command in (snapshot, snapshots, restore, export_, import_, account, dump):
    vdrive.add_command(command)
