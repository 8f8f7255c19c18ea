"""Clients that hang or vanish in the middle of a request hold nobody else up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import cbor2
import pytest

from holdfast.servers.storage import handler, uploads
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.raw_https import RawConnection
from holdfast.testing.storage_bench import MSI, RTW, SI, UPLOAD, Bench, required, share
from holdfast.testing.storage_server import ServedStorage


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
        yield Bench(server)


async def half_a_write(bench: Bench, size: int) -> RawConnection:
    """Begin to send a share, and stop in the middle."""
    connection = await RawConnection.open(bench.server.port)
    lines = [("Content-Range", f"bytes 0-{size - 1}/*"), ("Content-Length", str(size))]
    connection.send_head("PATCH", f"/storage/v1/immutable/{SI}/0", bench.server.headers(lines, (UPLOAD,)))
    connection.send(b"?" * (size - 1000))
    await connection.writer.drain()
    return connection


@pytest.mark.parametrize("size", [3000, 3_000_000])
async def test_a_hung_write_gives_way_to_its_repetition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(uploads, "STALL_S", 0.2)
    await bench.allocated({0}, size)
    hung = await half_a_write(bench, size)
    await asyncio.sleep(0.3)
    other = await bench.write(1, "bytes 0-0/*", b"x")
    assert other.status == 404

    data = bytes(range(250)) * (size // 250)
    assert (await bench.write(0, f"bytes 0-{size - 1}/*", data)).status == 201
    hung.send(b"?" * 1000)
    assert (await hung.answer()).status in (404, 409)
    await hung.close()
    assert (await bench.read(0)).body == data


async def test_hung_writes_to_other_bytes_disturb_nobody(bench: Bench) -> None:
    size = 500_000
    await bench.allocated({0}, size + 10)
    hung = await half_a_write(bench, size)
    answer = await bench.write(0, f"bytes {size}-{size + 9}/*", bytes(10))
    assert required(answer) == [(0, size)]
    await hung.close()


async def test_large_messages_wait_for_one_another_not_for_hung_ones(bench: Bench) -> None:
    hung = []
    body = cbor2.dumps({"test-write-vectors": {0: share(writes=[(0, bytes(2 << 20))])}, "read-vector": []})
    for _ in range(handler.LARGE_WAITING_MAX - 1):
        connection = await RawConnection.open(bench.server.port)
        headers = bench.server.headers([("Content-Length", str(len(body)))], RTW)
        connection.send_head("POST", f"/storage/v1/mutable/{MSI}/read-test-write", headers)
        connection.send(body[: 1 << 20])
        hung.append(connection)

    statuses = [(await bench.rtw(body=body)).status for _ in range(2)]

    assert statuses == [200, 200]
    assert await bench.slot_data() == bytes(2 << 20)
    for connection in hung:
        await connection.close()


async def test_a_large_answer_comes_whole(bench: Bench) -> None:
    data = bytes(range(256)) * 12_000
    await bench.slot(data)
    success, answer = await bench.done({}, [(0, 2**40), (1000, 1000)])
    assert success
    assert answer == {0: [data, data[1000:2000]]}
    assert (await bench.rtw({}, [(0, 2**40)] * 30)).status == 413
