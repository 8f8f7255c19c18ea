"""put through a drive: of files that can change, and of those that get a place on the grid.

Source: docs/spec/cli.md, section 4.4.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from holdfast.caps import MutableReadCap, MutableWriteCap
from holdfast.cli import event_loop
from holdfast.cli.drive_places import OpenDrive, open_drive
from holdfast.cli.drive_writing import file_to_overwrite, link_node
from holdfast.cli.files import InputFile, source_of
from holdfast.cli.options import EncodingChoice
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.private_keys import read_private_key
from holdfast.cli.progress_bars import progress_bars
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings
from holdfast.node.client_node import load_client_settings
from holdfast.node.control.uploads import upload_as_json


class NewFile(NamedTuple):
    """What kind of file is made, where there is none whose contents can be replaced."""

    mutable_format: MutableFormat | None  # None: immutable
    private_key_path: Path | None
    choice: EncodingChoice


def put_in_drive(
    node: Path, file: InputFile, place: GridPath | None, new: NewFile, quiet: bool
) -> dict[str, object]:
    """Store ``file``, and let ``place`` lead to it, if one is given; return what there is to report."""
    settings = new.choice.applied_to(load_client_settings(node).encoding)
    return event_loop.run(_put(node, file, place, new, settings, quiet))


async def _put(
    node: Path,
    file: InputFile,
    place: GridPath | None,
    new: NewFile,
    settings: EncodingSettings,
    quiet: bool,
) -> dict[str, object]:
    async with open_drive(node) as opened:
        with progress_bars(show=not quiet) as progress:
            if place is None:
                return await _store(opened, file, new, settings, progress)
            overwritten = await file_to_overwrite(opened.places, place)
            if overwritten is not None:
                cap = overwritten.cap
                assert isinstance(cap, MutableWriteCap | MutableReadCap)
                encoding = None if new.choice.encoding is None else settings
                target = opened.grid.mutable.open(cap)
                await target.overwrite(source_of(file), encoding=encoding, progress=progress)
                return {
                    "uri": cap.to_text(),
                    "format": "MDMF" if cap.format == "MDMF" else "SDMF",
                    "new": False,
                }
            stored = await _store(opened, file, new, settings, progress)
            await link_node(opened.places, place, opened.drive.node(str(stored["uri"])))
            return stored


async def _store(
    opened: OpenDrive,
    file: InputFile,
    new: NewFile,
    settings: EncodingSettings,
    progress: ProgressCallback,
) -> dict[str, object]:
    source = source_of(file)
    if new.mutable_format is None:
        return upload_as_json(await opened.grid.upload(source, settings, progress), settings)
    key = None if new.private_key_path is None else read_private_key(new.private_key_path)
    made = await opened.grid.mutable.create(
        source, format=new.mutable_format, key=key, encoding=settings, progress=progress
    )
    return {"uri": made.cap.to_text(), "format": new.mutable_format, "new": True}
