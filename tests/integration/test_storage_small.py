"""Small shares stored whole, and what else Holdfast's servers offer beyond the protocol."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_file import build_shares
from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces.storage import Allocation, LeaseSecrets
from holdfast.interfaces.storage_errors import ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_calls as calls
from holdfast.protocol import storage_extensions as extensions
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.raw_https import RawConnection
from holdfast.testing.storage_server import ServedStorage

INDEX = StorageIndex(b"i" * 16)
SECRET = b"u" * 32
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
OTHER_LEASE = LeaseSecrets(b"R" * 32, b"C" * 32)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServedStorage]:
    async with ServedStorage(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: ServedStorage) -> AsyncIterator[HttpStorageServer]:
    client = server.client()
    yield client
    client.close()


async def connected(server: ServedStorage) -> RawConnection:
    return await RawConnection.open(server.port)


async def store(
    client: HttpStorageServer,
    shares: dict[int, bytes],
    lease: LeaseSecrets = LEASE,
    *,
    only_if_none: bool = False,
) -> Allocation:
    return await client.store(INDEX, shares, SECRET, lease, only_if_none=only_if_none)


async def test_what_is_stored_whole_is_listed_read_and_leased(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    assert {"canary", "store"} <= await client.features()
    shares = {0: b"zero", 7: b"seven"[:4], 255: b"last"}
    answer = await store(client, shares)
    assert answer == Allocation(frozenset(), frozenset((0, 7, 255)))
    assert await client.list_immutable(INDEX) == {0, 7, 255}
    for number, share in shares.items():
        assert await client.read_immutable(INDEX, number, 0, 100) == share
        assert len(await server.engine.leases(INDEX, number)) == 1
    assert server.engine.stored_bytes == 12
    assert server.engine.reserved_bytes == 0


async def test_a_share_that_is_there_stays_and_gets_the_lease(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    await store(client, {3: b"first"})
    answer = await store(client, {3: b"other", 4: b"fresh"}, OTHER_LEASE)
    assert answer == Allocation(frozenset((3,)), frozenset((4,)))
    assert await client.read_immutable(INDEX, 3, 0, 100) == b"first"
    assert len(await server.engine.leases(INDEX, 3)) == 2
    assert len(await server.engine.leases(INDEX, 4)) == 1


async def test_only_if_none_stores_nothing_beside_another_share(client: HttpStorageServer) -> None:
    await store(client, {3: b"first"})
    answer = await store(client, {4: b"fresh"}, only_if_none=True)
    assert answer == Allocation(frozenset((3,)), frozenset())
    assert await client.list_immutable(INDEX) == {3}


async def test_a_number_that_is_being_uploaded_is_left_to_its_uploader(client: HttpStorageServer) -> None:
    await client.allocate(INDEX, frozenset((1,)), 5, b"somebody else", OTHER_LEASE)
    answer = await store(client, {1: b"whole", 2: b"whole"})
    assert answer == Allocation(frozenset(), frozenset((2,)))
    assert await client.write(INDEX, 1, b"somebody else", 0, [b"theirs"[:5]], 5) == []


async def test_a_full_server_takes_what_fits(tmp_path: Path) -> None:
    async with ServedStorage(tmp_path, settings=StorageSettings(capacity=1000)) as server:
        client = server.client()
        answer = await store(client, {1: bytes(400), 2: bytes(400), 3: bytes(400)})
        assert answer.allocated == {1, 2}
        assert (await store(client, {5: bytes(400)})).allocated == set()
        assert server.engine.stored_bytes == 800
        client.close()


async def test_shares_survive_a_restart_and_the_accounts_with_them(
    server: ServedStorage, client: HttpStorageServer
) -> None:
    shares = {number: os.urandom(5000) for number in range(20)}
    await store(client, shares)
    await server.restart()
    again = server.client()
    assert await again.list_immutable(INDEX) == set(shares)
    for number, share in shares.items():
        assert await again.read_immutable(INDEX, number, 0, 10_000) == share
    assert server.engine.stored_bytes == 100_000
    again.close()


async def test_mutable_slots_and_nonsense_are_refused(tmp_path: Path) -> None:
    async with ServedStorage(tmp_path, settings=StorageSettings(verify_on_close="deep")) as server:
        client = server.client()
        plan = Segmentation.plan(100, 3, 10, 1000)
        shares, _ = build_shares(b"k" * 16, bytes(100), plan)
        assert (await store(client, {0: shares[0]})).allocated == {0}
        broken = bytes([*shares[1][:40], shares[1][40] ^ 1, *shares[1][41:]])
        with pytest.raises(ShareConflictError):
            await store(client, {1: broken, 2: shares[2]})
        assert await client.list_immutable(INDEX) == {0}
        client.close()


@pytest.mark.parametrize(
    ("numbers", "body", "status"),
    [
        ("0", b"", 400),
        ("0,1", b"abc", 400),
        ("1,0", b"abcd", 400),
        ("0,0", b"abcd", 400),
        ("256", b"abcd", 400),
        ("-1", b"abcd", 400),
        ("", b"abcd", 400),
        (None, b"abcd", 400),
        ("a", b"abcd", 400),
        ("0", bytes(extensions.STORE_SHARE_MAX + 1), 400),
        (",".join(map(str, range(10))), bytes(extensions.STORE_BODY_MAX + 10), 413),
    ],
)
async def test_malformed_requests_are_refused_and_change_nothing(
    server: ServedStorage, numbers: str | None, body: bytes, status: int
) -> None:
    headers = [
        ("Authorization", calls.authorization_value(server.identity.swissnum)),
        ("X-Tahoe-Authorization", calls.secret_header(calls.LEASE_RENEW, LEASE.renew)),
        ("X-Tahoe-Authorization", calls.secret_header(calls.LEASE_CANCEL, LEASE.cancel)),
        ("X-Tahoe-Authorization", calls.secret_header(calls.UPLOAD, SECRET)),
    ]
    if numbers is not None:
        headers.append((extensions.NUMBERS_HEADER, numbers))
    path = extensions.shares_path(INDEX)
    connection = await connected(server)
    answer = await connection.request("POST", path, headers, body)
    assert answer.status == status
    assert (await server.engine.list_immutable(INDEX)) == set()
    assert server.engine.reserved_bytes == 0
    strangers = await (await connected(server)).request("POST", path, [], body)
    assert strangers.status == 401
    secretless = await (await connected(server)).request(
        "POST", extensions.shares_path(INDEX), headers[:1], body
    )
    assert secretless.status == 400
