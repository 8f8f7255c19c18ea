"""``holdfast control``: what a running node lets its user do with it.

Source: docs/spec/control-and-introducer.md, section 2.7.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from holdfast.cli.control_tokens import token
from holdfast.cli.files import STANDARD_STREAM, open_input
from holdfast.cli.interrupts import raising_on_signals
from holdfast.cli.messages import plural, print_json, printable, size_text
from holdfast.cli.node_transfers import HandedOver
from holdfast.cli.options import given_capability, json_option, node_option, size_value
from holdfast.cli.progress_bars import drawn_stages
from holdfast.cli.running_node import node_directory, the_running_node
from holdfast.errors import UnavailableError
from holdfast.node.control import calls
from holdfast.node.control.errors import AlreadyThereError

if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from holdfast.cli.progress_bars import Draw
    from holdfast.wire.local_client import LocalClient

COUNT = click.IntRange(1, 20)
PING_PATIENCE_S = 10  # of the node, for each answer of a server
STOP_PATIENCE_S = 60
POLL_INTERVAL_S = 0.02


@click.group()
def control() -> None:
    """Let the node that runs in DIR do something, or say how it is.

    DIR is a node directory; of a local grid, its client is meant.
    """


control.add_command(token)


@control.command()
@click.argument("count", metavar="N", type=click.IntRange(0))
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Default: for ever."
)
@node_option
@json_option
def wait(count: int, timeout_s: float | None, node: Path | None, as_json: bool) -> None:
    """Wait until the node is connected to N storage servers, and print to how many it is."""
    with the_running_node(node) as client:
        try:
            connected = calls.wait_for_connections(client, count, timeout_s)
        except TimeoutError as error:
            raise UnavailableError(str(error)) from None
    print_json({"connected": connected}) if as_json else click.echo(str(connected))


@control.command()
@click.argument("file")
@click.option("--on-node", is_flag=True, help="The node opens the file itself, below one of its read-roots.")
@node_option
@json_option
def upload(file: str, on_node: bool, node: Path | None, as_json: bool) -> None:
    """Store FILE ("-": standard input) as the node is used to, and print its capability."""
    with the_running_node(node) as client, raising_on_signals(), drawn_stages() as draw:
        if on_node:
            stored = calls.upload_file(client, os.path.abspath(file), draw)
        else:
            with open_input(file) as opened:
                handed_over = cast("BinaryIO", HandedOver(opened, draw))
                name = "" if opened.size is None else os.path.basename(file)
                stored = calls.upload(client, handed_over, opened.size, name=name, on_progress=draw)
    print_json(stored) if as_json else click.echo(stored["uri"])


@control.command()
@click.argument("cap")
@click.argument("file")
@click.option(
    "--on-node", is_flag=True, help="The node writes the file itself, below one of its write-roots."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@node_option
@json_option
def download(cap: str, file: str, on_node: bool, overwrite: bool, node: Path | None, as_json: bool) -> None:
    """Read the file of capability CAP into FILE, and print FILE's absolute name.

    CAP "-": read from standard input, which keeps it out of the list of processes. FILE appears when it is
    whole and proven, or not at all.
    """
    if file == STANDARD_STREAM:
        raise click.UsageError("give the name of a file; to standard output writes: holdfast get")
    path = os.path.abspath(file)
    capability = given_capability(cap)
    with the_running_node(node) as client, raising_on_signals(), drawn_stages() as draw:
        if on_node:
            path = calls.download_file(client, capability, path, overwrite=overwrite, on_progress=draw)
        else:
            _download(client, capability, path, overwrite, draw)
    print_json({"path": path}) if as_json else click.echo(path)


def _download(client: LocalClient, capability: str, path: str, overwrite: bool, draw: Draw) -> None:
    from holdfast.node.control.whole_file import open_whole_file

    if not overwrite and os.path.lexists(path):
        raise AlreadyThereError(f"{path} exists already; --overwrite replaces it")
    with open_whole_file(path, overwrite=overwrite) as output:
        calls.download(client, capability, output, on_bytes=lambda *count: draw("downloading", *count))


@control.command()
@node_option
@json_option
def memory(node: Path | None, as_json: bool) -> None:
    """Print how much memory the node uses."""
    with the_running_node(node) as client:
        used = calls.call(client, "GET", "memory")
    if as_json:
        print_json(used)
        return
    for key in ("VmPeak", "VmSize", "VmData"):
        click.echo(f"{key:12}{size_text(used[key]):>12}")
    for key, value in used["extra"].items():
        click.echo(f"{key:12}{size_text(value) if key.startswith('Vm') else value:>12}")


@control.command()
@node_option
@json_option
def status(node: Path | None, as_json: bool) -> None:
    """Print all that the node says of itself, as JSON. For people: holdfast status."""
    with the_running_node(node) as client:
        value = calls.call(client, "GET", "status")
    if as_json:
        print_json(value)
    else:
        click.echo(json.dumps(value, indent=1))


@control.command()
@click.option("--count", type=COUNT, default=5, show_default=True, help="Questions to each server.")
@node_option
@json_option
def ping(count: int, node: Path | None, as_json: bool) -> None:
    """Print how fast each storage server answers the node."""
    with the_running_node(node) as client:
        patience_s = calls.PATIENCE_S + count * PING_PATIENCE_S
        answer = calls.call(client, "POST", "ping-servers", {"count": count}, timeout_s=patience_s)
    if as_json:
        print_json(answer)
        return
    servers = answer["servers"]
    names = {key: printable(one["nickname"]) or key[:11] for key, one in servers.items()}
    width = max([len("name"), *map(len, names.values())])
    click.echo(f"{'name':{width}}  {'fastest':>9}  {'median':>9}  {'slowest':>9}  failed")
    for key in sorted(servers, key=names.__getitem__):
        one = servers[key]
        times = (_milliseconds(one[name]) for name in ("minimum", "median", "maximum"))
        click.echo(f"{names[key]:{width}}  {'  '.join(times)}  {one['failures']:>6}")


def _milliseconds(seconds: float | None) -> str:
    return f"{'-':>9}" if seconds is None else f"{seconds * 1000:>6.1f} ms"


@control.command("speed-test")
@click.option("--count", type=COUNT, default=1, show_default=True, help="Files, one after another.")
@click.option(
    "--size", metavar="BYTES", default="10M", show_default=True, callback=size_value, help="Of each."
)
@node_option
@json_option
def speed_test(count: int, size: int, node: Path | None, as_json: bool) -> None:
    """Let the node store files of zeros and read them back, and print how long it takes."""
    body = json.dumps({"count": count, "size": size}).encode("ascii")
    with (
        the_running_node(node) as client,
        raising_on_signals(),
        drawn_stages() as draw,
        client.request("POST", f"{calls.BASE}/speed-test", body=body, accept=calls.LINES) as answer,
    ):
        measured = calls.last_line(calls.checked(answer), draw)
    if as_json:
        print_json(measured)
        return
    for up_s, down_s in zip(measured["upload_s"], measured["download_s"], strict=True):
        click.echo(f"{size_text(size)}: stored in {_speed(size, up_s)}, read in {_speed(size, down_s)}")


def _speed(size: int, seconds: float) -> str:
    return f"{seconds:.2f} s ({size_text(size / max(seconds, 1e-6))}/s)"


@control.command()
@node_option
@json_option
def stop(node: Path | None, as_json: bool) -> None:
    """Let the node end in an orderly way, and return when it has."""
    from holdfast.node.running import process_of

    with the_running_node(node) as client:
        answer: dict[str, Any] = calls.call(client, "POST", "stop")
    assert node is not None
    directory = Path(node_directory(node))
    end = time.monotonic() + STOP_PATIENCE_S
    while process_of(directory) is not None:
        if time.monotonic() > end:
            raise UnavailableError(
                f"the node was told to stop {plural(STOP_PATIENCE_S, 'second')} ago and still runs"
            )
        time.sleep(POLL_INTERVAL_S)
    if as_json:
        print_json(answer)
