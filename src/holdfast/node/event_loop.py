"""Which event loop our programs run: the fast one where it exists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop for ``asyncio.Runner``; None: its default."""
    try:
        import uvloop
    except ImportError:  # not on every system
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
