"""Small shares of files that are stored at the same time travel to a server together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.errors import ServerError
from holdfast.grid.store_queue import UNDER_WAY_MAX, StoreQueue
from holdfast.interfaces.storage import Allocation, LeaseSecrets, StoreRequest
from holdfast.interfaces.storage_errors import ShareConflictError, StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.store_messages import STORE_ALL_BODY_MAX, request_size

LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)


def request(name: int, size: int = 10) -> StoreRequest:
    return StoreRequest(StorageIndex(b"%016d" % name), {name % 10: bytes(size)}, LEASE, True)


class Server:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[StoreRequest]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.refused: set[bytes] = set()

    async def send_all(self, requests: Sequence[StoreRequest]) -> list[Allocation | StorageRefusalError]:
        self.batches.append(list(requests))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return [
            ShareConflictError("no")
            if r.index in self.refused
            else Allocation(frozenset(), frozenset(r.shares))
            for r in requests
        ]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.fixture
async def server() -> Server:
    return Server()


def started(queue: StoreQueue, *requests: StoreRequest) -> list[asyncio.Task[Allocation]]:
    return [asyncio.create_task(queue.store(each)) for each in requests]


async def test_what_comes_in_one_turn_goes_out_as_one_and_each_gets_its_own_answer(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    answers = await asyncio.gather(*started(queue, *map(request, range(20))))
    assert server.sizes == [20]
    assert [answer.allocated for answer in answers] == [{n % 10} for n in range(20)]


async def test_a_single_one_does_not_wait(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    for number in range(3):
        await queue.store(request(number))
    assert server.sizes == [1, 1, 1]


async def test_what_comes_meanwhile_goes_when_the_answer_is_there(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    server.open.clear()
    first = started(queue, request(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = started(queue, *map(request, range(1, 6)))
    await asyncio.sleep(0.001)
    assert server.sizes == [1]
    server.open.set()
    await asyncio.gather(*first, *rest)
    assert server.sizes == [1, 5]


async def test_a_slow_server_gets_more_requests_at_once_but_not_many(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    server.open.clear()
    tasks = []
    for number in range(2 * UNDER_WAY_MAX):
        tasks += started(queue, request(number))
        await asyncio.sleep(0.03)
    assert len(server.sizes) == UNDER_WAY_MAX
    server.open.set()
    await asyncio.gather(*tasks)
    assert sum(server.sizes) == len(tasks)


async def test_no_request_is_longer_than_a_server_takes(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    await asyncio.gather(*started(queue, *(request(number, 50_000) for number in range(60))))
    assert sum(server.sizes) == 60
    assert all(sum(map(request_size, batch)) <= STORE_ALL_BODY_MAX for batch in server.batches)
    await asyncio.gather(*started(queue, *map(request, range(1000))))
    assert max(server.sizes) <= 256


async def test_a_refusal_is_of_one_file_a_failure_of_all(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    server.refused = {request(1).index}
    good, refused = await asyncio.gather(*started(queue, request(0), request(1)), return_exceptions=True)
    assert good == Allocation(frozenset(), frozenset({0}))
    assert isinstance(refused, ShareConflictError)
    server.failure = ServerError("hung")
    outcomes = await asyncio.gather(*started(queue, request(0), request(1)), return_exceptions=True)
    assert outcomes == [server.failure] * 2
    server.failure = None
    assert (await queue.store(request(2))).allocated == {2}


async def test_who_does_not_wait_any_more_is_left_out(server: Server) -> None:
    queue = StoreQueue(server.send_all)
    server.open.clear()
    under_way = started(queue, request(0))
    await asyncio.sleep(0.001)
    waiting = started(queue, request(1), request(2))
    await asyncio.sleep(0.001)
    waiting[0].cancel()
    under_way[0].cancel()
    await asyncio.sleep(0)
    server.open.set()
    assert (await waiting[1]).allocated == {2}
    assert [[r.index for r in batch] for batch in server.batches] == [[request(0).index], [request(2).index]]
