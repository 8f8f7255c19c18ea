"""A storage server killed at every step of an operation keeps what it acknowledged, and of
the rest all or nothing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from holdfast.crypto import base32
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.servers.storage.share_log import ShareLog, log_paths
from holdfast.testing.storage_crash import (
    INDEX,
    INDEXES,
    LARGE,
    LEASE,
    NEW_SLOT,
    OLD_SLOT,
    SECRET,
    SEED,
    SLOT,
    SLOT_CHANGES,
    SMALL,
)
from holdfast.testing.warm_processes import WarmProcess

AFTERMATHS = ("killed", "power cut", "killed again while recovering")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is such a thing: only the process dies, not the machine."""
    with in_memory(tmp_path) as directory:
        yield directory


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the runs of each scenario are, once for all that may come after them."""
    with in_memory(tmp_path_factory.mktemp("runs")) as directory:
        yield directory


def run(directory: Path, what: str) -> None:
    assert WarmProcess("holdfast.testing.storage_crash", [directory, what]).wait(100) == 0


def crashed(runs: Path, tmp_path: Path, scenario: str, aftermath: str) -> list[Path]:
    """Return the directories of all runs, the last of which survived."""
    if not (runs / scenario).exists():
        (runs / scenario).mkdir()
        run(runs / scenario, scenario)
    shutil.copytree(runs / scenario, tmp_path, dirs_exist_ok=True)
    places = sorted(tmp_path.iterdir(), key=lambda place: int(place.name))
    assert len(places) >= 2
    if aftermath == "power cut":
        for place in places:
            lose_unsettled(place / "storage")
    elif aftermath == "killed again while recovering":
        run(tmp_path, "recover")
    return places


def lose_unsettled(storage: Path) -> None:
    """Undo what a power cut may undo: moves of files, and contents, that were not synchronised."""
    incoming = storage / "shares" / "incoming"
    with closing(sqlite3.connect(storage / "holdfast" / "storage.db")) as catalog:
        rows = catalog.execute(
            "SELECT storage_index, number, name, content FROM redo ORDER BY serial"
        ).fetchall()
    places = StorageDirectory(storage)
    logged = [share for path in log_paths(places) for share in ShareLog(path, Disk(synchronise=False)).read()]
    rows += [(share.index, share.number, "", share.data) for share in logged]
    for index, number, name, content in rows:
        name_of_index = base32.encode(index)
        place = storage / "shares" / name_of_index[:2] / name_of_index / str(number)
        if content is not None:
            if number % 2 and place.exists():
                place.write_bytes(bytes(len(content)))
            else:
                place.unlink(missing_ok=True)
        elif name and place.exists() and not (incoming / name).exists():
            os.rename(place, incoming / name)


def acknowledged(place: Path) -> list[str]:
    return (place / "acknowledged").read_text().split()


@asynccontextmanager
async def reopened(place: Path) -> AsyncIterator[StorageEngine]:
    """Open what a crash left behind; check that nothing is left over, and that the accounts are right."""
    storage = place / "storage"
    async with open_storage(storage, StorageSettings(), SEED) as engine:
        assert engine.reserved_bytes == 0
        assert list((storage / "shares" / "incoming").iterdir()) == []
        yield engine
    with closing(sqlite3.connect(storage / "holdfast" / "storage.db")) as catalog:
        assert catalog.execute("SELECT count(*) FROM redo").fetchone() == (0,)
        counted = catalog.execute("SELECT count(*), coalesce(sum(size), 0) FROM shares").fetchone()
        assert catalog.execute("SELECT shares, bytes FROM totals").fetchone() == counted
        rows = {
            (base32.encode(i), str(n)) for i, n in catalog.execute("SELECT storage_index, number FROM shares")
        }
    files = {(f.parent.name, f.name) for f in (storage / "shares").glob("??/*/*")}
    assert files == rows


@pytest.mark.seed("S-045", "S-060")
@pytest.mark.parametrize("aftermath", AFTERMATHS)
@pytest.mark.parametrize(
    ("scenario", "data"), [("upload-small", SMALL), ("upload-large", LARGE), ("store", SMALL)]
)
async def test_a_killed_upload_is_whole_or_gone(
    runs: Path, tmp_path: Path, scenario: str, data: bytes, aftermath: str
) -> None:
    for place in crashed(runs, tmp_path, scenario, aftermath):
        promised = {int(number) for number in acknowledged(place)}
        async with reopened(place) as engine:
            listed = await engine.list_immutable(INDEX)
            assert promised <= listed
            for number in listed:
                assert await engine.read_immutable(INDEX, number, 0, len(data) + 1) == data
                assert len(await engine.leases(INDEX, number)) == 1
            missing = frozenset({0, 1}) - listed
            answer = await engine.allocate(INDEX, frozenset({0, 1}), len(data), SECRET, LEASE)
            assert answer.allocated == missing
            for number in missing:
                await engine.write(INDEX, number, SECRET, 0, [data], len(data))
                assert await engine.read_immutable(INDEX, number, 0, len(data)) == data


@pytest.mark.parametrize("aftermath", AFTERMATHS)
async def test_of_many_files_stored_at_once_each_is_whole_or_gone(
    runs: Path, tmp_path: Path, aftermath: str
) -> None:
    for place in crashed(runs, tmp_path, "store-many", aftermath):
        promised = {StorageIndex(bytes.fromhex(name)) for name in acknowledged(place)}
        async with reopened(place) as engine:
            for number, index in enumerate(INDEXES):
                listed = await engine.list_immutable(index)
                assert listed in (frozenset(), {number})
                assert listed or index not in promised
                for there in listed:
                    assert await engine.read_immutable(index, there, 0, 10_000) == SMALL
                    assert len(await engine.leases(index, there)) == 1


@pytest.mark.parametrize("aftermath", AFTERMATHS)
async def test_a_killed_abort_leaves_nothing(runs: Path, tmp_path: Path, aftermath: str) -> None:
    for place in crashed(runs, tmp_path, "abort", aftermath):
        async with reopened(place) as engine:
            assert await engine.list_immutable(INDEX) == frozenset()
            assert engine.stored_bytes == 0


@pytest.mark.parametrize("aftermath", AFTERMATHS)
@pytest.mark.parametrize("scenario", ["slot", "slot-by-file"])
async def test_a_killed_change_of_a_slot_is_done_or_not(
    runs: Path, tmp_path: Path, scenario: str, aftermath: str
) -> None:
    outcomes = set()
    for place in crashed(runs, tmp_path, scenario, aftermath):
        async with reopened(place) as engine:
            numbers = sorted(await engine.list_mutable(SLOT))
            slot = {number: await engine.read_mutable(SLOT, number, 0, 2**30) for number in numbers}
            changed = 3 in slot
            expected = dict(OLD_SLOT)
            if changed:
                expected = dict(NEW_SLOT)
            assert slot == expected
            assert changed or not acknowledged(place)
            assert len(await engine.leases(SLOT, 0)) == 1 + changed
            assert (await engine.leases(SLOT, 2) == []) == changed
            outcomes.add(changed)
    assert outcomes == {False, True}


@pytest.mark.parametrize("aftermath", AFTERMATHS)
async def test_of_many_changes_none_is_lost_or_mixed(runs: Path, tmp_path: Path, aftermath: str) -> None:
    for place in crashed(runs, tmp_path, "slot-often", aftermath):
        async with reopened(place) as engine:
            zero = await engine.read_mutable(SLOT, 0, 0, 8)
            listed = await engine.list_mutable(SLOT)
            done = acknowledged(place)
            if zero == OLD_SLOT[0]:
                assert not done
                assert listed == OLD_SLOT.keys()
                continue
            position = int(zero)
            assert position >= len(done) - 1
            assert listed == ({0, 1, 2} if position % 2 else {0, 2})
            if position % 2:
                assert await engine.read_mutable(SLOT, 1, 0, 9) == b"%8d" % position


@pytest.mark.parametrize("aftermath", AFTERMATHS)
async def test_changes_by_the_log_and_others_follow_one_another_whatever_happens(
    runs: Path, tmp_path: Path, aftermath: str
) -> None:
    states: list[dict[int, bytes]] = [{}]
    for change in SLOT_CHANGES:
        states.append({n: data for n, data in {**states[-1], **change}.items() if data is not None})
    for place in crashed(runs, tmp_path, "slot-in-all-ways", aftermath):
        async with reopened(place) as engine:
            slot = {
                n: (await engine.read_slot(SLOT, [(0, 2**20)], None))[n][0]
                for n in await engine.list_mutable(SLOT)
            }
            count = len(acknowledged(place))
            assert slot in states[count : count + 2]
            assert engine.stored_bytes == sum(map(len, slot.values()))
            for number in slot:
                assert len(await engine.leases(SLOT, number)) == 1


@pytest.mark.parametrize("aftermath", AFTERMATHS[:1])
async def test_a_killed_lease_is_on_all_shares_or_none(runs: Path, tmp_path: Path, aftermath: str) -> None:
    for place in crashed(runs, tmp_path, "lease", aftermath):
        async with reopened(place) as engine:
            counts = {len(await engine.leases(INDEX, number)) for number in (0, 1)}
            assert counts == {2} if acknowledged(place) else counts in ({1}, {2})
