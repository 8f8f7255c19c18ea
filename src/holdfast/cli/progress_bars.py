"""Progress bars on a terminal: bytes, rate, time left; or things done. Elsewhere nothing is shown.

What draws is loaded once there is something to watch: most transfers are over before.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich import progress

    from holdfast.grid.progress import Progress, ProgressCallback

    Draw = Callable[[str, int, int], object]
    """Told of the stage, the bytes done and the bytes in all."""

QUIET_S = 0.2  # nothing is drawn before


@contextmanager
def progress_bars(*, show: bool = True) -> Iterator[ProgressCallback]:
    """Give a callback that draws on standard error, if that is a terminal, and wipe it all at the end."""
    with drawn_stages(show=show) as draw:

        def update(event: Progress) -> None:
            draw(event.stage, event.done, event.total)

        yield update


@contextmanager
def drawn_stages(*, show: bool = True) -> Iterator[Draw]:
    """Give the same for a program that does not otherwise load what ``Progress`` needs."""
    if not (show and sys.stderr.isatty()):
        yield lambda stage, done, total: None
        return
    bars = _Bars()
    try:
        yield bars.update
    finally:
        bars.close()


class _Bars:
    """A bar for each stage, drawn once the work has lasted QUIET_S."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bars: progress.Progress | None = None
        self._tasks: dict[str, progress.TaskID] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        if self._bars is None:
            if time.monotonic() - self._begun < QUIET_S:
                return
            self._bars = _byte_bars()
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()


def _byte_bars() -> progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextmanager
def counting_bar(description: str, total: int) -> Iterator[Callable[[object], None]]:
    """Give a callback that draws one more of ``total`` things at each call; on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bars.add_task(description, total=total)
    with bars:
        yield lambda _: bars.advance(task)


@contextmanager
def changing_line(*, show: bool = True) -> Iterator[Callable[[str], object]]:
    """Give a callback that shows a text in place of the one before, and wipe it at the end; on a terminal
    only."""
    if not (show and sys.stderr.isatty()):
        yield lambda _: None
        return
    begun = time.monotonic()

    def draw(text: str) -> None:
        if time.monotonic() - begun >= QUIET_S:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
