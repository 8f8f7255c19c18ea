"""``holdfast cp``: copy files and whole directories to the grid, from it, and within it.

Source: docs/spec/cli.md, section 5.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from holdfast.cli import event_loop
from holdfast.cli.copy_sources import (
    FoundSource,
    GridFile,
    LeftOut,
    LocalFile,
    SourceFile,
    add_source,
    find_source,
)
from holdfast.cli.copy_to_disk import DiskTree, copy_file_to_disk
from holdfast.cli.copy_to_grid import GridTree, overwrite_copy, stored_copy
from holdfast.cli.copy_work import CopyProgress
from holdfast.cli.drive_places import DrivePlaces, NothingThereError, OpenDrive, open_drive
from holdfast.cli.drive_writing import file_to_overwrite, link_node
from holdfast.cli.messages import note
from holdfast.cli.options import node_option, quiet_option
from holdfast.cli.path_arguments import GridPath, LocalPath, parse_copy_path
from holdfast.cli.progress_bars import drawn_stages
from holdfast.errors import InputError
from holdfast.formats.directory_names import normalised
from holdfast.grid.progress import ProgressCallback
from holdfast.interfaces.drive import DirectoryNode
from holdfast.node.aliases import UnknownAliasError
from holdfast.planning.copy_plan import (
    CopyRefusedError,
    CopyTarget,
    CopyTree,
    IntoDirectory,
    TargetState,
    plan_copy,
)

if TYPE_CHECKING:
    from holdfast.cli.progress_bars import Draw

Argument = GridPath | LocalPath

KEYS_AHEAD = 4  # of new directories, made while files are stored


class CopyIncompleteError(InputError):
    """Some of what was to be copied could not be; the rest was."""


@click.command()
@click.argument("sources", metavar="FROM...", nargs=-1, required=True)
@click.argument("target", metavar="TO")
@click.option("-r", "--recursive", is_flag=True, help="Copy directories, with all that is in them.")
@click.option("--caps-only", is_flag=True, help="Into local files: write capabilities, not contents.")
@node_option
@quiet_option
def cp(
    sources: tuple[str, ...], target: str, recursive: bool, caps_only: bool, node: Path | None, quiet: bool
) -> None:
    """Copy FROM to TO. Each is a local path, or a place on the grid as ALIAS:PATH or CAP/PATH.

    If TO is a directory, or several things are copied, they keep their names in it: a directory DIR becomes
    TO/DIR, even if TO was not there before. The contents of an alias, or of a bare capability, go into TO
    itself.

    Files appear when they are whole, directories on the grid when all in them is stored. A mutable file that
    is at the target gets new contents, other files are replaced, directories are added to. Local links are
    followed only within the directory that is copied.
    """
    arguments = [parse_copy_path(argument) for argument in sources]
    copy = _Copy(arguments, parse_copy_path(target), recursive, caps_only, quiet)
    try:
        what = event_loop.run(copy.run(node))
    except UnknownAliasError as error:
        local = [path for path in (*sources, target) if ":" in path and os.path.lexists(path)]
        if not local:
            raise
        raise UnknownAliasError(f"{error}; the local file of that name is ./{local[0]}") from None
    if not quiet:
        click.echo(f"Success: {what} copied")


class _Copy(NamedTuple):
    sources: Sequence[Argument]
    target: Argument
    recursive: bool
    caps_only: bool
    quiet: bool

    async def run(self, node: Path | None) -> str:
        """Copy, and return what was copied."""
        if self.caps_only and isinstance(self.target, GridPath):
            raise click.UsageError("--caps-only is for copies to local files")
        async with self._opened(node) as opened:
            places = None if opened is None else opened.places
            target, root = await _find_target(self.target, places)
            found = [await find_source(source, places) for source in self.sources]
            plan = plan_copy(
                [source.plan for source in found],
                CopyTarget(str(self.target), target, self.target.trailing_slash),
                recursive=self.recursive,
            )
            with drawn_stages(show=not self.quiet) as draw:
                if isinstance(plan, IntoDirectory):
                    await self._copy_into_directory(plan, found, root, opened, draw)
                    return "files"
                await self._copy_file(found[0], opened, draw)
                return "file"

    @asynccontextmanager
    async def _opened(self, node: Path | None) -> AsyncIterator[OpenDrive | None]:
        """Open the grid, if anything of it is named."""
        if not any(isinstance(argument, GridPath) for argument in [*self.sources, self.target]):
            yield None
            return
        async with open_drive(node) as opened:
            yield opened

    async def _copy_file(self, source: FoundSource, opened: OpenDrive | None, draw: Draw) -> None:
        file = source.place
        assert isinstance(file, LocalFile | GridFile)

        async def work(update: ProgressCallback) -> None:
            if isinstance(self.target, LocalPath):
                await copy_file_to_disk(file, self.target.absolute, update, caps_only=self.caps_only)
                return
            assert opened is not None
            overwritten = await file_to_overwrite(opened.places, self.target)
            if overwritten is not None:
                await overwrite_copy(overwritten, file, update)
            else:
                await link_node(opened.places, self.target, await stored_copy(opened.drive, file, update))

        await CopyProgress(draw, file.size).of_file(file.size, work)

    async def _copy_into_directory(
        self,
        plan: IntoDirectory,
        sources: Sequence[FoundSource],
        root: DirectoryNode | None,
        opened: OpenDrive | None,
        draw: Draw,
    ) -> None:
        on_grid = isinstance(self.target, GridPath)
        tree: CopyTree[SourceFile] = CopyTree(normalised) if on_grid else CopyTree()
        left_out = LeftOut()
        for source, name in zip(sources, plan.names, strict=True):
            await add_source(source, name, tree, left_out)
        if isinstance(self.target, GridPath):
            assert opened is not None
            await _copy_to_grid(opened, self.target, root, tree, draw)
        else:
            await self._copy_to_disk(self.target, tree, left_out, draw)
        for sentence in left_out.sentences:
            note(sentence)
        if left_out.lost:
            raise CopyIncompleteError("not everything could be copied, see above; the rest was")

    async def _copy_to_disk(
        self, target: LocalPath, tree: CopyTree[SourceFile], left_out: LeftOut, draw: Draw
    ) -> None:
        copied = DiskTree(target.absolute, tree, caps_only=self.caps_only)
        copied.leave_out_impossible(left_out)
        copied.check()
        await copied.copy(draw)


async def _copy_to_grid(
    opened: OpenDrive,
    target: GridPath,
    root: DirectoryNode | None,
    tree: CopyTree[SourceFile],
    draw: Draw,
) -> None:
    above = None
    if root is None:
        async for directory_above in opened.places.directories_on_the_way(target):
            above = directory_above
    copied = GridTree(opened.drive, str(target), root, tree, above=above)
    await copied.check()
    opened.grid.expect_mutable_files(min(copied.keys_wanted, KEYS_AHEAD))
    directory = await copied.copy(draw)
    if root is None:
        link = await opened.places.new_link(target)
        await link.directory.set_node(link.name, directory)


async def _find_target(
    target: Argument, places: DrivePlaces | None
) -> tuple[TargetState, DirectoryNode | None]:
    if isinstance(target, LocalPath):
        return _state_of(target.absolute), None
    assert places is not None
    try:
        node = await places.node(target)
    except NothingThereError:
        return "missing", None
    if node.kind == "directory":
        return "directory", node
    if node.kind == "unknown":
        raise CopyRefusedError(f"{target} is of a kind that is not known here")
    return "file", None


def _state_of(path: str) -> TargetState:
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.lexists(path) else "missing"
