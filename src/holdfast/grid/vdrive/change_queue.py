"""Changes that wait for their directories, and which of them are made together.

Changes of one directory through one client never conflict with each other: they take turns, and those that
wait are combined into one commit as long as no name occurs twice. Which of them is first, then makes no
difference to anybody. No change is overtaken by a later one of the same directory that it shares a name with.

Source: docs/spec/vdrive.md, section 9.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.errors import HoldfastError
from holdfast.formats.vdrive.open_entry import EntryOpener
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.signing import KEEP
from holdfast.grid.vdrive.state import DirectoryState
from holdfast.grid.vdrive.views import ChangeResult, CreatePlan, Plan
from holdfast.interfaces.vdrive import DIRECTORIES_MAX, SLOTS_MAX
from holdfast.interfaces.vdrive_errors import VdriveUnavailableError


@dataclass(frozen=True, slots=True)
class ChangePart:
    """What a change has to do with one directory: the names it looks at or changes, by slot."""

    state: DirectoryState
    keys: WriteKeys = field(repr=False)
    opener: EntryOpener = field(repr=False)
    sealer: EntrySealer = field(repr=False)
    names: Mapping[bytes, str] = field(repr=False)


@dataclass(eq=False)
class Change:
    """A change that somebody waits for.

    Attributes:
        indices: of its directories.
        heartbeat: what its head is to promise; a change that says so is made even if nothing else is in it.
        done: its result.
        in_the_open: it is part of a commit of which nobody knows whether it was made.
        conflicts: how often others were faster.
        trouble: what stood in its way last.
    """

    parts: Sequence[ChangePart]
    plan: Plan
    creates: Sequence[CreatePlan]
    done: asyncio.Future[ChangeResult]
    heartbeat: int | None = KEEP
    in_the_open: bool = False
    conflicts: int = 0
    trouble: HoldfastError | None = None

    def __post_init__(self) -> None:
        self.indices = frozenset(part.state.index for part in self.parts)

    @property
    def wanted(self) -> bool:
        """False once it has a result, or nobody waits for it any more."""
        return not self.done.done()

    def fail(self, error: BaseException) -> None:
        """Give it an error as its result."""
        if not self.done.done():
            self.done.set_exception(error)


class ChangeQueue:
    """The changes at one service. Batches of different directories run at the same time."""

    def __init__(self, run: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        """``run`` makes changes together, and gives each its result."""
        self._run = run
        self._waiting: list[Change] = []
        self._busy: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def add(self, change: Change) -> None:
        """Let a change be made as soon as its directories are free."""
        self._waiting.append(change)
        if self._busy.isdisjoint(change.indices):
            self._start()

    async def close(self) -> None:
        """Stop everything at once. What was sent is in the journal."""
        self._closed = True
        for change in self._waiting:
            change.fail(_closed(change))
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        """Start a batch for every set of free directories that somebody waits for."""
        self._waiting = [change for change in self._waiting if change.wanted]
        taken = set(self._busy)
        left: list[Change] = []
        waiting = self._waiting
        while waiting:
            first, *others = waiting
            if taken & first.indices:
                taken |= first.indices  # whoever comes later waits behind it
                left.append(first)
                waiting = others
                continue
            batch, waiting = _combined(first, others)
            taken |= first.indices
            self._busy |= first.indices
            task = asyncio.get_running_loop().create_task(self._run_batch(batch, first.indices))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._waiting = left

    async def _run_batch(self, batch: Sequence[Change], indices: frozenset[bytes]) -> None:
        try:
            await self._run(batch)
        except asyncio.CancelledError:
            for change in batch:
                change.fail(_closed(change))
            raise
        except Exception as error:  # a fault of ours: it belongs to whoever waits, not to the loop
            for change in batch:
                change.fail(error)
        finally:
            self._busy -= indices
            if not self._closed:
                self._start()


def _closed(change: Change) -> VdriveUnavailableError:
    return VdriveUnavailableError("the client is being closed", may_be_applied=change.in_the_open)


def _combined(first: Change, others: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """Return the changes that are made together with ``first``, and those that go on waiting."""
    batch, left = [first], []
    slots = {part.state.index: set(part.names) for part in first.parts}
    creates = len(first.creates)
    passed: dict[bytes, set[bytes]] = {}  # slots of changes that go on waiting
    for change in others:
        creates += len(change.creates)
        if (
            change.indices <= slots.keys()
            and change.heartbeat == KEEP
            and len(slots) + creates <= DIRECTORIES_MAX
            and all(_fits(slots[part.state.index], part, passed) for part in change.parts)
        ):
            for part in change.parts:
                slots[part.state.index] |= part.names.keys()
            batch.append(change)
            continue
        creates -= len(change.creates)
        for part in change.parts:
            passed.setdefault(part.state.index, set()).update(part.names)
        left.append(change)
    return batch, left


def _fits(taken: set[bytes], part: ChangePart, passed: Mapping[bytes, set[bytes]]) -> bool:
    names = part.names.keys()
    return (
        len(taken) + len(names) <= SLOTS_MAX
        and taken.isdisjoint(names)
        and passed.get(part.state.index, set()).isdisjoint(names)
    )
