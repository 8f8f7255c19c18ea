"""Which event loop our programs run, and how the interpreter shares its time between that loop and others."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable

_SWITCH_S = 0.0005
_YOUNG_OBJECTS = 10_000


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop for ``asyncio.Runner``; None: its default."""
    try:
        import uvloop
    except ImportError:  # not on every system
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def prefer_the_event_loop() -> None:
    """Let the event loop go on soon whatever else this process does. For a process that is all ours.

    A thread that computes keeps the interpreter for 5 ms as it comes, each time the loop wants it back. What
    there is now, modules above all, is there to stay, so looking for garbage in it is in vain.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
