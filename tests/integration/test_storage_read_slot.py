"""Several ranges of all shares of a slot, read in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces.storage import LeaseSecrets, ShareVectors, WriteVector
from holdfast.interfaces.storage_errors import BadRequestError, TooLargeError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_extensions as extensions
from holdfast.testing.storage_server import ServedStorage

INDEX = StorageIndex(b"i" * 16)
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
PATH = "/storage-ext/v1/mutable/nfuws2ljnfuws2ljnfuws2ljne"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServedStorage]:
    async with ServedStorage(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: ServedStorage) -> AsyncIterator[HttpStorageServer]:
    client = server.client()
    yield client
    client.close()


async def put(server: ServedStorage, shares: dict[int, bytes]) -> None:
    vectors = {n: ShareVectors(writes=[WriteVector(0, data)]) for n, data in shares.items()}
    assert (await server.engine.read_test_write(INDEX, b"w" * 32, LEASE, vectors, [])).success


async def test_all_shares_are_read_at_once(server: ServedStorage, client: HttpStorageServer) -> None:
    assert extensions.READ_SLOT in await client.features()
    await put(server, {0: b"zero", 9: b"nine and more"})
    data = await client.read_slot(INDEX, [(0, 4), (3, 100), (50, 1)])
    assert data == {0: [b"zero", b"o", b""], 9: [b"nine", b"e and more", b""]}


async def test_some_shares_can_be_left_out(server: ServedStorage, client: HttpStorageServer) -> None:
    await put(server, {0: b"zero", 1: b"one", 2: b"two"})
    assert await client.read_slot(INDEX, [(0, 9)], [2, 0, 7]) == {0: [b"zero"], 2: [b"two"]}


async def test_where_there_is_no_slot_there_are_no_shares(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    assert await client.read_slot(INDEX, [(0, 9)]) == {}
    await client.store(INDEX, {0: b"immutable"}, b"u" * 32, LEASE, only_if_none=False)
    assert await client.read_slot(INDEX, [(0, 9)]) == {}


async def test_too_much_at_once_is_refused(server: ServedStorage, client: HttpStorageServer) -> None:
    await put(server, {0: bytes(5 << 20), 1: bytes(5 << 20)})
    with pytest.raises(TooLargeError):
        await client.read_slot(INDEX, [(0, 5 << 20)])
    data = await client.read_slot(INDEX, [(0, 5 << 20)], [1])
    assert len(data[1][0]) == 5 << 20


NONSENSE = """ranges= ranges=1 ranges=1+ ranges=-1+2 ranges=0+1, range=0+1 ranges=0+1&more=1 ranges=%30+1
shares=1 ranges=0+1&shares= ranges=0+1&shares=1,0 ranges=0+1&shares=256 ranges=0+99999999999999999999"""


@pytest.mark.parametrize("query", ["", "ranges=" + "0+1," * 30 + "0+1", *NONSENSE.split()])
async def test_nonsense_is_refused(server: ServedStorage, query: str) -> None:
    with pytest.raises(BadRequestError):
        extensions.parse_read_query(query)
    assert (await server.request("GET", f"{PATH}?{query}")).status == 400


async def test_what_it_takes(server: ServedStorage) -> None:
    assert (await server.request("GET", f"{PATH}?ranges=0+1")).status == 200
    assert (await server.request("GET", f"{PATH}?ranges=0+1", authorized=False)).status == 401
    assert (await server.request("POST", f"{PATH}?ranges=0+1")).status == 405
    assert (await server.request("GET", f"{PATH}x?ranges=0+1")).status == 404
