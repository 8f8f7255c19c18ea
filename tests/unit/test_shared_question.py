"""Who wants to know the same at the same time is answered by one question."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.grid.shared_question import SharedQuestion


class Oracle:
    def __init__(self) -> None:
        self.asked = 0
        self.ended = 0
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    async def ask(self) -> int:
        self.asked += 1
        asked = self.asked
        try:
            await self.open.wait()
        finally:
            self.ended += 1
        if self.failure is not None:
            raise self.failure
        return asked


async def test_all_get_the_answer_to_one_question_and_later_ones_a_new_one() -> None:
    oracle = Oracle()
    question = SharedQuestion(oracle.ask)
    waiting = [asyncio.create_task(question.answer()) for _ in range(10)]
    await asyncio.sleep(0)
    oracle.open.set()
    assert await asyncio.gather(*waiting) == [1] * 10
    assert await question.answer() == 2


async def test_an_error_is_everybodys_and_is_not_remembered() -> None:
    oracle = Oracle()
    oracle.open.set()
    oracle.failure = ValueError("no")
    question = SharedQuestion(oracle.ask)
    outcomes = await asyncio.gather(*(question.answer() for _ in range(3)), return_exceptions=True)
    assert outcomes == [oracle.failure] * 3
    oracle.failure = None
    assert await question.answer() == 2


async def test_who_is_cancelled_leaves_the_question_to_the_others_and_the_last_one_ends_it() -> None:
    oracle = Oracle()
    question = SharedQuestion(oracle.ask)
    first, second = (asyncio.create_task(question.answer()) for _ in range(2))
    await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.sleep(0.001)
    assert (oracle.asked, oracle.ended) == (1, 0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await asyncio.sleep(0.001)
    assert (oracle.asked, oracle.ended) == (1, 1)
    oracle.open.set()
    assert await question.answer() == 2
