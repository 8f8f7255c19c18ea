"""Ways in which a storage server in memory misbehaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


def _one() -> int:
    return 1


@dataclass(slots=True)
class Faults:
    """How a server misbehaves. Calls are named by the methods of ``StorageService``.

    Attributes:
        dead: every call fails.
        hung: every call waits until it is cancelled.
        hung_calls, failing_calls: the calls that do.
        lost_answers: calls that are carried out, but seem to fail.
        fail_after_writes: the number of writes after which the server is dead.
        flip: (share number, offset) pairs whose byte is read wrong.
        cut: share number to the length it is read as.
        swap: share number to the number of the share that is read in its place.
        denied: the server names no shares though it has them.
        drops_writes: mutable shares stay as they are, though writing them seems to work.
        turns: how many times others come first before a call is carried out, and before it is answered.
        replay: mutable shares, by index and number, that are read instead of those that are there.
    """

    dead: bool = False
    hung: bool = False
    hung_calls: set[str] = field(default_factory=set)
    failing_calls: set[str] = field(default_factory=set)
    lost_answers: set[str] = field(default_factory=set)
    fail_after_writes: int | None = None
    flip: set[tuple[int, int]] = field(default_factory=set)
    cut: dict[int, int] = field(default_factory=dict)
    swap: dict[int, int] = field(default_factory=dict)
    denied: bool = False
    drops_writes: bool = False
    turns: Callable[[], int] = _one
    replay: dict[tuple[bytes, int], bytes] | None = None
