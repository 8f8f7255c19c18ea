"""``holdfast vdrive head`` and ``heartbeat``: which version a directory is in, for people to compare; and the
promise that it will be a newer one soon.

Source: docs/spec/vdrive.md, sections 7.3 and 7.4.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import click

from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import OpenDrive, open_drive
from holdfast.cli.messages import note, print_json
from holdfast.cli.options import duration_value, json_option, node_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.vdrive_checking import compared_part
from holdfast.cli.vdrive_places import given_place, vdrive_directory
from holdfast.errors import HoldfastError, IntegrityError
from holdfast.formats.vdrive.head import SignedHead, head_hash, parse_head
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.drive import NotWriteableError
from holdfast.interfaces.vdrive import VirtualDriveServer

_COMPARED = re.compile(r"([0-9]{1,18}):([a-z2-7]{8,52})", re.ASCII)
PERIOD_MIN_S = 10


class OtherHistoryError(IntegrityError):
    """Somebody else saw another directory than this one, under the same name."""


def _compared(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, str] | None:
    match = None if value is None else _COMPARED.fullmatch(value.strip())
    if value is not None and match is None:
        raise click.BadParameter("give what holdfast vdrive head printed elsewhere: VERSION:CHARACTERS", ctx)
    return None if match is None else (int(match[1]), match[2])


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option(
    "--check",
    "compared",
    metavar="VERSION:CHARACTERS",
    callback=_compared,
    help="What somebody else was shown: see whether it is a part of the history that is shown here.",
)
@node_option
@json_option
def head(place: str, compared: tuple[int, str] | None, node: Path | None, as_json: bool) -> None:
    """Print the version of a directory, and characters by which two people see whether their server shows
    both of them the same.
    """
    found = event_loop.run(_head(given_place(place), compared, node))
    if as_json:
        print_json(
            {
                "version": found.version,
                "head": compared_part(found.head_hash),
                "entries": found.head.count,
                "time": found.head.time,
                "heartbeat": found.head.heartbeat,
                "followed": found.chain_verified,
            }
        )
        return
    click.echo(f"{found.version}:{compared_part(found.head_hash)}")
    if compared is not None:
        note("that is the same history")


async def _head(place: GridPath, compared: tuple[int, str] | None, node: Path | None) -> VerifiedHead:
    async with open_drive(node) as opened:
        contents = (await vdrive_directory(opened, place)).contents
        found = await contents.directory.head()
        if compared is not None:
            server = opened.client.vdrive_servers.server(contents.cap.place)
            await _compare(server, found, *compared)
        return found


async def _compare(server: VirtualDriveServer, shown: VerifiedHead, version: int, characters: str) -> None:
    """Follow the history from ``version`` to what is shown.

    Raises:
        OtherHistoryError: it is not the one whose head has these characters.
    """
    if version > shown.version:
        raise OtherHistoryError(
            f"the server shows version {shown.version} here, which is older: it hides or has lost the newest"
        )
    found, before = version, b""
    while found <= shown.version:
        for signed in (await server.heads(shown.head.index, found, shown.version)).heads:
            _check_step(signed, found, before)
            before = head_hash(signed.head)
            if found == version and not _text(before).startswith(characters):
                raise OtherHistoryError(
                    f"version {version} is another one here: the server shows two histories"
                )
            found += 1
    if before != shown.head_hash:
        raise OtherHistoryError("the history that the server tells does not lead to what it shows")


def _check_step(signed: SignedHead, version: int, before: bytes) -> None:
    one = parse_head(signed.head)
    if one.version != version or (before and one.previous != before):
        raise OtherHistoryError("the history that the server tells has a gap")


def _text(hash_: bytes) -> str:
    from holdfast.crypto import base32

    return base32.encode(hash_)


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@click.option(
    "--every", metavar="TIME", default="1h", show_default=True, callback=duration_value, help="How often."
)
@click.option("--once", is_flag=True, help="Make one new version now, and leave the next to another run.")
@click.option("--end", is_flag=True, help="Take the promise back.")
@node_option
def heartbeat(place: str, every: int, once: bool, end: bool, node: Path | None) -> None:
    """Promise that the directory has a new version every TIME, and keep the promise until interrupted.

    Whoever reads it then notices when the server hides what is new.
    """
    if every < PERIOD_MIN_S:
        raise click.UsageError(f"--every is {PERIOD_MIN_S} seconds at least")
    event_loop.run(_heartbeat(given_place(place), 0 if end else every, once or end, node))


async def _heartbeat(place: GridPath, every: int, once: bool, node: Path | None) -> None:
    async with open_drive(node) as opened:
        cap = (await vdrive_directory(opened, place)).contents.cap
        if not isinstance(cap, VdriveWriteCap):
            raise NotWriteableError(f"{place} is held read-only; changing it takes its write capability")
        await _beat(opened, cap, every)
        while not once:
            await asyncio.sleep(every / 2)
            try:
                await _beat(opened, cap, every)
            except HoldfastError as error:
                note(f"not this time: {error}")


async def _beat(opened: OpenDrive, cap: VdriveWriteCap, every: int) -> None:
    beat = await opened.client.vdrive_client.heartbeat(cap, every)
    when = time.strftime("%H:%M:%S", time.localtime(beat.head.time))
    click.echo(f"{when} {beat.version}:{compared_part(beat.head_hash)}")
