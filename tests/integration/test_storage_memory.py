"""A storage server needs little memory, whatever is stored, sent and read at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cbor2
import pytest

from holdfast.node.storage_identity import load_storage_identity
from holdfast.protocol.storage_calls import authorization_value, secret_header
from holdfast.testing.raw_https import RawConnection
from holdfast.testing.storage_bench import ALLOCATE, MSI, RTW, SI, UPLOAD, Secret, share, tagged

MEMORY_MAX = 150 * 1024  # KiB
MIB = 1 << 20
PIECE = bytes(range(256)) * 4096


class Process:
    """A storage server in a process of its own."""

    def __init__(self, port: int, swissnum: str) -> None:
        self.port = port
        self.swissnum = swissnum
        self.peak = 0  # KiB, once it has ended

    async def request(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str | bytes]],
        secrets: tuple[Secret, ...],
        pieces: int,
        piece: bytes = PIECE,
        *,
        first: bytes = b"",
        last: bytes = b"",
    ) -> int:
        """Send a body of many pieces; read and forget the answer; return its status."""
        connection = await RawConnection.open(self.port)
        try:
            lines = [("X-Tahoe-Authorization", secret_header(*secret)) for secret in secrets]
            length = str(len(first) + pieces * len(piece) + len(last))
            authorization = ("Authorization", authorization_value(self.swissnum))
            connection.send_head(method, path, [authorization, *lines, *headers, ("Content-Length", length)])
            connection.send(first)
            for _ in range(pieces):
                connection.send(piece)
                await connection.writer.drain()
            connection.send(last)
            head = (await connection.reader.readuntil(b"\r\n\r\n")).decode().lower()
            left = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            while left:
                left -= len(await connection.reader.read(min(left, MIB)))
            return int(head.split()[1])
        finally:
            await connection.close()


@asynccontextmanager
async def process(directory: Path) -> AsyncIterator[Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast.testing.storage_server", str(directory)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    port = int(await child.stdout.readline())
    server = Process(port, load_storage_identity(directory / "private").swissnum)
    try:
        yield server
    finally:
        child.stdin.close()
        server.peak = int(await child.stdout.readline())
        await child.wait()


async def upload_and_read(server: Process) -> None:
    size = 256 * MIB
    body = cbor2.dumps({"share-numbers": tagged({0}), "allocated-size": size})
    path = f"/storage/v1/immutable/{SI}"
    assert await server.request("POST", path, [], ALLOCATE, 1, body) == 200

    async def write(part: int) -> int:
        begin = part * 32 * MIB
        headers: list[tuple[str, str | bytes]] = [
            ("Content-Range", f"bytes {begin}-{begin + 32 * MIB - 1}/*")
        ]
        return await server.request("PATCH", f"{path}/0", headers, (UPLOAD,), 32)

    assert sorted(await asyncio.gather(*(write(part) for part in range(8)))) == [200] * 7 + [201]
    reads = [server.request("GET", f"{path}/0", [], (), 0) for _ in range(8)]
    assert await asyncio.gather(*reads) == [200] * 8


async def change_slots(server: Process) -> None:
    data = 200 * MIB
    mark = b"\x5a\x00\x00\x00\x00"
    message = cbor2.dumps(
        {
            "test-write-vectors": {0: share(writes=[(0, mark)])},
            "read-vector": [{"offset": 0, "size": 8 * MIB}],
        }
    )
    first, _, last = message.partition(b"\x45" + mark)
    first += b"\x5a" + data.to_bytes(4, "big")
    path = f"/storage/v1/mutable/{MSI}/read-test-write"
    writes = [server.request("POST", path, [], RTW, 200, first=first, last=last) for _ in range(3)]
    assert await asyncio.gather(*writes) == [200] * 3


async def many_small_items(server: Process) -> None:
    items = 60 * MIB
    first = b"\xa2\x6bread-vector\x9a" + items.to_bytes(4, "big")
    path = f"/storage/v1/mutable/{MSI}/read-test-write"
    requests = [server.request("POST", path, [], RTW, 60, bytes(MIB), first=first) for _ in range(2)]
    assert await asyncio.gather(*requests) == [400, 400]


async def many_strings(server: Process) -> None:
    items = 249_000
    first = b"\xa2\x6bread-vector\x9a" + items.to_bytes(4, "big")
    path = f"/storage/v1/mutable/{MSI}/read-test-write"
    for size in (63, 64, 600):
        piece = (b"\x59" + size.to_bytes(2, "big") + bytes(size)) * (items // 249)
        last = b"\x72test-write-vectors\xa0"
        assert await server.request("POST", path, [], RTW, 249, piece, first=first, last=last) == 400


@pytest.mark.parametrize("load", [upload_and_read, change_slots, many_small_items, many_strings])
async def test_memory_is_bounded(tmp_path: Path, load: Callable[[Process], Awaitable[None]]) -> None:
    async with process(tmp_path) as server:
        await load(server)
    assert server.peak < MEMORY_MAX
