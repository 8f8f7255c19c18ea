"""Mutable shares that are made while they are sent, to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces import storage
from holdfast.interfaces.storage import LeaseSecrets, ReadTestWriteResult, StreamedWrite
from holdfast.interfaces.storage_errors import NoSpaceError, TooLargeError, WrongSecretError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_server import ServedStorage

INDEX = StorageIndex(b"i" * 16)
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
ABSENT = storage.TestVector(0, 1, b"")
PIECE = 1 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServedStorage]:
    async with ServedStorage(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: ServedStorage) -> AsyncIterator[HttpStorageServer]:
    with closing(server.client()) as client:
        yield client


def pieces_of(count: int, made: list[int] | None = None) -> StreamedWrite:
    async def pieces() -> AsyncIterator[bytes]:
        for i in range(count):
            if made is not None:
                made.append(i)
            yield bytes([i]) * PIECE

    return StreamedWrite(5, count * PIECE, pieces)


async def write(
    client: HttpStorageServer, *writes: StreamedWrite, enabler: bytes = b"w" * 32
) -> ReadTestWriteResult:
    return await client.write_share(INDEX, enabler, LEASE, 3, [ABSENT], writes, [(0, 2)])


async def test_a_share_arrives_as_it_is_made(server: ServedStorage, client: HttpStorageServer) -> None:
    assert (await write(client, pieces_of(9))).success
    assert await client.list_mutable(INDEX) == {3}
    assert await client.read_mutable(INDEX, 3, 0, 6) == bytes(6)
    for i in range(9):
        assert await client.read_mutable(INDEX, 3, 5 + i * PIECE, PIECE) == bytes([i]) * PIECE
    again = await write(client, pieces_of(9))
    assert (again.success, again.data) == (False, {3: [b"\0\0"]})


REFUSALS = {
    "too large": (StorageSettings(read_test_write_body_max=64 << 20), TooLargeError),
    "no space on the disk": (StorageSettings(reserved_space=1 << 60), NoSpaceError),
    "full": (StorageSettings(capacity=90 << 20), NoSpaceError),
    "read-only": (StorageSettings(read_only=True), NoSpaceError),
}


@pytest.mark.parametrize(("settings", "error"), REFUSALS.values(), ids=list(REFUSALS))
async def test_what_cannot_be_stored_is_refused_before_all_of_it_is_made(
    tmp_path: Path, settings: StorageSettings, error: type[Exception]
) -> None:
    made: list[int] = []
    async with ServedStorage(tmp_path, settings=settings) as server:
        with closing(server.client()) as client:
            with pytest.raises(error):
                await write(client, pieces_of(100, made))
            assert len(made) < 50
            assert await client.list_mutable(INDEX) == frozenset()


async def test_an_error_of_the_source_is_its_own(server: ServedStorage, client: HttpStorageServer) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        raise InputError("the source is gone")

    with pytest.raises(InputError, match="gone"):
        await write(client, StreamedWrite(0, 2 * PIECE, broken))
    assert await client.list_mutable(INDEX) == frozenset()
    assert (await write(client, pieces_of(1))).success


async def test_who_is_cancelled_leaves_nothing(server: ServedStorage, client: HttpStorageServer) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await write(client, StreamedWrite(0, 2 * PIECE, stuck))
    assert await client.list_mutable(INDEX) == frozenset()


async def test_a_wrong_write_enabler_is_told(server: ServedStorage, client: HttpStorageServer) -> None:
    assert (await write(client, pieces_of(1))).success
    with pytest.raises(WrongSecretError):
        await write(client, pieces_of(100), enabler=b"x" * 32)
