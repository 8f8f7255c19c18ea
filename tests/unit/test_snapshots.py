"""Snapshots that a node takes by itself: when, and how many are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import ConfigError
from holdfast.interfaces.drive import NewChild, Node
from holdfast.node.config import SnapshotConfig
from holdfast.node.drive_client import DriveClient
from holdfast.node.snapshot_book import SnapshotBook
from holdfast.node.snapshots import SnapshotTaker
from holdfast.testing.vdrive_directories import LITERAL, link, new_directory
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig

DAILY = SnapshotConfig(name="docs", path="~/", every_s=86400, keep=3)


class Client:
    """A client whose only root is private."""

    def __init__(self, rig: VdriveRig, root: VdriveDirectoryNode, private: Path) -> None:
        self.root = root
        self.time = 1_800_000_000.0
        self._client = SimpleNamespace(drive=rig.drive(), vdrive=self)
        self._private = private

    def taker(self) -> SnapshotTaker:
        return SnapshotTaker(cast(DriveClient, self._client), self._private, lambda: self.time)

    def have_private_root(self) -> bool:
        return True

    async def get_private_root(self) -> Node:
        return self.root

    async def get_node_at_path(self, path: str) -> Node:
        return self.root


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with vdrive_rig() as rig:
        drive = rig.drive()
        snapshots = await new_directory(drive)
        root = await new_directory(drive, {"x": link(drive), "Snapshots": NewChild(snapshots)})
        yield Client(rig, root, tmp_path)


async def linked(client: Client) -> list[str]:
    place = await client.root.get("Snapshots")
    assert isinstance(place, StoredDirectoryNode)
    return [child.name async for child in place.iter_children()]


async def test_a_fresh_snapshot_is_not_taken_again_after_a_restart(client: Client, tmp_path: Path) -> None:
    assert client.taker().due_in(DAILY) == 0
    await client.taker().take(DAILY)
    client.time += 1000
    assert client.taker().due_in(DAILY) == 85400
    client.time += 90000
    assert client.taker().due_in(DAILY) < 0
    client.time -= 10**6  # set back
    assert client.taker().due_in(DAILY) == 0
    assert (tmp_path / "snapshots.json").stat().st_mode & 0o077 == 0


async def test_what_has_not_changed_is_kept_once_and_the_oldest_go(client: Client, tmp_path: Path) -> None:
    first = await client.taker().take(DAILY)
    client.time += 86400
    again = await client.taker().take(DAILY)
    assert (again.cap, again.made, again.checked - again.made) == (first.cap, first.made, 86400)
    for number in range(4):
        client.time += 86400
        await client.root.set_uri(f"new{number}", LITERAL)
        await client.taker().take(DAILY)
    kept = SnapshotBook(tmp_path).read()
    assert len(kept) == 3
    assert [one.linked for one in kept] == await linked(client)
    assert kept[-1].linked == "2027-01-20T08.00.00Z docs"
    assert kept[-1].left_out == 0
    with pytest.raises(ConfigError, match="damaged"):
        (tmp_path / "snapshots.json").write_text("{")
        SnapshotBook(tmp_path).read()
