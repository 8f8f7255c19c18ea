"""Lets the target of a download cancel it.

Source: docs/spec/seed-map.md, section N.
"""

from __future__ import annotations

import asyncio

from holdfast.errors import CancelledTransferError


class Canceller:
    """Lets a target cancel the task that runs the download, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._running = False
        self._cancelled = False
        self.asked = False

    def cancel(self) -> None:
        self.asked = True
        self._loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._running and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def check(self) -> None:
        """Raise CancelledTransferError once the target has cancelled."""
        if self.asked:
            raise CancelledTransferError("the target cancelled the download")

    def __enter__(self) -> None:
        self.check()
        self._running = True

    def __exit__(self, *_: object) -> None:
        self._running = False
        if self._cancelled and self._task is not None:
            self._task.uncancel()
