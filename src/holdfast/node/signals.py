"""What ends a running node in an orderly way: signals, and the end of standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` when one of STOPPING comes."""
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)


def input_has_another_end() -> bool:
    """Return true if standard input is a pipe or a socket: it ends with whoever holds the other end."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # closed from the start
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def when_input_ends(call: Callable[[], object]) -> None:
    """Call ``call`` in the event loop once standard input is closed at its other end."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        loop.call_soon_threadsafe(call)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
