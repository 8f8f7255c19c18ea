"""The line of those who wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast.interfaces.vdrive import Turn
from holdfast.interfaces.vdrive_errors import TurnTakenError
from holdfast.servers.vdrive import turn_queue
from holdfast.servers.vdrive.turn_queue import TurnQueue

INDEX = bytes(32)


class Turns:
    """Whose turn it is, as a server knows it."""

    def __init__(self, queue: TurnQueue) -> None:
        self.queue = queue
        self.taken = False
        self.order: list[int] = []

    def attempt(self, number: int) -> Callable[[], Awaitable[Turn]]:
        async def attempt() -> Turn:
            if self.taken:
                raise TurnTakenError("taken", retry_after_s=1)
            self.taken = True
            self.order.append(number)
            return Turn(bytes(16), 3)

        return attempt

    def free(self) -> None:
        self.taken = False
        self.queue.freed(INDEX)


async def test_all_come_to_their_turn_in_the_order_in_which_they_came() -> None:
    turns = Turns(TurnQueue())
    waiting = []
    for number in range(20):
        waiting.append(asyncio.ensure_future(turns.queue.take([INDEX], turns.attempt(number))))
        await asyncio.sleep(0)
    for one in waiting:
        await asyncio.wait_for(one, 1)
        turns.free()
    assert turns.order == list(range(20))


async def test_who_has_gone_is_passed_over() -> None:
    turns = Turns(TurnQueue())
    first, second, third = [
        asyncio.ensure_future(turns.queue.take([INDEX], turns.attempt(number))) for number in range(3)
    ]
    await first
    await asyncio.sleep(0.01)
    second.cancel()
    turns.free()
    await asyncio.wait_for(third, 1)
    assert turns.order == [0, 2]


async def test_a_turn_that_ends_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "LOOK_EVERY_S", 0.01)
    turns = Turns(TurnQueue())
    turns.taken = True
    waiting = asyncio.ensure_future(turns.queue.take([INDEX], turns.attempt(1)))
    await asyncio.sleep(0.02)
    turns.taken = False
    await asyncio.wait_for(waiting, 1)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "WAIT_MAX_S", 0.05)
    turns = Turns(TurnQueue())
    turns.taken = True
    results = await asyncio.gather(
        *(turns.queue.take([INDEX], turns.attempt(number)) for number in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [TurnTakenError] * 3
    turns.free()
    await turns.queue.take([INDEX], turns.attempt(4))


async def test_what_goes_wrong_otherwise_is_told_at_once() -> None:
    queue = TurnQueue()

    async def attempt() -> Turn:
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            await asyncio.wait_for(queue.take([INDEX], attempt), 1)


async def test_who_waits_for_several_turns_holds_none_meanwhile() -> None:
    """And each of them comes to an end, whatever the order in which they are named."""
    queue, other = TurnQueue(), bytes([1]) * 32
    taken, done = {INDEX}, []

    async def come(number: int, *indices: bytes) -> None:
        async def attempt() -> Turn:
            if taken & set(indices):
                raise TurnTakenError("taken", retry_after_s=1)
            taken.update(indices)
            return Turn(bytes(16), 3)

        await queue.take(indices, attempt)
        done.append(number)
        await asyncio.sleep(0.01)
        taken.difference_update(indices)
        for index in indices:
            queue.freed(index)

    everybody = [(INDEX, other), (other, INDEX), (INDEX,), (other,)]
    coming = [asyncio.ensure_future(come(number, *indices)) for number, indices in enumerate(everybody)]
    await asyncio.sleep(0.02)
    assert taken == {INDEX}, "nobody waits with a turn in hand"
    taken.clear()
    queue.freed(INDEX)
    await asyncio.wait_for(asyncio.gather(*coming), 5)
    assert sorted(done) == [0, 1, 2, 3]
