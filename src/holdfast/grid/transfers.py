"""The transfers a client runs at the moment, for whoever shows what a node is doing.

They are named so that people recognise their own: never by a capability.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from holdfast.caps import parse_cap
from holdfast.crypto import base32
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress

LISTED_MAX = 1000  # transfers; more may run, but are not shown
NAME_MAX = 255  # characters
INDEX_SHOWN = 8  # characters of a storage index
RATE_WINDOW_S = 5.0
RATE_STEP_S = 0.5
NAMELESS = "data"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer at one moment.

    Attributes:
        id: counts up from 1.
        kind: upload, download, check or verify.
        name: the file's name for an upload that has one, else "data"; the beginning of the storage
            index for all others.
        done, total: bytes of the present stage; both 0 until it began, and always for a check.
        rate: bytes a second, over the last seconds of this stage.
        started: Unix seconds.
        stage: that of ``Progress``: an upload is hashed before it is sent. Empty until it began.
    """

    id: int
    kind: str
    name: str
    done: int
    total: int
    rate: float
    started: float
    stage: str


class Transfers:
    """The running transfers of one client."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._running: dict[int, _Running] = {}

    def all(self) -> list[Transfer]:
        """Return the transfers that run now, oldest first."""
        return [running.snapshot() for running in self._running.values()]

    @contextmanager
    def running(
        self, kind: str, name: str, progress: ProgressCallback | None = None
    ) -> Iterator[ProgressCallback]:
        """List a transfer while the block runs. Gives what is to be told of its progress instead."""
        number = next(self._numbers)
        running = _Running(number, kind, name, progress or ignore_progress)
        if len(self._running) < LISTED_MAX:
            self._running[number] = running
        try:
            yield running.note
        finally:
            self._running.pop(number, None)


class _Running:
    """What is known of one running transfer."""

    def __init__(self, number: int, kind: str, name: str, progress: ProgressCallback) -> None:
        self._number = number
        self._kind = kind
        self._name = name
        self._progress = progress
        self._started = time.time()
        self._last = Progress("", 0, 0)
        self._marks: deque[tuple[float, int]] = deque(maxlen=round(RATE_WINDOW_S / RATE_STEP_S))

    def note(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._last.stage:
            self._marks.clear()
        if not self._marks or now - self._marks[-1][0] >= RATE_STEP_S:
            self._marks.append((now, progress.done))
        self._last = progress
        self._progress(progress)

    def snapshot(self) -> Transfer:
        last = self._last
        rate = 0.0
        if self._marks:
            since, done_then = self._marks[0]
            elapsed = time.monotonic() - since
            rate = (last.done - done_then) / elapsed if elapsed > 0 else 0.0
        return Transfer(
            self._number, self._kind, self._name, last.done, last.total, rate, self._started, last.stage
        )


def name_of_source(source: object) -> str:
    """Return what to call an upload."""
    name = getattr(source, "name", None)
    return name[:NAME_MAX] if isinstance(name, str) and name else NAMELESS


def name_of_file(uri: str) -> str:
    """Return what to call a transfer of a stored file: the first characters of its storage index."""
    index = getattr(parse_cap(uri.strip()), "storage_index", None)
    return base32.encode(index)[:INDEX_SHOWN] if isinstance(index, bytes) else NAMELESS
