"""Killing a storage server at every step it takes, to see that nothing acknowledged is lost.

``python -m holdfast.testing.storage_crash DIRECTORY SCENARIO`` runs the scenario again and
again, each time in a process and on a directory of its own, and kills that process (SIGKILL)
one step later than the time before, until one run lives to its end. The directories remain,
to be looked at.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.interfaces.storage import LeaseSecrets, ShareVectors, StoreRequest, TestVector, WriteVector
from holdfast.interfaces.types import Buffer, StorageIndex
from holdfast.protocol.storage_messages import encode_read_test_write_request
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.large_messages import vectors_in
from holdfast.servers.storage.settings import StorageSettings

SEED = b"s" * 20
INDEX = StorageIndex(b"crashing index..")
INDEXES = [StorageIndex(b"crashing index %d" % number) for number in range(6)]
SLOT = StorageIndex(b"crashing slot...")
SECRET = b"u" * 32
ENABLER = b"w" * 32
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
NEW_LEASE = LeaseSecrets(b"R" * 32, b"C" * 32)

SMALL = bytes(range(250)) * 20
LARGE = bytes(range(251)) * 800
OLD_SLOT = {0: b"old zero", 1: b"old one", 2: LARGE[:100_000]}
NEW_SLOT = {0: b"new zero, which is longer", 1: LARGE[:90_000], 3: b"new three"}


class DyingDisk(Disk):
    """A disk on which the process dies at one step: before an operation, or in the middle of writing."""

    def __init__(self, step: int) -> None:
        super().__init__(synchronise=True)
        self._left = step
        self._lock = threading.Lock()

    def die_if_due(self) -> None:
        """Count a step."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def write(self, descriptor: int, data: Buffer, offset: int) -> None:
        self.die_if_due()
        half = len(data) // 2
        super().write(descriptor, memoryview(data)[:half], offset)
        self.die_if_due()
        super().write(descriptor, memoryview(data)[half:], offset + half)


def _dying(name: str) -> Callable[..., Any]:
    operation = getattr(Disk, name)

    def method(disk: DyingDisk, *arguments: Any) -> Any:
        disk.die_if_due()
        return operation(disk, *arguments)

    return method


for _name in [name for name in vars(Disk) if not name.startswith("_") and name != "write"]:
    setattr(DyingDisk, _name, _dying(_name))

Acknowledge = Callable[[str], None]
Run = Callable[[StorageEngine, Acknowledge], Awaitable[None]]


async def _nothing(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    pass


async def _upload_small(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.allocate(INDEX, frozenset({0, 1}), len(SMALL), SECRET, LEASE)
    await engine.write(INDEX, 0, SECRET, 3000, [SMALL[3000:]], len(SMALL) - 3000)
    await engine.write(INDEX, 0, SECRET, 0, [SMALL[:3000]], 3000)
    acknowledge("0")
    await engine.write(INDEX, 1, SECRET, 0, [SMALL], len(SMALL))
    acknowledge("1")


async def _upload_large(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.allocate(INDEX, frozenset({0}), len(LARGE), SECRET, LEASE)
    await engine.write(INDEX, 0, SECRET, 0, [LARGE[:150_000]], 150_000)
    await engine.write(INDEX, 0, SECRET, 150_000, [LARGE[150_000:]], len(LARGE) - 150_000)
    acknowledge("0")
    await engine.settle()


async def _store(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.store([StoreRequest(INDEX, {0: SMALL, 1: SMALL}, LEASE, only_if_none=True)])
    acknowledge("0")
    acknowledge("1")


async def _store_many(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    requests = [StoreRequest(index, {n: SMALL}, LEASE, only_if_none=True) for n, index in enumerate(INDEXES)]
    for part in (requests[:3], requests[3:4], requests[4:]):
        await engine.store(part)
        for request in part:
            acknowledge(request.index.hex())
        if len(part) == 1:
            await engine.settle()


async def _abort(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.allocate(INDEX, frozenset({0}), len(SMALL), SECRET, LEASE)
    await engine.write(INDEX, 0, SECRET, 0, [SMALL[:100]], 100)
    await engine.abort(INDEX, 0, SECRET)
    acknowledge("0")


async def _make_slot(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    vectors = {n: ShareVectors(writes=[WriteVector(0, data)]) for n, data in OLD_SLOT.items()}
    await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])


def _new_slot() -> dict[int, ShareVectors]:
    vectors = {n: ShareVectors(writes=[WriteVector(0, data)]) for n, data in NEW_SLOT.items()}
    vectors[2] = ShareVectors([TestVector(0, 3, LARGE[:3])], new_length=0)
    return vectors


async def _change_slot(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.read_test_write(SLOT, ENABLER, NEW_LEASE, _new_slot(), [])
    acknowledge("changed")


async def _change_slot_by_file(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    message = encode_read_test_write_request(_new_slot(), [])
    with closing(engine.scratch.new_file()) as file:
        file.open(len(message))
        file.append(message)
        vectors, reads = vectors_in(file)
        await engine.read_test_write(SLOT, ENABLER, NEW_LEASE, vectors, reads)
    acknowledge("changed")


async def _change_slot_often(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    for position in range(3):
        vectors = {
            0: ShareVectors(writes=[WriteVector(0, b"%8d" % position)]),
            1: ShareVectors(writes=[WriteVector(0, b"%8d" % position)], new_length=position % 2 * 8),
        }
        await engine.read_test_write(SLOT, ENABLER, NEW_LEASE, vectors, [])
        acknowledge(str(position))


def _written(data: bytes) -> ShareVectors:
    return ShareVectors(writes=[WriteVector(0, data)], new_length=len(data))


SLOT_CHANGES: list[dict[int, bytes | None]] = [
    {0: b"a" * 100},
    {0: b"b" * 3000},
    {0: b"c" * 40},
    {0: b"d", 1: b"D"},
    {0: b"e" * 70},
    {1: b"f" * 5000},
    {1: None},
    {1: b"g" * 5000},
    {0: b"h" * 600_000},
    {0: b"i"},
    {1: b"j" * 100},
]
"""Contents of shares, one change after the other: of one share, which goes into the log; of two, or of one
that is deleted or large, which does not."""
SETTLED_BEFORE = (1,)  # changes before which the log is brought to files
SETTLED_MEANWHILE = (2, 9)  # changes that are made while it is


async def _change_slot_in_all_ways(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    async def change(position: int) -> None:
        vectors = {
            number: ShareVectors(new_length=0) if data is None else _written(data)
            for number, data in SLOT_CHANGES[position].items()
        }
        await engine.read_test_write(SLOT, ENABLER, LEASE, vectors, [])
        acknowledge(str(position))

    for position in range(len(SLOT_CHANGES)):
        if position in SETTLED_BEFORE:
            await engine.settle()
        if position in SETTLED_MEANWHILE:
            await asyncio.gather(engine.settle(), change(position))
        else:
            await change(position)


async def _lease(engine: StorageEngine, acknowledge: Acknowledge) -> None:
    await engine.add_lease(INDEX, NEW_LEASE)
    acknowledge("0")


SCENARIOS: dict[str, tuple[Run, Run]] = {
    "upload-small": (_nothing, _upload_small),
    "upload-large": (_nothing, _upload_large),
    "store": (_nothing, _store),
    "store-many": (_nothing, _store_many),
    "abort": (_nothing, _abort),
    "slot": (_make_slot, _change_slot),
    "slot-by-file": (_make_slot, _change_slot_by_file),
    "slot-often": (_make_slot, _change_slot_often),
    "slot-in-all-ways": (_nothing, _change_slot_in_all_ways),
    "lease": (_upload_small, _lease),
}
"""What is done in peace before, and what is done under fire."""


def run_all(directory: Path, scenario: str) -> None:
    """Run ``scenario`` in ``directory/1``, ``directory/2``, ..., dying at that step, until one run survives.

    What was acknowledged before the death is in the file ``acknowledged`` there, one a line.
    """
    before, under_fire = SCENARIOS[scenario]
    asyncio.run(_prepare(directory / "prepared", before))
    step = 1
    while True:
        place = directory / str(step)
        shutil.copytree(directory / "prepared", place / "storage")
        child = os.fork()
        if child == 0:
            _run_and_die(place, under_fire, step)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status) != 0:
                raise RuntimeError(f"{scenario} failed in step {step}")
            shutil.rmtree(directory / "prepared")
            return
        step += 1


def recover_under_fire(directory: Path) -> int:
    """Open a storage directory again and again, dying one step later each time; return the deaths."""
    deaths = 0
    while True:
        child = os.fork()
        if child == 0:
            disk = DyingDisk(deaths + 1)
            _exit_after(partial(asyncio.run, _open_and_close(directory, disk)))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return deaths
        deaths += 1


async def _prepare(directory: Path, before: Run) -> None:
    async with open_storage(directory, StorageSettings(), SEED) as engine:
        await before(engine, lambda _: None)


def _run_and_die(place: Path, under_fire: Run, step: int) -> None:
    descriptor = os.open(place / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(what: str) -> None:
        os.write(descriptor, what.encode() + b"\n")

    async def run() -> None:
        disk = DyingDisk(step)
        async with open_storage(place / "storage", StorageSettings(), SEED, disk=disk) as engine:
            await under_fire(engine, acknowledge)

    _exit_after(lambda: asyncio.run(run()))


async def _open_and_close(directory: Path, disk: Disk) -> None:
    async with open_storage(directory, StorageSettings(), SEED, disk=disk):
        pass


def _exit_after(run: Callable[[], None]) -> None:
    try:
        run()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """See the module."""
    directory, what = Path(sys.argv[1]), sys.argv[2]
    if what == "recover":
        for place in sorted(directory.iterdir())[::4]:  # each takes as many openings as it has steps
            recover_under_fire(place / "storage")
    else:
        run_all(directory, what)


if __name__ == "__main__":
    main()
