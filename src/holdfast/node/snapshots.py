"""Snapshots that a running node takes every so often, as its settings say. One that is fresh is not taken
again after a restart; one that fails is tried again.

They are linked, with the date as their name, in the directory ``Snapshots`` of the private root, if there is
one. What is in that directory is not part of any snapshot.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from holdfast.drive.bundling import BundledTree, bundle_tree, read_catalogue
from holdfast.drive.freezing import FrozenTree, freeze
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import HoldfastError, WrongCapabilityTypeError
from holdfast.interfaces.drive import NewChild, NoSuchChildError
from holdfast.interfaces.virtual_drive import NoPrivateVirtualDriveError
from holdfast.node.config import SnapshotConfig
from holdfast.node.drive_client import DriveClient
from holdfast.node.snapshot_book import KeptSnapshot, SnapshotBook

log = structlog.get_logger(__name__)

DIRECTORY = "Snapshots"  # in the private root
POLL_S = 60.0  # clocks jump, and machines sleep
RETRY_FIRST_S = 5.0
RETRY_MAX_S = 600.0


class SnapshotTaker:
    """Takes the snapshots of one client."""

    def __init__(self, client: DriveClient, private: Path, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._book = SnapshotBook(private)
        self._clock = clock
        self._noting = asyncio.Lock()

    async def keep_taking(self, config: SnapshotConfig) -> None:
        """Take a snapshot whenever the last one is old enough. Does not return."""
        retry_s = RETRY_FIRST_S
        while True:
            try:
                due_s = self.due_in(config)
                if due_s > 0:
                    await asyncio.sleep(min(due_s, POLL_S))
                    continue
                await self.take(config)
                retry_s = RETRY_FIRST_S
            except HoldfastError as error:
                log.warning("a snapshot could not be taken", name=config.name, reason=str(error))
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)

    def due_in(self, config: SnapshotConfig) -> float:
        """Return after how many seconds the next one is to be taken."""
        last = self._book.last(config.name)
        if last is None or last.kind != config.kind:
            return 0.0
        since_s = self._clock() - last.checked
        return config.every_s - since_s if since_s >= 0 else 0.0  # the clock was set back

    async def take(self, config: SnapshotConfig) -> KeptSnapshot:
        """Take one now, and remember it.

        Raises:
            HoldfastError: it could not be taken.
        """
        vdrive = self._client.vdrive
        if vdrive is None:
            raise NoPrivateVirtualDriveError("this client is configured to have no virtual drive")
        node = await vdrive.get_node_at_path(config.path)
        if not isinstance(node, StoredDirectoryNode):
            raise WrongCapabilityTypeError(f"{config.path} is no directory")
        place = await self._place()
        made = await self._made(config, node, [] if place is None else [place])
        return await self._note(config, made, place)

    async def _made(
        self, config: SnapshotConfig, node: StoredDirectoryNode, skip: Sequence[StoredDirectoryNode]
    ) -> FrozenTree | BundledTree:
        drive = self._client.drive
        if config.kind == "freeze":
            return await freeze(drive, node, skip=skip)
        if not isinstance(node, VdriveDirectoryNode):
            raise WrongCapabilityTypeError(f"{config.path} is not at a virtual drive server; freeze it")
        before = None
        last = self._book.last(config.name)
        if last is not None and last.kind == config.kind:
            catalogue = drive.node(last.cap)
            assert isinstance(catalogue, StoredDirectoryNode)
            try:
                before = await read_catalogue(catalogue)
            except HoldfastError as error:
                log.warning("the last snapshot cannot be read", name=config.name, reason=str(error))
        servers = self._client.vdrive_servers
        return await bundle_tree(drive, servers, node.contents.cap, before=before, skip=skip)

    async def _note(
        self, config: SnapshotConfig, made: FrozenTree | BundledTree, place: StoredDirectoryNode | None
    ) -> KeptSnapshot:
        now = int(self._clock())
        if isinstance(made, FrozenTree):
            version = None if made.head is None else made.head.version
        else:
            version = made.version
        cap = made.directory.get_uri()
        async with self._noting:
            last = self._book.last(config.name)
            if last is not None and (last.cap, last.kind) == (cap, config.kind):
                kept = replace(last, checked=now, version=version, left_out=len(made.left_out))
            else:
                dated = time.strftime("%Y-%m-%dT%H.%M.%SZ", time.gmtime(now))
                linked = await self._link(place, f"{dated} {config.name}", made.directory)
                kept = KeptSnapshot(
                    config.name, config.kind, now, now, cap, version, len(made.left_out), linked
                )
            for old in self._book.add(kept, config.keep):
                await self._unlink(place, old)
        log.info("a snapshot was taken", name=config.name, left_out=len(made.left_out))
        return kept

    async def _place(self) -> StoredDirectoryNode | None:
        """Return the directory that snapshots are linked in; None if there is none."""
        vdrive = self._client.vdrive
        assert vdrive is not None
        if not vdrive.have_private_root():
            return None
        try:
            found = await (await vdrive.get_private_root()).get(DIRECTORY)
        except NoSuchChildError:
            return None
        return found if isinstance(found, StoredDirectoryNode) and found.is_mutable() else None

    async def _link(
        self, place: StoredDirectoryNode | None, name: str, directory: StoredDirectoryNode
    ) -> str | None:
        if place is None:
            return None
        try:
            await place.set_children({name: NewChild(directory)}, replace=True)
        except HoldfastError as error:
            log.warning("a snapshot could not be linked", name=name, reason=str(error))
            return None
        return name

    async def _unlink(self, place: StoredDirectoryNode | None, old: KeptSnapshot) -> None:
        if place is None or old.linked is None:
            return
        try:
            if await place.has_child(old.linked) and (await place.get(old.linked)).get_uri() == old.cap:
                await place.delete(old.linked, must_exist=False)
        except HoldfastError as error:
            log.warning("an old snapshot is still linked", name=old.linked, reason=str(error))


@asynccontextmanager
async def taking_snapshots(
    client: DriveClient, private: Path, snapshots: Sequence[SnapshotConfig]
) -> AsyncIterator[None]:
    """Take snapshots until the block ends."""
    taker = SnapshotTaker(client, private)
    tasks = [asyncio.create_task(taker.keep_taking(config)) for config in snapshots]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
