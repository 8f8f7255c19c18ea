"""``holdfast servers``: the storage servers a client knows, and lists of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.messages import note, plural, print_json, printable
from holdfast.cli.node_options import directory_argument, run_command
from holdfast.cli.options import json_option
from holdfast.cli.server_lists import (
    TOML_LIST,
    YAML_LIST,
    known_servers,
    list_in_use,
    merged_with,
    same_file,
    write_yaml_list,
    yaml_list,
)
from holdfast.cli.tables import table_text
from holdfast.errors import ConfigError, InputError

if TYPE_CHECKING:
    from holdfast.grid.listed_servers import ListedServer
    from holdfast.node.config import NodeConfig


@click.group()
def servers() -> None:
    """Look at, keep and exchange lists of storage servers. DIR is the node of a client, or a local grid."""


@servers.command("list")
@directory_argument
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """Show the servers on the list of DIR, and those that introducers have named and DIR remembers.

    Nobody is asked. A static server is on the list; a stale one has not renewed its announcement.
    """
    node, config = _client(directory)
    found, problems = known_servers(node, config)
    if as_json:
        print_json({"servers": [_as_json(server) for server in found], "problems": problems})
        return
    heads = ("nickname", "freshness", "last contact", "addresses", "id", "")
    click.echo(table_text(heads, [_row(server) for server in found]))
    for problem in problems:
        note(problem)


@servers.command()
@directory_argument
def freeze(directory: Path) -> None:
    """Write the servers that DIR knows into its private/servers.toml.

    They are then known for good, even if no introducer ever answers again; but a server that moves is not
    followed any more, until its entry is removed.
    """
    from holdfast.grid.server_list import toml_list_text
    from holdfast.node.private_files import write_private_file

    node, config = _client(directory)
    target, in_use = node / TOML_LIST, list_in_use(node, config)
    if target.exists() and not same_file(in_use, target):
        raise ConfigError(f"{target} exists, and is not the list that {node} uses; move it away first")
    found, problems = known_servers(node, config)
    records = [server.record for server in found if server.record is not None]
    for problem in problems:
        note(problem)
    for server in found:
        if server.record is None:
            note(f"left out: {_name(server)}: {server.reason}")
    if not records:
        raise ConfigError(f"{node} knows no storage servers yet, so there is nothing to write")
    write_private_file(target, toml_list_text(records))
    click.echo(f"{plural(len(records), 'server')} in {target}")
    if in_use is not None and not same_file(in_use, target):
        note(f'{in_use} is used in its place, unless client.servers in holdfast.toml is "{TOML_LIST}"')
    _say_when_it_counts(node)


@servers.command("import")
@directory_argument
@click.option(
    "--tahoe",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="A servers.yaml, or the cache of an introducer (introducer_*_cache.yaml), of Tahoe-LAFS.",
)
@json_option
def import_(directory: Path, file: Path, as_json: bool) -> None:
    """Take the servers of a FILE of Tahoe-LAFS into the list of DIR, private/servers.yaml.

    What cannot be used is named: servers that offer only Foolscap, say. A server that is on the list already
    gets its new entry. Comments in the list do not survive.
    """
    node, config = _client(directory)
    known = yaml_list(node, config)
    merged = merged_with(known, file)
    for sentence in merged.left_out:
        note(f"left out: {sentence}")
    for sentence in merged.remarks:
        note(sentence)
    if not (merged.added or merged.changed or merged.unchanged):
        raise InputError(f"{file} names no server that Holdfast can use; nothing was changed")
    if merged.added or merged.changed:
        write_yaml_list(node, known, merged)
        if known.taken_from is not None:
            note(f"{YAML_LIST} is read from now on, with the servers of {known.taken_from} in it")
    if as_json:
        values = {"added": merged.added, "changed": merged.changed, "unchanged": merged.unchanged}
        print_json({**values, "left_out": merged.left_out})
        return
    counts = f"{len(merged.added)} added, {len(merged.changed)} changed, {len(merged.unchanged)} as before"
    click.echo(f"{plural(len(merged.entries), 'server')} in {node / YAML_LIST}: {counts}")
    _say_when_it_counts(node)


@servers.command()
@directory_argument
@click.option("--tahoe", is_flag=True, help="In the form of Tahoe-LAFS. Must be given.")
def export(directory: Path, tahoe: bool) -> None:
    """Print the entry by which a client of Tahoe-LAFS uses the storage server DIR.

    It belongs into that client's private/servers.yaml, and is a secret: who has it may store on this server.
    """
    from holdfast.node.config import load_config
    from holdfast.node.inviting import only_for_this_machine
    from holdfast.node.server_records import known_records, server_list_text

    if not tahoe:
        raise click.UsageError("say --tahoe: that is the only form there is")
    if not load_config(directory).storage.enabled:
        raise ConfigError(f"{directory} is no storage server (storage.enabled is false)")
    records = list(known_records([directory]))
    if not records:
        raise ConfigError(
            f"{directory} has never run, so it has no port yet; run it once: {run_command(directory)}"
        )
    click.echo(server_list_text(records), nl=False)
    hosts = sorted({nurl.host for nurl in records[0].nurls})
    if all(map(only_for_this_machine, hosts)):
        note(f"it names {', '.join(hosts)}, so only clients on this machine can use it; see node.location")


# -- the client


def _client(directory: Path) -> tuple[Path, NodeConfig]:
    """Return the node of a client, and its settings.

    Raises:
        ConfigError: it is none.
    """
    from holdfast.node.config import load_config
    from holdfast.node.places import client_directory

    node = client_directory(directory)
    config = load_config(node)
    if not config.client.enabled:
        raise ConfigError(f"{node} is no client (client.enabled is false), and uses no servers")
    return node, config


# -- what is shown


def _say_when_it_counts(node: Path) -> None:
    from holdfast.node.running import process_of

    if process_of(node) is not None:
        note("the node runs; it reads the list when it is started next")


def _name(server: ListedServer) -> str:
    return f"{server.server_id} ({printable(server.nickname)})" if server.nickname else server.server_id


def _row(server: ListedServer) -> Sequence[str]:
    from holdfast.node.durations import duration_text

    contact = (
        f"{duration_text(max(0, time.time() - server.last_contact))} ago" if server.last_contact else "-"
    )
    return (
        printable(server.nickname) or "-",
        server.freshness,
        contact,
        " ".join(server.addresses) or "-",
        server.server_id,
        f"not used: {server.reason}" if server.reason else "",
    )


def _as_json(server: ListedServer) -> dict[str, object]:
    return {
        "id": server.server_id,
        "nickname": server.nickname,
        "addresses": list(server.addresses),
        "freshness": server.freshness,
        "expires": server.expires,
        "last_contact": server.last_contact,
        "used": not server.reason,
        "reason": server.reason,
    }
