"""Runs what a command does in an event loop, and cancels it when a signal asks for that:
transfers then give back what they hold, and no half-written file stays.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast.node.event_loop import loop_factory

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 3  # signals until the process ends at once


class InterruptedBySignalError(BaseException):
    """A signal ended the command, after it cleaned up. ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` and return its result.

    Raises:
        InterruptedBySignalError: SIGINT, SIGTERM or SIGHUP came, and ``work`` was cancelled. The caller
            leaves by ``os._exit``: a thread that waits for a pipe cannot be interrupted.
    """
    runner = asyncio.Runner(loop_factory=loop_factory())
    try:
        result = runner.run(_interruptible(work))
    except InterruptedBySignalError:
        raise
    except BaseException:
        runner.close()
        raise
    runner.close()
    return result


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[int] = []  # signal numbers

    def interrupt(number: int) -> None:
        received.append(number)
        if len(received) >= PATIENCE:
            os._exit(128 + number)
        task.cancel()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise InterruptedBySignalError(received[0]) from None
        raise
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
