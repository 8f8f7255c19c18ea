"""A tree of directories, back from bundles in the grid: at the service that had them, or at another one.

The write capability of the root leads, through the write capabilities found on the way, to all that is below.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.caps import DirectoryCap
from holdfast.caps.slots import ListableCap
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.drive.bundling import Catalogue, StoredBundle
from holdfast.drive.freezing import LeftOut, Names, mark_of
from holdfast.drive.nodes import Drive
from holdfast.errors import HoldfastError, InputError
from holdfast.grid.targets import FileTarget
from holdfast.grid.vdrive.bundle_files import BundleFile, bring, read_bundle
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.interfaces.vdrive_errors import DirectoryExistsError


@dataclass(frozen=True, slots=True)
class RestoredTree:
    """A tree that is back.

    Attributes:
        root: its capability, where it is now.
        directories: how many are there again, those that were there all the time included.
        left_out: what is not, or not as it was last seen here.
    """

    root: VdriveWriteCap
    directories: int
    left_out: tuple[LeftOut, ...]


async def restore(
    drive: Drive,
    client: VdriveClient,
    servers: ServerSource,
    catalogue: Catalogue,
    root: VdriveWriteCap,
    place: VdrivePlace | None = None,
    progress: Callable[[int], object] = lambda restored: None,
) -> RestoredTree:
    """Bring the directories of one service back from their bundles.

    Directories of other services in the tree are left where they are, and only looked through.

    Args:
        place: where to; None: where ``root`` says, or where that has moved.
        progress: told how many directories are back.

    Raises:
        InputError: the catalogue has no bundle of ``root``.
        HoldfastError: the root cannot be brought back.
    """
    if root.index not in catalogue:
        raise InputError("the catalogue holds no bundle of the directory of this capability")
    with tempfile.TemporaryDirectory(prefix="holdfast-restore-") as directory:
        path = Path(directory) / "bundle"
        restoring = _Restoring(drive, client, servers, catalogue, root.place, place or root.place, path)
        return await restoring.run(root, progress)


@dataclass(slots=True)
class _Restoring:
    drive: Drive
    client: VdriveClient
    servers: ServerSource
    catalogue: Mapping[bytes, StoredBundle]
    lost: VdrivePlace
    place: VdrivePlace
    path: Path  # of the bundle at hand
    left_out: list[LeftOut] = field(default_factory=list)
    restored: int = 0

    async def run(self, root: VdriveWriteCap, progress: Callable[[int], object]) -> RestoredTree:
        waiting: deque[tuple[Names, ListableCap]] = deque([((), root)])
        read_only: list[tuple[Names, bytes]] = []
        seen: set[bytes] = set()
        while waiting:
            path, cap = waiting.popleft()
            if isinstance(cap, VdriveReadCap):
                read_only.append((path, cap.index))
                continue
            if mark_of(cap) in seen:
                continue
            seen.add(mark_of(cap))
            try:
                below = await self._below(path, cap)
            except HoldfastError as error:
                if not path:
                    raise
                self.left_out.append(LeftOut(path, str(error)))
                continue
            waiting += [((*path, name), child) for name, child in below if child.mutable]
            progress(self.restored)
        for path, index in read_only:
            if index not in seen:
                self.left_out.append(LeftOut(path, "only its write capability can bring it back"))
        moved = VdriveWriteCap(self.place, root.write_key)
        return RestoredTree(moved, self.restored, tuple(self.left_out))

    async def _below(self, path: Names, cap: ListableCap) -> list[tuple[str, ListableCap]]:
        """Bring a directory back, and return the directories in it."""
        if isinstance(cap, DirectoryCap):
            table = await self.drive.contents(cap).read()
            return [
                (entry.name, entry.child.cap) for entry in table if isinstance(entry.child.cap, ListableCap)
            ]
        assert isinstance(cap, VdriveWriteCap)
        stored = self.catalogue.get(cap.index)
        if stored is None:
            raise InputError("the catalogue holds no bundle of it")
        await stored.file.download(FileTarget(self.path))
        bundle = await read_bundle(self.path, cap.index, cap.keys)
        if cap.place.sid == self.lost.sid:
            await self._bring(path, cap, bundle)
        return list(bundle.below)

    async def _bring(self, path: Names, cap: VdriveWriteCap, bundle: BundleFile) -> None:
        try:
            await bring(self.servers, self.place, cap.keys, bundle)
        except DirectoryExistsError:
            here = await self.client.directory(VdriveWriteCap(self.place, cap.write_key)).head()
            if here.version < bundle.head.version:
                raise
        self.restored += 1
        await self._heal(path, VdriveWriteCap(self.place, cap.write_key), bundle)

    async def _heal(self, path: Names, cap: VdriveWriteCap, bundle: BundleFile) -> None:
        """Add what this client has written since."""
        known = self.client.memory.known(cap.index)
        if known is None or known.version <= bundle.head.version:
            return
        report = await self.client.heal(cap)
        if not report.complete:
            self.left_out.append(
                LeftOut(
                    path,
                    f"it is back at version {report.version}, and version {report.remembered} was seen here:"
                    " let other clients heal it, or give up what is lost (vdrive heal --disown)",
                )
            )
