"""The roots of a running node: looked for in the background until they are known, and what comes of it told.

Source: docs/spec/vdrive.md, sections 10.2 and 10.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from holdfast.drive.virtual_drive import looking_for_roots
from holdfast.errors import HoldfastError
from holdfast.interfaces.virtual_drive import PublicRootChanged
from holdfast.node.drive_client import DriveClient

log = structlog.get_logger(__name__)


@asynccontextmanager
async def watching_roots(client: DriveClient) -> AsyncIterator[None]:
    """Look for the roots of a client until the block ends, if it wants any."""
    if client.vdrive is None:
        yield
        return
    told = set[str]()

    def report(problem: HoldfastError | PublicRootChanged) -> None:
        if isinstance(problem, PublicRootChanged):
            log.warning("the server offers another public root than before; the known one remains in use")
        elif str(problem) not in told:
            told.add(str(problem))
            log.info("a root is not known yet", reason=str(problem))

    async with looking_for_roots(client.vdrive, report):
        yield
