"""The private root of a node: at its virtual drive server, or in the grid, as its settings say. Several
programs may use the node at once; one of them makes the root.

Source: docs/spec/vdrive.md, section 10.3.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from holdfast.drive.nodes import Drive
from holdfast.drive.roots import CapFile, GridRootMaker, PrivateRoot, RootMaker, VdriveRootMaker
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.node.config import VdriveConfig
from holdfast.node.default_vdrive import DefaultVdrive

PRIVATE_ROOT_FILE = "my_vdrive.uri"
PUBLIC_ROOT_FILE = "global_root.uri"
LOCK_FILE = "my_vdrive.lock"
POLL_S = 0.05


class NodeRootMaker:
    """Makes the private root of a node unless another process did meanwhile."""

    def __init__(
        self, private: Path, config: VdriveConfig, client: VdriveClient, default: DefaultVdrive, drive: Drive
    ) -> None:
        self._private = private
        self._config = config
        self._client = client
        self._default = default
        self._drive = drive

    async def make(self, pending: CapFile) -> str:
        """Return the capability of the root. See ``RootMaker``."""
        file = CapFile(self._private / PRIVATE_ROOT_FILE)
        async with _the_only_maker(self._private / LOCK_FILE):
            cap = file.read()
            if cap is None:
                maker = await self._maker(begun=pending.read())
                cap = await maker.make(pending)
                await file.keep(cap)
            return cap

    async def _maker(self, begun: str | None) -> RootMaker:
        if self._config.private_root == "grid":
            return GridRootMaker(self._new_grid_directory)
        place = self._default.service if begun is not None else None
        return VdriveRootMaker(self._client, place or await self._default.needed())

    async def _new_grid_directory(self) -> str:
        return (await self._drive.create_directory("sdmf")).get_uri()


def private_root(
    private: Path, config: VdriveConfig, client: VdriveClient, default: DefaultVdrive, drive: Drive
) -> PrivateRoot | None:
    """Return the private root of a node; None if it is to have none."""
    if not config.enabled or config.private_root == "none":
        return None
    return PrivateRoot(private / PRIVATE_ROOT_FILE, NodeRootMaker(private, config, client, default, drive))


@asynccontextmanager
async def _the_only_maker(path: Path) -> AsyncIterator[None]:
    """Let one process at a time make a root; others wait, and do not block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)
