"""What the signals that end a command do outside of an event loop: as long as it holds
nothing, end the process at once; then raise an exception, so that it gives back what it
holds. Imports almost nothing, to be in force from the first moment on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignalError(BaseException):
    """A signal ended the command. ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_on_signals() -> None:
    """From now on, let each of SIGNALS end the process, in silence.

    An exception could be swallowed: the interpreter ignores what is raised inside some of its callbacks.
    """
    for number in SIGNALS:
        signal.signal(number, _exit)


def raise_on_signals() -> None:
    """From now on, let each of SIGNALS raise InterruptedBySignalError in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """Do the same until the block ends."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    raise_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """From now on, let nothing disturb the cleaning up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise InterruptedBySignalError(number)
