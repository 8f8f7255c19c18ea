"""``holdfast systemd-unit``: let systemd run a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.messages import note
from holdfast.cli.node_options import directory_argument
from holdfast.cli.unit_file import UnitSettings, unit_text
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.node.config import NodeConfig

PARTS = ("private", "storage", "logs")  # of a node directory; each may be a link to another disk


@click.command()
@directory_argument
@click.option("--user-unit", is_flag=True, help="For systemctl --user, in place of the system's services.")
def systemd_unit(directory: Path, user_unit: bool) -> None:
    """Print a systemd unit that runs the node DIR, as the owner of DIR, and lets it do nothing else.

    \b
    holdfast systemd-unit DIR | sudo tee /etc/systemd/system/holdfast.service
    sudo systemctl enable --now holdfast

    \b
    holdfast systemd-unit --user-unit DIR > ~/.config/systemd/user/holdfast.service
    systemctl --user enable --now holdfast
    """
    from holdfast.node.config import load_config

    config = load_config(directory)
    path = Path(os.path.abspath(directory))
    settings = UnitSettings(
        command=[*_holdfast(), "run", str(path)],
        writable=_writable(path, config),
        readable=[*config.control.read_roots, os.path.realpath(sys.executable), sys.prefix],
        user=None if user_unit else _owner(path),
        port=config.node.port,
    )
    try:
        text = unit_text(settings)
    except ValueError as error:
        raise InputError(str(error)) from None
    click.echo(text, nl=False)
    if settings.user == "root":
        note(f"it runs as root, who owns {directory}; better make it over to a user of its own first")


def _holdfast() -> list[str]:
    """Return the command that is running now, by absolute paths."""
    script = Path(sys.executable).with_name("holdfast")
    if os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-P", "-m", "holdfast.cli.main"]


def _writable(directory: Path, config: NodeConfig) -> list[str]:
    """Return the directories that the node writes, of those inside others the outer alone."""
    paths = [str(directory)]
    parts = [str(directory / part) for part in PARTS]
    for path in [str(directory), *parts, *config.control.write_roots]:
        real = os.path.realpath(path)
        if not any(real == known or real.startswith(known + "/") for known in paths):
            paths.append(real)
    return paths


def _owner(directory: Path) -> str:
    import pwd

    number = directory.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
