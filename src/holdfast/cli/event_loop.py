"""Runs what a command does in an event loop, and cancels it when a signal asks for that:
transfers then give back what they hold, and no half-written file stays.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast.cli.interrupts import SIGNALS, InterruptedBySignalError
from holdfast.node.event_loop import loop_factory

T = TypeVar("T")

PATIENCE = 3  # signals until the process ends at once


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` and return its result.

    Raises:
        InterruptedBySignalError: SIGINT, SIGTERM or SIGHUP came, and ``work`` was cancelled. The caller
            leaves by ``os._exit``: a thread that waits for a pipe cannot be interrupted.
    """
    _set_up_logs()
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


def _set_up_logs() -> None:
    """Show logs only to who looks for a defect; what matters to others is in the results."""
    if os.environ.get("HOLDFAST_DEBUG") == "1":
        from holdfast.node.logs import log_to_stream

        log_to_stream(sys.stderr, logging.INFO)
    else:
        logging.getLogger().addHandler(logging.NullHandler())


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
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may come between the two handlers
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _load_structlog() -> None:
    """Load structlog, which every client needs, but not rich with it.

    It would load that for coloured tracebacks: sixty modules that most commands have no other use for.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # the way to say that there is none
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


_load_structlog()
