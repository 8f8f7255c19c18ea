"""A node as a client of its grid: the servers it is told of by its lists and introducers,
kept up to date while it runs.

Source: docs/spec/control-and-introducer.md, sections 3.7 and 3.8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.grid.announced_servers import ServerFeed
from holdfast.grid.client import Grid, open_grid
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.server_watch import ServerWatch
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.node.meeting import open_meeting
from holdfast.protocol.server_record import ServerRecord


@dataclass(frozen=True, slots=True)
class ClientSide:
    """A grid, and who watches over its servers."""

    grid: Grid
    watch: ServerWatch
    encoding: EncodingSettings


@asynccontextmanager
async def open_client_side(
    records: Sequence[ServerRecord],
    settings: ClientSettings,
    meeting: IntroducerClient,
    meeting_settings: IntroducerClientSettings,
) -> AsyncIterator[ClientSide]:
    """Open the grid of these servers and of those that are announced, and watch them until the block ends.

    A listed server is used as the list says, whatever is announced of it.
    """
    async with open_grid(records, settings) as grid:
        ServerFeed(grid.known, meeting, records, meeting_settings)
        watch = ServerWatch(grid.known)
        async with watch.running():
            yield ClientSide(grid, watch, settings.encoding)


@asynccontextmanager
async def open_brief_grid(
    private: Path,
    records: Sequence[ServerRecord],
    settings: ClientSettings,
    meeting_settings: IntroducerClientSettings,
    on_problem: Callable[[str], None],
) -> AsyncIterator[Grid]:
    """Open the grid of a program that runs shortly. It begins with what earlier runs learned.

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
        yield grid
