"""The list of running transfers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.caps import ImmutableReadCap, parse_cap
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError, HoldfastError
from holdfast.grid import transfers
from holdfast.grid.progress import Progress
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, FileNameSource, StreamSource
from holdfast.grid.targets import DataTarget
from holdfast.grid.transfers import Transfer, Transfers, name_of_file
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

DATA = os.urandom(3_000_000)
SMALL_SEGMENTS = EncodingSettings(convergence_secret=CONVERGENCE, segment_size_max=100_000)


@pytest.fixture
async def grid() -> AsyncIterator[MemoryGrid]:
    async with memory_grid(encoding=SMALL_SEGMENTS) as grid:
        yield grid


class Watcher:
    """A progress callback that looks at the list of transfers each time."""

    def __init__(self, grid: MemoryGrid) -> None:
        self._grid = grid
        self.told: list[Progress] = []
        self.seen: list[Transfer] = []

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        (transfer,) = self._grid.grid.transfers
        self.seen.append(transfer)


async def test_an_upload_is_listed_by_the_name_of_its_file_while_it_runs(
    grid: MemoryGrid, tmp_path: Path
) -> None:
    (tmp_path / "holiday.mkv").write_bytes(DATA)
    watcher = Watcher(grid)
    await grid.grid.upload(FileNameSource(tmp_path / "holiday.mkv"), progress=watcher)
    assert {(t.id, t.kind, t.name) for t in watcher.seen} == {(1, "upload", "holiday.mkv")}
    assert [Progress(t.stage, t.done, t.total) for t in watcher.seen] == watcher.told
    assert {t.stage for t in watcher.seen} == {"hashing", "uploading"}
    assert watcher.seen[-1].done == watcher.seen[-1].total == len(DATA)
    assert abs(watcher.seen[0].started - time.time()) < 60
    assert grid.grid.transfers == []


async def test_an_upload_without_a_name_is_called_data(grid: MemoryGrid) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield DATA

    for source in (DataSource(DATA), StreamSource(pieces())):
        watcher = Watcher(grid)
        await grid.grid.upload(source, progress=watcher)
        assert {t.name for t in watcher.seen} == {"data"}


async def test_other_transfers_are_listed_by_the_beginning_of_the_storage_index(grid: MemoryGrid) -> None:
    uri = (await grid.grid.upload(DataSource(DATA))).uri
    download, verify = Watcher(grid), Watcher(grid)
    await grid.grid.download(uri, DataTarget(), progress=download)
    await grid.grid.verify(uri, verify)
    cap = parse_cap(uri)
    assert isinstance(cap, ImmutableReadCap)
    name = base32.encode(cap.storage_index)[:8]
    assert {(t.kind, t.name) for t in download.seen + verify.seen} == {("download", name), ("verify", name)}
    assert download.seen[-1].done == len(DATA)
    for store in grid.stores.values():
        store.faults.hung = True
    checking = asyncio.create_task(grid.grid.check(uri))
    await asyncio.sleep(0.01)
    (transfer,) = grid.grid.transfers
    assert (transfer.kind, transfer.name, transfer.done, transfer.total) == ("check", name, 0, 0)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)
    assert grid.grid.transfers == []


async def test_no_capability_is_ever_listed(grid: MemoryGrid) -> None:
    uri = (await grid.grid.upload(DataSource(DATA))).uri
    watcher = Watcher(grid)
    await grid.grid.download(uri, DataTarget(), progress=watcher)
    shown = repr(watcher.seen)
    for secret in uri.split(":")[2:4]:
        assert secret[:8] not in shown


@pytest.mark.parametrize("uri", ["URI:LIT:mfrgg", "nonsense", "", "URI:CHK:damaged"])
def test_what_is_no_capability_of_stored_shares_has_a_name_as_well(uri: str) -> None:
    assert name_of_file(uri) == "data"


async def test_failed_transfers_leave_the_list(grid: MemoryGrid) -> None:
    with pytest.raises(BadCapabilityError):
        await grid.grid.download("nonsense", DataTarget())
    for store in grid.stores.values():
        store.faults.dead = True
    with pytest.raises(HoldfastError):
        await grid.grid.upload(DataSource(DATA))
    assert grid.grid.transfers == []


def test_the_rate_is_that_of_the_last_seconds_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    running = Transfers()
    with running.running("upload", "name") as note:
        assert running.all()[0].rate == 0
        for second in range(60):
            now = 1000.0 + second
            note(Progress("hashing", second * 100, 100_000))
        assert running.all()[0].rate == 100
        for second in range(60, 120):
            now = 1000.0 + second
            note(Progress("hashing", 6000 + (second - 60) * 7, 100_000))
        assert running.all()[0].rate == pytest.approx(7)
        now += 1000  # it stands still
        assert running.all()[0].rate < 1
        note(Progress("uploading", 0, 100_000))
        assert running.all()[0].rate == 0
        now += 2
        note(Progress("uploading", 5000, 100_000))
        assert running.all()[0].rate == 2500


def test_the_list_is_bounded_and_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "LISTED_MAX", 2)
    running = Transfers()
    told: list[Progress] = []
    with running.running("check", "a"), running.running("check", "b"):
        with running.running("upload", "c", told.append) as note:
            note(Progress("uploading", 1, 2))
            assert [t.name for t in running.all()] == ["a", "b"]
        assert told == [Progress("uploading", 1, 2)]
        assert [t.name for t in running.all()] == ["a", "b"]
    assert running.all() == []


def test_a_very_long_name_is_cut() -> None:
    class Named:
        name = "x" * 10_000

    assert len(transfers.name_of_source(Named())) == 255
