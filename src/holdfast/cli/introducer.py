"""``holdfast introducer``: what the operator of an introducer does, whether it runs or not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.messages import note, plural, print_json, printable
from holdfast.cli.node_options import directory_argument, quoted, run_command
from holdfast.cli.options import json_option
from holdfast.cli.tables import table_text
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.node.config import NodeConfig
    from holdfast.servers.introducer.operating import ListedAnnouncement, ListedKey


def _key(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    from holdfast.protocol.announcement import key_of_server_id

    try:
        return key_of_server_id(value)
    except ValueError:
        raise click.BadParameter('give a node\'s id, "v0-" and 52 characters', ctx, param) from None


key_argument = click.argument("key", callback=_key)


@click.group()
def introducer() -> None:
    """Look after an introducer: the directory DIR of its node, or of a local grid."""


@introducer.command("show-nurl")
@directory_argument
@click.option("--subscribe", is_flag=True, help="The one that allows to read, for clients.")
def show_nurl(directory: Path, subscribe: bool) -> None:
    """Print the NURL by which nodes find the introducer and may announce themselves.

    It is a secret: who has it may announce servers to everybody.
    """
    from holdfast.node.introducer_nurls import PUBLISH_FILE, SUBSCRIBE_FILE
    from holdfast.node.private_files import read_private_file

    node, _ = _introducer(directory)
    path = node / "private" / (SUBSCRIBE_FILE if subscribe else PUBLISH_FILE)
    if not path.exists():
        raise ConfigError(f"{node} has never run, so it has no address yet; run it once: {run_command(node)}")
    click.echo(read_private_file(path))


@introducer.command("list")
@directory_argument
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """Show the nodes that the introducer knows: whether they may announce, what they do, when they did last.

    A node repeats its announcement every few days, or when something changes.
    """
    from holdfast.servers.introducer.operating import listed_keys

    node, config = _introducer(directory)
    admission = config.introducer.admission
    keys = listed_keys(_database(node))
    if as_json:
        print_json({"admission": admission, "keys": [_as_json(key, admission) for key in keys]})
        return
    heads = ("key", "standing", "nickname", "last heard", "announces")
    click.echo(table_text(heads, [_row(key, admission) for key in keys]))
    waiting = sum(_standing(key, admission) == "waiting" for key in keys)
    if waiting:
        note(f"{plural(waiting, 'key')} waiting: holdfast introducer admit {quoted(directory)} KEY")
    elif not keys:
        note("no node has announced itself yet")


@introducer.command()
@directory_argument
@key_argument
def admit(directory: Path, key: bytes) -> None:
    """Let the node KEY announce itself: where keys must be admitted, or after it was expelled."""
    from holdfast.protocol.announcement import server_id_of
    from holdfast.servers.introducer.operating import admit_key

    node, config = _introducer(directory)
    before = admit_key(_database(node), key)
    click.echo(f"{server_id_of(key)} is admitted")
    if before == "admitted":
        note("it was before")
    elif before == "unknown":
        note("it has not tried to announce itself yet")
    elif before == "undecided" and config.introducer.admission == "open":
        note("nothing changes for it as long as introducer.admission is open")
    else:
        note("it is heard when it tries again, within a minute or so")


@introducer.command()
@directory_argument
@key_argument
def expel(directory: Path, key: bytes) -> None:
    """Delete what the node KEY has announced, and let it announce nothing any more.

    Nodes that have heard of it already may know it still; `admit` takes it back.
    """
    from holdfast.protocol.announcement import server_id_of
    from holdfast.servers.introducer.operating import expel_key

    node, _ = _introducer(directory)
    services = expel_key(_database(node), key)
    click.echo(f"{server_id_of(key)} is expelled")
    if services:
        note(f"it had announced: {', '.join(services)}")


@introducer.command("rotate-swissnum")
@directory_argument
@click.option("--publish", is_flag=True, help="Replace the NURL that allows to announce. Must be given.")
def rotate_swissnum(directory: Path, publish: bool) -> None:
    """Make the NURL that allows to announce worthless, and another in its place: an answer to a leak.

    Takes effect when the introducer is started next. The NURL of clients stays as it is.
    """
    from holdfast.node.running import process_of

    if not publish:
        raise click.UsageError("say --publish: only the NURL that allows to announce can be replaced")
    node, _ = _introducer(directory)
    _replace_publish_swissnum(node / "private")
    click.echo(f"the next start of {node} makes the old NURL worthless")
    if process_of(node) is not None:
        note("the introducer runs, with the old NURL; stop it and start it again")
    note(
        "servers need the new one in their private/introducers.toml: "
        f"holdfast introducer show-nurl {quoted(directory)}"
    )


# -- the introducer


def _introducer(directory: Path) -> tuple[Path, NodeConfig]:
    """Return the node of an introducer, and its settings.

    Raises:
        ConfigError: it is none.
    """
    from holdfast.node.config import load_config
    from holdfast.node.places import GRID_FILE

    node = directory
    if (directory / GRID_FILE).is_file():
        from holdfast.node.inviting import introducer_directory

        node = introducer_directory(directory)
    config = load_config(node)
    if not config.introducer.enabled:
        raise ConfigError(f"{node} is no introducer (introducer.enabled is false)")
    return node, config


def _database(node: Path) -> Path:
    from holdfast.node.services import INTRODUCER_DATABASE

    return node / "private" / INTRODUCER_DATABASE


def _replace_publish_swissnum(private: Path) -> None:
    from holdfast.node.introducer_nurls import PUBLISH_FILE
    from holdfast.node.private_files import read_private_file, write_private_file
    from holdfast.node.swissnums import PUBLISH_SWISSNUM_FILE, new_swissnum
    from holdfast.protocol.nurl import parse_nurl

    path = private / PUBLISH_FILE
    try:
        before = parse_nurl(read_private_file(path)) if path.exists() else None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}; remove it, the next start writes it anew") from None
    swissnum = new_swissnum()
    write_private_file(private / PUBLISH_SWISSNUM_FILE, swissnum + "\n")
    if before is not None:  # else the first start writes it
        write_private_file(path, replace(before, swissnum=swissnum).to_text() + "\n")


# -- what is shown


def _standing(key: ListedKey, admission: str) -> str:
    if key.standing == "undecided":
        return "waiting" if admission == "approve" else "open"
    return key.standing


def _row(key: ListedKey, admission: str) -> tuple[str, ...]:
    from holdfast.node.durations import duration_text

    ago = f"{duration_text(max(0, time.time() - key.last_heard))} ago"
    services = ", ".join(map(_service, key.announcements)) or "-"
    return key.server_id, _standing(key, admission), printable(key.nickname) or "-", ago, services


def _service(one: ListedAnnouncement) -> str:
    if one.withdrawn:
        return f"{one.service} (withdrawn)"
    where = f" at {', '.join(one.addresses)}" if one.addresses else ""
    return f"{one.service}{where}" + (" (expired)" if one.expires <= time.time() else "")


def _as_json(key: ListedKey, admission: str) -> dict[str, object]:
    return {
        "key": key.server_id,
        "standing": _standing(key, admission),
        "nickname": key.nickname,
        "first_seen": key.first_seen,
        "last_heard": key.last_heard,
        "announcements": [
            {
                "service": one.service,
                "addresses": list(one.addresses),
                "withdrawn": one.withdrawn,
                "received": one.received,
                "expires": one.expires,
            }
            for one in key.announcements
        ],
    }
