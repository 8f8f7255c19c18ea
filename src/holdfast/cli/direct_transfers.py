"""put and get by this process itself: it opens the grid, and speaks to the servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from holdfast.cli import event_loop
from holdfast.cli.files import InputFile, source_of, target_for
from holdfast.cli.messages import note
from holdfast.cli.options import RANDOM_KEY, EncodingChoice, needed_node
from holdfast.cli.progress_bars import progress_bars
from holdfast.grid.dry_run import capability_of
from holdfast.grid.results import DownloadResult
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.node.client_node import load_client_settings
from holdfast.node.control.uploads import upload_as_json
from holdfast.node.wiring import connect


def store(node: Path, file: InputFile, choice: EncodingChoice, quiet: bool) -> dict[str, object]:
    """Store ``file``; return what a node that runs would say."""
    client = load_client_settings(node)
    settings = choice.applied_to(client.encoding)
    return event_loop.run(_store(node, file, replace(client, encoding=settings), quiet))


async def _store(node: Path, file: InputFile, settings: ClientSettings, quiet: bool) -> dict[str, object]:
    with progress_bars(show=not quiet) as progress:
        async with connect(node, settings=settings, on_problem=note) as grid:
            result = await grid.upload(source_of(file), progress=progress)
    return upload_as_json(result, settings.encoding)


def find_capability(node: Path | None, file: InputFile, choice: EncodingChoice, quiet: bool) -> str:
    """Return the capability that ``file`` would get."""
    settings = choice.applied_to(_dry_run_base(node, choice.convergence_secret))
    return event_loop.run(_find_capability(file, settings, quiet))


async def _find_capability(file: InputFile, settings: EncodingSettings, quiet: bool) -> str:
    with progress_bars(show=not quiet) as progress:
        return await capability_of(source_of(file), settings, progress)


def _dry_run_base(node: Path | None, convergence_secret: str | None) -> EncodingSettings:
    if convergence_secret == RANDOM_KEY:
        raise click.UsageError("with a random key the capability of a dry run would be of no use")
    if node is None and convergence_secret is not None:
        return EncodingSettings()
    return load_client_settings(needed_node(node)).encoding


def read(node: Path, cap: str, file: str, offset: int, size: int | None, quiet: bool) -> DownloadResult[Any]:
    """Read the bytes ``[offset, offset + size)`` of the file of ``cap`` into ``file``."""
    return event_loop.run(_read(node, cap, file, offset, size, quiet))


async def _read(
    node: Path, cap: str, file: str, offset: int, size: int | None, quiet: bool
) -> DownloadResult[Any]:
    with target_for(file) as target, progress_bars(show=not quiet) as progress:
        async with connect(node, on_problem=note) as grid:
            return await grid.download(cap, target, offset=offset, size=size, progress=progress)
