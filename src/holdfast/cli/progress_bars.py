"""Progress bars on a terminal: bytes, rate, time left; or things done. Elsewhere nothing is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress


@contextmanager
def progress_bars(*, show: bool = True) -> Iterator[ProgressCallback]:
    """Give a callback that draws on standard error, if that is a terminal, and wipe it all at the end."""
    if not (show and sys.stderr.isatty()):
        yield ignore_progress
        return
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, progress.TaskID] = {}

    def update(event: Progress) -> None:
        if event.stage not in tasks:
            tasks[event.stage] = bars.add_task(event.stage, total=event.total)
        bars.update(tasks[event.stage], completed=event.done, total=event.total)

    with bars:
        yield update


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
