"""Letting a client's directory hear from its introducers, before its node or a program uses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.interfaces.introducer import KnownAnnouncement

PATIENCE_S = 10.0


def introduce(directory: Path, servers: Mapping[str, Collection[str]]) -> None:
    """Let the client in ``directory`` remember the announcements of these servers: their ids by service.

    Blocks until it does, or for PATIENCE_S: a server that announces itself later is heard of later.
    """
    # In a thread: the caller may run an event loop of its own.
    thread = threading.Thread(target=lambda: asyncio.run(_listen(directory, servers)))
    thread.start()
    thread.join()


async def _listen(directory: Path, wanted: Mapping[str, Collection[str]]) -> None:
    from holdfast.node.config import load_config
    from holdfast.node.logs import log_through_the_standard_library
    from holdfast.node.meeting import meeting_settings, open_meeting

    log_through_the_standard_library()
    private = directory / "private"
    settings = meeting_settings(private, load_config(directory).meeting)
    missing = {(service, server_id) for service, ids in wanted.items() for server_id in ids}
    heard_all = asyncio.Event()

    def hear(known: KnownAnnouncement) -> None:
        missing.discard((known.service, known.server_id))
        if not missing:
            heard_all.set()

    async with open_meeting(private, settings) as meeting:
        for service in wanted:
            meeting.subscribe_to(service, hear)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S if missing else 0):
                await heard_all.wait()
