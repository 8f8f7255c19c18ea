"""All immutable shares of an index, or ranges of them, read in one request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces.storage import LeaseSecrets, ShareVectors, WriteVector
from holdfast.interfaces.storage_errors import TooLargeError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_extensions as extensions
from holdfast.servers.storage.catalog import Kind
from holdfast.testing.storage_server import ServedStorage

INDEX = StorageIndex(b"i" * 16)
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
SECRET = b"u" * 32
PATH = "/storage-ext/v1/immutable/nfuws2ljnfuws2ljnfuws2ljne"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServedStorage]:
    async with ServedStorage(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: ServedStorage) -> AsyncIterator[HttpStorageServer]:
    client = server.client()
    yield client
    client.close()


async def put(server: ServedStorage, number: int, data: bytes) -> None:
    """Store a share as any client of the protocol does."""
    await server.engine.allocate(INDEX, frozenset({number}), len(data), SECRET, LEASE)
    await server.engine.write(INDEX, number, SECRET, 0, [data], len(data))


async def test_all_shares_are_read_at_once(server: ServedStorage, client: HttpStorageServer) -> None:
    assert extensions.READ_SHARES in await client.features()
    await put(server, 0, b"zero")
    await put(server, 9, b"nine and more")
    data = await client.read_shares(INDEX, [(0, 4), (3, 100), (50, 1)])
    assert data == {0: [b"zero", b"o", b""], 9: [b"nine", b"e and more", b""]}


async def test_shares_are_read_whether_or_not_they_have_files_of_their_own_yet(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    pieces = {2: [b"in the log", b"th"], 3: [b"as well as", b"we"]}
    await client.store(INDEX, {2: b"in the log", 3: b"as well as"}, SECRET, LEASE, only_if_none=False)
    assert server.engine.waiting_share(INDEX, 2, Kind.IMMUTABLE) is not None
    assert await client.read_shares(INDEX, [(0, 99), (3, 2)]) == pieces
    await server.engine.settle()
    assert server.engine.waiting_share(INDEX, 2, Kind.IMMUTABLE) is None
    assert await client.read_shares(INDEX, [(0, 99), (3, 2)]) == pieces


async def test_an_unfinished_share_is_not_there(server: ServedStorage, client: HttpStorageServer) -> None:
    await put(server, 1, b"whole")
    await server.engine.allocate(INDEX, frozenset({2}), 10, SECRET, LEASE)
    await server.engine.write(INDEX, 2, SECRET, 0, [b"half "], 5)
    assert await client.read_shares(INDEX, [(0, 99)]) == {1: [b"whole"]}


async def test_what_is_no_share_is_left_out(server: ServedStorage, client: HttpStorageServer) -> None:
    for number in (1, 2, 3):
        await put(server, number, b"share %d" % number)
    await server.engine.settle()
    paths = sorted(path for path in server.directory.rglob("shares/*/*/*") if path.name in "123")
    assert [path.name for path in paths] == ["1", "2", "3"]
    paths[0].write_bytes(b"nonsense")
    os.unlink(paths[1])
    assert await client.read_shares(INDEX, [(0, 99)]) == {3: [b"share 3"]}


async def test_where_there_are_no_immutable_shares_the_answer_is_empty(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    assert await client.read_shares(INDEX, [(0, 9)]) == {}
    vectors = {0: ShareVectors(writes=[WriteVector(0, b"mutable")])}
    assert (await server.engine.read_test_write(INDEX, b"w" * 32, LEASE, vectors, [])).success
    assert await client.read_shares(INDEX, [(0, 9)]) == {}


async def test_too_much_at_once_is_refused(server: ServedStorage, client: HttpStorageServer) -> None:
    for number in (0, 1):
        await put(server, number, bytes(5 << 20))
    with pytest.raises(TooLargeError):
        await client.read_shares(INDEX, [(0, 5 << 20)])
    assert {n: len(parts[0]) for n, parts in (await client.read_shares(INDEX, [(0, 3 << 20)])).items()} == {
        0: 3 << 20,
        1: 3 << 20,
    }


async def test_what_it_takes(server: ServedStorage) -> None:
    await put(server, 4, b"four")
    assert (await server.request("GET", f"{PATH}?ranges=0+1")).status == 200
    assert (await server.request("GET", f"{PATH}?ranges=0+1", authorized=False)).status == 401
    assert (await server.request("PUT", f"{PATH}?ranges=0+1")).status == 405
    assert (await server.request("GET", f"{PATH}x?ranges=0+1")).status == 404
    for query in ("", "?ranges=", "?ranges=0", "?ranges=0+1&shares=", "?size=1"):
        assert (await server.request("GET", PATH + query)).status == 400
