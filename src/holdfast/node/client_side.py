"""A node as a client of its grid: the servers it is told of by its lists and introducers,
kept up to date while it runs.

Source: docs/spec/control-and-introducer.md, sections 3.7 and 3.8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.grid.announced_servers import ServerFeed
from holdfast.grid.client import Grid, open_grid
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.server_watch import ServerWatch
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.node.config import VdriveConfig
from holdfast.node.meeting import open_meeting
from holdfast.protocol.server_record import ServerRecord

if TYPE_CHECKING:
    from holdfast.node.drive_client import DriveClient


@dataclass(frozen=True, slots=True)
class ClientSide:
    """A grid, who watches over its servers, and the drive on top of it."""

    grid: Grid
    watch: ServerWatch
    encoding: EncodingSettings
    drive: DriveClient


@asynccontextmanager
async def open_client_side(
    private: Path,
    records: Sequence[ServerRecord],
    settings: ClientSettings,
    vdrive: VdriveConfig,
    meeting: IntroducerClient,
    meeting_settings: IntroducerClientSettings,
) -> AsyncIterator[ClientSide]:
    """Open the grid of these servers and of those that are announced, and watch them until the block ends.
    The roots of the virtual drive are looked for meanwhile, if there shall be any.

    A listed server is used as the list says, whatever is announced of it.
    """
    # What has no drive does not load one.
    from holdfast.node.drive_client import open_drive_client
    from holdfast.node.root_watch import watching_roots
    from holdfast.node.snapshots import taking_snapshots

    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(open_grid(records, settings))
        ServerFeed(grid.known, meeting, records, meeting_settings)
        watch = ServerWatch(grid.known)
        await stack.enter_async_context(watch.running())
        drive = await stack.enter_async_context(
            open_drive_client(private, grid, settings, vdrive, (meeting, meeting_settings))
        )
        await stack.enter_async_context(watching_roots(drive))
        await stack.enter_async_context(taking_snapshots(drive, private, vdrive.snapshots))
        yield ClientSide(grid, watch, settings.encoding, drive)


@asynccontextmanager
async def open_brief_grid(
    private: Path,
    records: Sequence[ServerRecord],
    settings: ClientSettings,
    meeting_settings: IntroducerClientSettings,
    on_problem: Callable[[str], None],
) -> AsyncIterator[tuple[Grid, IntroducerClient]]:
    """Open the grid of a program that runs shortly, and its client of the introducers. It begins with what
    earlier runs learned.

    Waits for an introducer only if no server is known otherwise.
    """
    async with (
        open_grid(records, settings) as grid,
        open_meeting(private, meeting_settings) as meeting,
    ):
        ServerFeed(grid.known, meeting, records, meeting_settings)
        if len(grid.known) == 0:
            await meeting.ready()
            for state in meeting.introducer_status():
                if not state.connected:
                    on_problem(f"the introducer {state.petname} does not answer: {state.reason}")
        yield grid, meeting
