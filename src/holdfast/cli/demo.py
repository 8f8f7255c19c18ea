"""``holdfast demo``: the whole promise in a minute. Ten storage servers, a file, seven
servers killed, the file read back from the three that are left.

    python -m holdfast.cli.demo [--file PATH]
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from holdfast.cli import event_loop
from holdfast.cli.files import source_for, target_for
from holdfast.cli.interrupts import ignore_signals, raise_on_signals
from holdfast.cli.messages import size_text
from holdfast.cli.progress_bars import counting_bar, progress_bars
from holdfast.cli.share_picture import PictureRow, share_picture
from holdfast.errors import InputError, IntegrityError
from holdfast.grid.progress import Progress
from holdfast.grid.results import UploadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.node.local_grid import LocalGrid
from holdfast.node.wiring import connect, open_drive

SERVERS, KILLED = 10, 7
ENCODING = EncodingSettings(shares_needed=3, happiness=7, shares_total=10)
OWN_FILE_SIZE = 50_000_000  # bytes
PIECE = 1 << 20  # bytes
PLACE = "demo"  # directory in the private root
SPACE_FACTOR = 10 / 3 + 1 + 0.1  # shares, the copy read back, hashes

NEXT = """\
Nothing is left of this grid. To try it at your own pace:
  holdfast grid start ~/my-grid --servers 10
  export HOLDFAST_NODE=~/my-grid
  holdfast put FILE
  holdfast grid kill ~/my-grid amber
  holdfast get CAPABILITY COPY
  holdfast check --verify CAPABILITY
  holdfast put FILE '~/papers/file' && holdfast ls '~/papers'
  holdfast grid stop ~/my-grid"""


@click.command()
@click.option(
    "--file", type=click.Path(path_type=Path), help="The file to store. Default: 50 MB of random bytes."
)
def demo(file: Path | None) -> None:
    """Store a file on a grid of ten servers of its own, kill seven, read it back from the three left, and
    give it a path in a directory.

    Takes room for about 4.5 times the size of the file, in a temporary directory (TMPDIR says where) that is
    removed at the end.
    """
    raise_on_signals()
    with _temporary_grid() as (place, grid):
        stored = _chosen_file(place, file)
        _start(grid)
        result = _store(grid, stored, given=file is not None)
        _show(grid, result)
        _kill(grid)
        _read_back(grid, result.uri, stored, place / "read-back")
        _name(grid, result.uri, stored.name)
    click.echo(f"\n{NEXT}")


def _start(grid: LocalGrid) -> None:
    click.echo(f"Starting {SERVERS} storage servers, each a process of its own, spoken to over TLS ...")
    began = time.monotonic()
    with counting_bar("starting", SERVERS) as count:
        grid.start(SERVERS, ENCODING, on_running=count)
    click.echo(f"  {_seconds(began)}: {', '.join(grid.names)}")


def _store(grid: LocalGrid, file: Path, *, given: bool) -> UploadResult:
    size = file.stat().st_size
    what = str(file) if given else "a file of random bytes"
    click.echo(f"\nStoring {what}, {size_text(size)}: encrypted, cut into {ENCODING.shares_total} shares ...")
    began = time.monotonic()
    result = event_loop.run(_upload(grid, file))
    click.echo(f"  {_rate(size, began)}")
    click.echo(f"\nIts capability, all that is needed to read it back:\n  {result.uri}")
    return result


async def _upload(grid: LocalGrid, file: Path) -> UploadResult:
    with source_for(str(file)) as source, progress_bars() as progress:
        async with connect(grid.client_directory) as client:
            return await client.upload(source, progress=progress)


def _show(grid: LocalGrid, result: UploadResult) -> None:
    if not result.shares:
        click.echo("\nSo small a file fits into the capability itself; no server holds any of it.")
        return
    click.echo(f"\nWhich server holds which share (any {ENCODING.shares_needed} give the file back):\n")
    rows = [PictureRow(server_id, name) for name, server_id in grid.server_ids().items()]
    click.echo(_indented(share_picture(result.shares, rows, ENCODING.shares_total)))


def _kill(grid: LocalGrid) -> None:
    doomed = sorted(random.sample(grid.names, KILLED))
    click.echo(f"\nKilling {KILLED} of {SERVERS} servers (kill -9): {', '.join(doomed)}")
    for name in doomed:
        grid.kill(name)


def _read_back(grid: LocalGrid, uri: str, original: Path, copy: Path) -> None:
    left = [server.name for server in grid.status() if server.state == "running"]
    click.echo(f"\nReading the file back from those left: {', '.join(left)} ...")
    began = time.monotonic()
    event_loop.run(_download(grid, uri, copy))
    click.echo(f"  {_rate(original.stat().st_size, began)}")
    if not _equal(original, copy):
        raise IntegrityError("the file read back is not the file stored")
    click.echo("  every byte is the same")


def _name(grid: LocalGrid, uri: str, name: str) -> None:
    click.echo("\nGiving it a place in the private root, at the virtual drive server:")
    began = time.monotonic()
    for path in event_loop.run(_link(grid, uri, name)):
        click.echo(f"  {path}")
    click.echo(f"  {_seconds(began)}; holdfast ls and get take such paths")


async def _link(grid: LocalGrid, uri: str, name: str) -> list[str]:
    """Link the file below the private root; return the paths of all that is there."""
    async with open_drive(grid.client_directory) as client:
        assert client.vdrive is not None, "a client of a local grid has one"
        root = await client.vdrive.get_private_root()
        await (await root.create_empty_directory(PLACE)).set_uri(name, uri)
        return [f"~/{'/'.join(item.path)}" async for item in root.iter_manifest() if item.path]


def _equal(original: Path, copy: Path) -> bool:
    size = original.stat().st_size
    done = 0
    with open(original, "rb") as one, open(copy, "rb") as other, progress_bars() as progress:
        while True:
            piece = one.read(PIECE)
            if piece != other.read(PIECE):
                return False
            if not piece:
                return True
            done += len(piece)
            progress(Progress("comparing", done, size))


async def _download(grid: LocalGrid, uri: str, copy: Path) -> None:
    with target_for(str(copy)) as target, progress_bars() as progress:
        async with connect(grid.client_directory) as client:
            await client.download(uri, target, progress=progress)


def _chosen_file(place: Path, file: Path | None) -> Path:
    """Return the file to store, after making one if need be and looking for room."""
    if file is not None and not file.is_file():
        raise InputError(f"{file} is not a file that can be read")
    size = OWN_FILE_SIZE if file is None else file.stat().st_size
    needed = int(size * (SPACE_FACTOR + (file is None)))
    if shutil.disk_usage(place).free < needed:
        raise InputError(f"{place} has no room for {size_text(needed)}; let TMPDIR name another directory")
    if file is not None:
        return file.absolute()
    own = place / "random-bytes"
    with open(own, "wb") as handle:
        for begin in range(0, size, PIECE):
            handle.write(os.urandom(min(PIECE, size - begin)))
    return own


@contextmanager
def _temporary_grid() -> Iterator[tuple[Path, LocalGrid]]:
    """Give a directory and a grid inside it; end both, whatever happens."""
    place = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    grid = LocalGrid(place / "grid", attached=True)
    try:
        yield place, grid
    finally:
        ignore_signals()  # a second Ctrl-C must not leave half of it behind
        try:
            if grid.exists:
                grid.stop()
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def _rate(size: int, began: float) -> str:
    duration = max(time.monotonic() - began, 1e-9)
    return f"{duration:.1f} s, {size_text(size / duration)} per second"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _main(arguments: Sequence[str]) -> NoReturn:
    from holdfast.cli.main import main

    main(["demo", *arguments])


if __name__ == "__main__":
    _main(sys.argv[1:])
