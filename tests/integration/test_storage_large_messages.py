"""Read-test-write messages of any size: they mean what small ones do, and wait where there is room."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import cbor2
import pytest

from holdfast.interfaces.types import Buffer
from holdfast.protocol.storage_calls import authorization_value, secret_header
from holdfast.servers.storage import engine as engine_module
from holdfast.servers.storage.disk import COPY_BY_SYSTEM, Disk
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.handler import storage_handler
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.raw_https import RawConnection
from holdfast.testing.storage_bench import CBOR, MSI, RTW, SLOT, Bench, share
from holdfast.testing.storage_server import ServedStorage
from holdfast.wire.http import Request, Response

MIB = 1 << 20
DATA = bytes(range(251)) * (3 * MIB // 251)
PATH = f"/storage/v1/mutable/{MSI}/read-test-write"
SETTINGS = StorageSettings(durability="os")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=SETTINGS) as server:
        yield Bench(server)


async def test_writes_are_made_in_order_and_the_new_length_cuts(bench: Bench) -> None:
    await bench.slot(b"x" * 5_000_000)
    writes = [(10, DATA), (1000, b"a" * 100_000), (1500, b"b" * 70), (4_999_990, b"c" * 20), (3, b"d")]
    assert (await bench.done({0: share(writes=writes, new_length=5_000_001), 7: share(writes=writes[:1])}))[0]
    expected = bytearray(b"x" * 5_000_010)
    for offset, data in writes:
        expected[offset : offset + len(data)] = data
    assert await bench.slot_data() == expected[:5_000_001]
    assert await bench.slot_data(7) == bytes(10) + DATA


async def test_long_specimens_are_compared_to_their_last_byte(bench: Bench) -> None:
    await bench.slot(DATA)
    for wrong in (DATA[:-1] + b"?", DATA[:-1], b"?" + DATA[1:]):
        message = {0: share([(0, 2 * len(DATA), wrong)], [(0, b"changed")])}
        assert await bench.done(message, [(0, 4)]) == (False, {0: [DATA[:4]]})
    absent = {1: share([(0, len(DATA), DATA)], [(0, b"changed")])}
    assert (await bench.done(absent))[0] is False
    assert await bench.done({0: share([(0, 2 * len(DATA), DATA)], [(0, b"changed")])}, [(0, 4)]) == (
        True,
        {0: [DATA[:4]]},
    )
    assert await bench.slot_data() == b"changed" + DATA[7:]


async def test_data_in_pieces_are_put_together(bench: Bench) -> None:
    mark = b"the data come here"
    pieces = [DATA[:100], b"", DATA[100 : 2 * MIB], DATA[2 * MIB :]]
    before, _, behind = cbor2.dumps(
        {"test-write-vectors": {0: share(writes=[(0, mark)])}, "read-vector": []}
    ).partition(cbor2.dumps(mark))
    body = before + b"\x5f" + b"".join(map(cbor2.dumps, pieces)) + b"\xff" + behind
    assert (await bench.rtw(body=body)).status == 200
    assert await bench.slot_data() == DATA


async def test_a_message_of_unknown_length_is_taken(bench: Bench) -> None:
    body = cbor2.dumps({"test-write-vectors": {0: share(writes=[(0, DATA)])}, "read-vector": []})
    connection = await RawConnection.open(bench.server.port)
    connection.send_head("POST", PATH, bench.server.headers([CBOR, ("Transfer-Encoding", "chunked")], RTW))
    for start in range(0, len(body), 100_000):
        piece = body[start : start + 100_000]
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")
    assert (await connection.answer()).status == 200
    await connection.close()
    assert await bench.slot_data() == DATA


@pytest.mark.parametrize(
    ("enabler", "settings", "status"),
    [
        (b"W" * 32, {}, 401),
        (b"w" * 32, {"capacity": 5 * MIB}, 507),
        (b"w" * 32, {"read_only": True}, 507),
        (b"w" * 32, {"reserved_space": 1 << 60}, 507),
        (b"w" * 32, {"read_test_write_body_max": 64 * MIB}, 413),
    ],
)
async def test_what_would_be_refused_is_refused_before_it_is_sent(
    bench: Bench, enabler: bytes, settings: dict[str, object], status: int
) -> None:
    await bench.slot()
    await bench.restart(**settings)
    connection = await RawConnection.open(bench.server.port)
    secrets = (("write-enabler", enabler), *RTW[1:])
    headers = bench.server.headers([CBOR, ("Content-Length", str(100 * MIB))], secrets)
    connection.send_head("POST", PATH, headers)
    assert (await connection.answer()).status == status
    await connection.close()
    assert await bench.slot_data() == b"hello"


@pytest.mark.parametrize("settings", [{"capacity": len(DATA)}, {"read_only": True}])
async def test_a_full_server_takes_what_makes_nothing_larger(
    bench: Bench, settings: dict[str, object]
) -> None:
    await bench.slot(DATA)
    await bench.restart(**settings)
    assert (await bench.done({0: share(writes=[(0, DATA[::-1])])}))[0]
    assert await bench.slot_data() == DATA[::-1]
    assert (await bench.rtw({0: share(writes=[(5, DATA)])})).status == 507
    assert (await bench.rtw({1: share(writes=[(0, DATA)])})).status == 507
    assert await bench.slot_data() == DATA[::-1]


async def test_of_a_message_that_stops_nothing_stays_and_meanwhile_its_room_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "free_space_of", lambda path: lambda: 20 * MIB)
    async with ServedStorage(tmp_path, settings=SETTINGS) as server:
        bench = Bench(server)
        await bench.slot()
        connection = await RawConnection.open(server.port)
        headers = server.headers([CBOR, ("Content-Length", str(9 * MIB))], RTW)
        connection.send_head("POST", PATH, headers)
        connection.send(bytes(2 * MIB))
        vectors = {1: share(writes=[(0, bytes(6 * MIB))])}
        async with asyncio.timeout(20):
            while (await bench.rtw(vectors)).status != 507:
                assert (await bench.done({1: share(new_length=0)}))[0]
        assert await bench.slot_data() == b"hello"
        await connection.close()
        async with asyncio.timeout(20):
            while (await bench.rtw(vectors)).status != 200:
                await asyncio.sleep(0.05)
        assert server.engine.reserved_bytes == 0
        assert os.listdir(server.storage / "shares" / "incoming") == []


class HeldDisk(Disk):
    """A disk on which copying takes as long as it is told to."""

    def __init__(self) -> None:
        super().__init__(synchronise=True)
        self.copying, self.go_on = threading.Event(), threading.Event()
        self.receiving: threading.Event | None = None

    def write(self, descriptor: int, data: Buffer, offset: int) -> None:
        if self.receiving is not None and len(data) > MIB:
            self.receiving.set()
            assert self.go_on.wait(20)
        super().write(descriptor, data, offset)

    def copy(self, source: int, target: int, begin: int, end: int, to: int | None = None) -> None:
        self.copying.set()
        assert self.go_on.wait(20)
        super().copy(source, target, begin, end, to)


class WholeBody:
    """The body of a request, which is there already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def length(self) -> int:
        return len(self._data)

    async def chunks(self) -> AsyncIterator[memoryview]:
        yield memoryview(self._data)

    async def read(self, limit: int) -> bytes:
        return self._data


async def test_a_server_that_stops_meanwhile_does_not_mix_up_its_files(tmp_path: Path) -> None:
    disk = HeldDisk()
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        request = asyncio.create_task(whole_request(engine))
        assert await asyncio.to_thread(disk.copying.wait, 20)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]  # the numbers that are free now
        disk.go_on.set()
        await engine.close()
        assert await engine.read_mutable(SLOT, 0, 0, 4 * MIB) == DATA
        for other in others:
            os.close(other)


async def test_so_does_one_that_stops_while_it_receives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "free_space_of", lambda path: lambda: 20 * MIB)
    disk = HeldDisk()
    disk.receiving = threading.Event()
    async with open_storage(tmp_path / "storage", StorageSettings(), b"s" * 20, disk=disk) as engine:
        request = asyncio.create_task(whole_request(engine))
        assert await asyncio.to_thread(disk.receiving.wait, 20)
        request.cancel()
        await asyncio.sleep(0.05)
        assert not request.done()  # the thread that writes still needs the file
        disk.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await engine.list_mutable(SLOT) == frozenset()
        assert (await engine.version()).available_space == 20 * MIB


async def whole_request(engine: StorageEngine) -> Response:
    """Have a large request carried out, without a network."""
    body = cbor2.dumps({"test-write-vectors": {0: share(writes=[(0, DATA)])}, "read-vector": []})
    lines = [("authorization", authorization_value("swissnum")), ("content-type", "application/cbor")]
    lines += [("x-tahoe-authorization", secret_header(*secret)) for secret in RTW]
    request = Request("POST", PATH, "", tuple(lines), WholeBody(body))
    return await storage_handler(engine, "swissnum")(request)


class PlainDisk(Disk):
    """A disk whose system does not copy."""

    def __init__(self) -> None:
        super().__init__(synchronise=False)
        self.written = 0

    def write(self, descriptor: int, data: Buffer, offset: int) -> None:
        self.written += len(data)
        super().write(descriptor, data, offset)


@pytest.mark.parametrize("by_system", [True, False])
@pytest.mark.parametrize("to", [None, 0, 3000, 468 + 8192])
def test_every_byte_is_copied_to_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_system: bool, to: int | None
) -> None:
    if not by_system:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    disk = PlainDisk()
    source, _ = disk.create(str(tmp_path / "source"), 0)
    target, _ = disk.create(str(tmp_path / "target"), 0)
    disk.write(source, DATA, 0)
    disk.written = 0
    disk.copy(source, target, 468, len(DATA) - 1, to)
    at = 468 if to is None else to
    assert os.pread(target, 4 * MIB, at) == DATA[468:-1]
    assert by_system == (disk.written < COPY_BY_SYSTEM) or not hasattr(os, "copy_file_range")
    with pytest.raises(OSError, match="shorter"):
        disk.copy(source, target, len(DATA) - 1, len(DATA) + 1)
    for descriptor in (source, target):
        os.close(descriptor)
