"""The log of small shares is read back up to where a crash ended it, and no further."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from holdfast.interfaces.types import Buffer, StorageIndex
from holdfast.servers.storage.catalog import LeaseRow
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.share_log import BLOCK, LoggedShare, ShareLog


def share(number: int, size: int = 100) -> LoggedShare:
    lease = LeaseRow(b"r" * 32, b"c" * 32, 0, 1_900_000_000)
    return LoggedShare(StorageIndex(b"%016d" % number), number, lease, os.urandom(size))


class CountingDisk(Disk):
    def __init__(self) -> None:
        super().__init__(synchronise=True)
        self.syncs = 0
        self.full = False

    def write(self, descriptor: int, data: Buffer, offset: int) -> None:
        if self.full:
            super().write(descriptor, memoryview(data)[: len(data) * 9 // 10], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(descriptor, data, offset)

    def sync_data(self, descriptor: int) -> None:
        self.syncs += 1
        super().sync_data(descriptor)


@pytest.fixture
def disk() -> CountingDisk:
    return CountingDisk()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "small.log")


def test_what_was_appended_is_read_back(path: str, disk: CountingDisk) -> None:
    log = ShareLog(path, disk)
    assert (log.empty, log.read()) == (True, [])
    shares = [share(n, size) for n, size in enumerate((1, 100, 60_000, 5))]
    log.append(shares[:3])
    log.append(shares[3:])
    assert ShareLog(path, disk).read() == shares
    assert not log.empty


def test_many_shares_are_synchronised_at_once(path: str, disk: CountingDisk) -> None:
    log = ShareLog(path, disk)
    log.append([share(0)])
    before = disk.syncs
    log.append([share(n) for n in range(200)])
    assert disk.syncs == before + 1


@pytest.mark.parametrize("again", [0, 1, 3])
def test_an_emptied_log_is_empty_whatever_lies_in_it(path: str, disk: CountingDisk, again: int) -> None:
    log = ShareLog(path, disk)
    log.append([share(n) for n in range(5)])
    log.empty_out()
    assert (log.empty, ShareLog(path, disk).read()) == (True, [])
    shares = [share(n) for n in range(again)]
    if shares:
        log.append(shares)
    assert ShareLog(path, disk).read() == shares


@pytest.mark.parametrize("harm", ["cut", "flip", "head"])
def test_reading_ends_at_the_first_broken_record(path: str, disk: CountingDisk, harm: str) -> None:
    log = ShareLog(path, disk)
    shares = [share(n) for n in range(3)]
    log.append(shares)
    content = bytearray(Path(path).read_bytes())
    record = log.size // 3
    if harm == "cut":
        del content[BLOCK + 2 * record - 1 :]
    elif harm == "flip":
        content[BLOCK + 2 * record - 1] ^= 1
    else:
        content[30] ^= 1
    Path(path).write_bytes(content)
    assert ShareLog(path, disk).read() == ([] if harm == "head" else shares[:1])


def test_what_a_failed_attempt_left_does_not_count_behind_a_later_one(path: str, disk: CountingDisk) -> None:
    log = ShareLog(path, disk)
    first, later = share(0), share(9)
    log.append([first])
    disk.full = True
    with pytest.raises(OSError, match="No space"):
        log.append([share(n) for n in range(1, 5)])
    disk.full = False
    log.append([later])
    assert ShareLog(path, disk).read() == [first, later]


def test_a_log_that_was_removed_is_made_anew(path: str, disk: CountingDisk) -> None:
    log = ShareLog(path, disk)
    log.append([share(0)])
    log.remove()
    assert not Path(path).exists()
