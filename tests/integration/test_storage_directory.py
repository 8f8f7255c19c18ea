"""The storage directory: share files as the reference writes and reads them, shares that were
there before, damaged files, who may open it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.formats.containers import MutableContainer, check_extra_leases, parse_container
from holdfast.interfaces.storage import Allocation, LeaseSecrets, ShareVectors, WriteVector
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Catalog, Kind, leases_table, shares_table, totals_table
from holdfast.servers.storage.engine import open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_suite import DATA, ENABLER, INDEX, LEASE, SLOT, put_slot, store

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())
SEED = b"s" * 20
LAX = StorageSettings(durability="os")


def place_of(directory: Path, index: bytes, number: int = 0) -> Path:
    name = base32.encode(index)
    return directory / "shares" / name[:2] / name / str(number)


def put_file(directory: Path, index: bytes, content: bytes, number: int = 0) -> Path:
    place = place_of(directory, index, number)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


async def test_immutable_files_are_those_of_the_reference_without_leases(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await store(engine, 7, DATA)

        place = place_of(tmp_path, INDEX, 7)
        assert place.read_bytes() == bytes.fromhex("000000020000003000000000") + DATA
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


async def test_leases_never_touch_an_immutable_file(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await store(engine, 0, DATA)
        before = place_of(tmp_path, INDEX).stat()
        for byte in range(20):
            await engine.add_lease(INDEX, LeaseSecrets(bytes([byte]) * 32, b"c" * 32))

        after = place_of(tmp_path, INDEX).stat()
        assert (before.st_ino, before.st_mtime_ns, before.st_size) == (
            after.st_ino,
            after.st_mtime_ns,
            after.st_size,
        )
        assert len(await engine.leases(INDEX, 0)) == 21


async def test_a_new_mutable_file_is_that_of_the_reference(tmp_path: Path) -> None:
    entry = next(c for c in VECTORS["containers"] if c["name"] == "mutable v2")
    seed, enabler = base32.decode(entry["node_id_b32"]), bytes.fromhex(entry["write_enabler_hex"])
    async with open_storage(tmp_path, LAX, seed) as engine:
        await engine.read_test_write(SLOT, enabler, LEASE, {0: ShareVectors()}, [])
        await engine.settle()

        assert place_of(tmp_path, SLOT).read_bytes() == base64.b64decode(entry["created_b64"])


MUTABLE_STEPS = {
    "write 12 bytes at 20: hole of zeros, extra leases move": ShareVectors(
        writes=[WriteVector(20, b"after a hole")]
    ),
    "new length 5: container keeps its size": ShareVectors(new_length=5),
    "write 1 byte at 8: bytes 5 to 7 read as zero, nothing moves": ShareVectors(
        writes=[WriteVector(8, b"Z")]
    ),
}


@pytest.mark.parametrize("step", MUTABLE_STEPS)
@pytest.mark.parametrize("name", ["mutable v1", "mutable v2"])
async def test_changes_of_a_file_of_the_reference_are_as_it_would_make_them(
    tmp_path: Path, name: str, step: str
) -> None:
    entry = next(c for c in VECTORS["containers"] if c["name"] == name)
    position = [s["what"] for s in entry["steps"]].index(step)
    place = put_file(tmp_path, SLOT, base64.b64decode(entry["steps"][position - 1]["file_b64"]))
    async with open_storage(tmp_path, LAX, SEED) as engine:
        enabler = bytes.fromhex(entry["write_enabler_hex"])
        await engine.read_test_write(SLOT, enabler, LEASE, {0: MUTABLE_STEPS[step]}, [])
        data = base64.b64decode(entry["steps"][position]["data_b64"])
        assert await engine.read_mutable(SLOT, 0, 0, 1000) == data

    expected, found = base64.b64decode(entry["steps"][position]["file_b64"]), place.read_bytes()
    container = parse_container(expected, len(expected))
    assert isinstance(container, MutableContainer)
    assert check_extra_leases(container, expected[container.extra_offset :][:4], len(expected)) > 4
    # What lies in the room behind the data means nothing; all else is equal, leases included.
    end = container.data_offset + container.size
    assert found[:end] == expected[:end]
    assert found[container.extra_offset :] == expected[container.extra_offset :]


@pytest.mark.parametrize("entry", VECTORS["containers"], ids=lambda entry: entry["name"])
async def test_shares_that_were_there_before_are_served(tmp_path: Path, entry: dict[str, Any]) -> None:
    last = entry["steps"][4] if entry["kind"] == "mutable" else entry
    file, data = base64.b64decode(last["file_b64"]), base64.b64decode(last["data_b64"])
    put_file(tmp_path, INDEX, file, 3)
    async with open_storage(tmp_path, LAX, SEED) as engine:
        lists = {"immutable": engine.list_immutable, "mutable": engine.list_mutable}
        reads = {"immutable": engine.read_immutable, "mutable": engine.read_mutable}
        assert await lists.pop(entry["kind"])(INDEX) == {3}
        assert await reads[entry["kind"]](INDEX, 3, 0, 1000) == data
        assert await lists.popitem()[1](INDEX) == frozenset()
        assert engine.stored_bytes == len(data)


@pytest.mark.parametrize("entry", VECTORS["containers_damaged"], ids=lambda entry: entry["name"])
async def test_damaged_files_are_left_out_and_left_alone(tmp_path: Path, entry: dict[str, str]) -> None:
    content = base64.b64decode(entry["file_b64"])
    place = put_file(tmp_path, INDEX, content, 1)
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await store(engine, 0, DATA)
        assert await engine.list_immutable(INDEX) == {0}
        answer = await engine.allocate(INDEX, frozenset({0, 1, 2}), 48, b"x" * 32, LEASE)
        assert answer == Allocation(frozenset({0}), frozenset({2}))
    assert place.read_bytes() == content


async def test_odd_names_are_ignored(tmp_path: Path) -> None:
    good = bytes.fromhex("000000020000000300000000") + b"abc"
    put_file(tmp_path, INDEX, good, 0)
    directory = place_of(tmp_path, INDEX).parent
    for name in ("007", "256", "x", "1.tmp"):
        (directory / name).write_bytes(good)
    (directory / "4").mkdir()
    (directory / "5").symlink_to(directory / "0")
    os.mkfifo(directory / "6")
    (tmp_path / "shares" / "notes").write_text("by the operator")
    (tmp_path / "shares" / "incoming" / "ab").mkdir(parents=True)
    (tmp_path / "shares" / "incoming" / "ab" / "left over").write_text("x")

    async with open_storage(tmp_path, LAX, SEED) as engine:
        assert await engine.list_immutable(INDEX) == {0}
        answer = await engine.allocate(INDEX, frozenset({4, 5, 6}), 48, b"x" * 32, LEASE)
        assert answer.allocated == frozenset()
    assert list((tmp_path / "shares" / "incoming").iterdir()) == []


async def test_a_lost_file_is_not_listed_and_can_be_sent_again(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await store(engine, 0, DATA)
        place_of(tmp_path, INDEX).unlink()
        assert await engine.list_immutable(INDEX) == frozenset()

        await store(engine, 0, DATA[:40])
        assert await engine.read_immutable(INDEX, 0, 0, 48) == DATA[:40]
        assert engine.stored_bytes == 40
    async with open_storage(tmp_path, LAX, SEED) as engine:
        assert engine.stored_bytes == 40


async def test_a_copied_file_is_found_by_the_next_allocation(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        put_file(tmp_path, INDEX, bytes.fromhex("000000020000000300000000") + b"abc", 2)
        answer = await engine.allocate(INDEX, frozenset({2}), 3, b"x" * 32, LEASE)
        assert answer.already_have == {2}
        assert await engine.list_immutable(INDEX) == {2}
        assert len(await engine.leases(INDEX, 2)) == 1


async def test_after_an_orderly_stop_nothing_is_left_to_do(tmp_path: Path) -> None:
    async with open_storage(tmp_path, StorageSettings(), SEED) as engine:
        await store(engine, 0, DATA)
        await put_slot(engine, b"x" * 100_000)
        await engine.allocate(INDEX, frozenset({1}), 48, b"x" * 32, LEASE)

    catalog = Catalog(str(tmp_path / "holdfast" / "storage.db"), synchronise=False)
    assert catalog.redo_rows() == []
    catalog.close()
    assert list((tmp_path / "shares" / "incoming").iterdir()) == []


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED):
        with pytest.raises(ConfigError, match="in use"):
            async with open_storage(tmp_path, LAX, SEED):
                pass


async def test_advisories_are_limited(tmp_path: Path) -> None:
    settings = StorageSettings(durability="os", advisories_max=3, advisory_bytes_max=400)
    async with open_storage(tmp_path, settings, SEED) as engine:
        await store(engine, 0, DATA)
        for _ in range(6):
            await engine.advise_corrupt_immutable(INDEX, 0, "x")
        assert len(list((tmp_path / "corruption-advisories").iterdir())) == 3
    async with open_storage(tmp_path, settings, SEED) as engine:
        await engine.advise_corrupt_immutable(INDEX, 0, "x")
        assert len(list((tmp_path / "corruption-advisories").iterdir())) == 3


async def test_readers_keep_the_version_they_opened(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await put_slot(engine, b"old" * 1000)
        share = await engine.open_share(SLOT, 0, Kind.MUTABLE)
        await engine.read_test_write(SLOT, ENABLER, LEASE, {0: ShareVectors(new_length=0)}, [])
        assert share.read(0, 9999) == b"old" * 1000
        os.close(share.descriptor)


@pytest.mark.soak
async def test_a_server_with_a_million_shares_starts_at_once(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED):
        pass
    catalog = Catalog(str(tmp_path / "holdfast" / "storage.db"), synchronise=False)
    with catalog.engine.begin() as connection:
        for start in range(0, 1_000_000, 50_000):
            indexes = [(n * 2**96 // 3 + n).to_bytes(16, "big") for n in range(start, start + 50_000)]
            connection.execute(
                insert(shares_table),
                [{"storage_index": i, "number": 0, "kind": 0, "size": 1000} for i in indexes],
            )
            connection.execute(
                insert(leases_table),
                [
                    {
                        "storage_index": i,
                        "number": 0,
                        "renew_hash": i * 2,
                        "cancel_hash": i * 2,
                        "owner": 0,
                        "expiry": 2_000_000_000,
                    }
                    for i in indexes
                ],
            )
        connection.execute(totals_table.update().values(shares=1_000_000, bytes=10**9))
    catalog.close()

    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with open_storage(tmp_path, LAX, SEED) as engine:
        assert loop.time() - begin < 2
        assert engine.stored_bytes == 10**9
        begin = loop.time()
        for n in range(100):
            await engine.list_immutable(StorageIndex((n * 2**96 // 3 + n).to_bytes(16, "big")))
        assert loop.time() - begin < 1


async def test_a_damaged_catalog_stops_the_start_and_can_be_made_anew(tmp_path: Path) -> None:
    async with open_storage(tmp_path, LAX, SEED) as engine:
        await store(engine, 0, DATA)
    catalog = tmp_path / "holdfast" / "storage.db"
    catalog.write_bytes(b"no database at all " * 1000)
    with pytest.raises(ConfigError, match="moved away"):
        async with open_storage(tmp_path, LAX, SEED):
            pass
    catalog.unlink()

    async with open_storage(tmp_path, LAX, SEED) as engine:
        assert await engine.list_immutable(INDEX) == {0}
        assert await engine.read_immutable(INDEX, 0, 0, 48) == DATA
